import fp from 'fastify-plugin'
import { ServerSettings } from '../services/stremio-server/settings.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What Stremio clients see, and set, of the streaming server. */
    stremioSettings: ServerSettings
  }
}

export default fp(async function stremioSettings (fastify) {
  const { config, log } = fastify
  fastify.decorate('stremioSettings', await ServerSettings.open({
    directory: config.TORRENT_DOWNLOAD_PATH,
    cacheBytes: config.CACHE_MAX_DISK_MB * 1_000_000,
    isReadOnly: config.CACHE_READ_ONLY,
    log
  }))
}, { name: 'stremio-settings', dependencies: ['config', 'lock'] })
