import fp from 'fastify-plugin'
import { sourcesOff } from '../services/filling.ts'
import { TorrentsHealth } from '../services/torrent/torrent-health.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What is known of torrents without starting them. */
    torrentHealth: TorrentsHealth
  }
}

export default fp(async function torrentHealth (fastify) {
  const { torrents, cache, sources, history, swarm, config } = fastify
  fastify.decorate('torrentHealth', new TorrentsHealth({
    torrents,
    cache,
    sources,
    history,
    swarm,
    isMockOn: config.ENABLE_MOCK,
    mirrors: config.HTTP_MIRROR_URLS.length + (config.WEBTOR_URL === null ? 0 : 1),
    off: sourcesOff(config)
  }))
}, { name: 'torrent-health', dependencies: ['config', 'torrents', 'cache', 'swarm', 'source-chain'] })
