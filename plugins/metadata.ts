import fp from 'fastify-plugin'
import { MetadataResolver } from '../services/download/metadata-resolver.ts'
import { sourcesOff } from '../services/filling.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Finds `.torrent` files over HTTP; null where nothing is downloaded over HTTP. */
    metadata: MetadataResolver | null
  }
}

export default fp(async function metadata (fastify) {
  const { config, fetcher, log } = fastify
  const { WEBTOR_URL: url, WEBTOR_TOKEN: token, WEBTOR_API_KEY: apiKey } = config
  const isOn = sourcesOff(config)['http-fallback'] === undefined
  const resolver = isOn
    ? new MetadataResolver({ fetcher, templates: config.TORRENT_METADATA_URLS, webtor: url === null ? null : { url, token, apiKey }, log })
    : null
  fastify.decorate('metadata', resolver)
}, { name: 'metadata', dependencies: ['config', 'fetcher'] })
