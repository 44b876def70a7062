import fp from 'fastify-plugin'
import { sourcesOff } from '../services/filling.ts'
import { NextVideos } from '../services/preload/next-videos.ts'
import { Preloads } from '../services/preload/preloads.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What is brought in before anybody reads it. */
    preloads: Preloads
    /** Preloads the next video when one is nearly over. */
    nextVideos: NextVideos
  }
}

export default fp(async function preloads (fastify) {
  const { sources, torrents, cache, config, log } = fastify
  const preloads = new Preloads({
    sources,
    torrents,
    cache,
    // Each keeps a torrent running, of which there are MAX_TORRENTS.
    maxRunning: Math.max(1, Math.floor(config.MAX_TORRENTS / 4)),
    stallTimeoutMs: config.STALL_TIMEOUT,
    log
  })
  const off = sourcesOff(config)
  const isOn = off.p2p === undefined || off['http-fallback'] === undefined
  fastify.decorate('preloads', preloads)
  fastify.decorate('nextVideos', new NextVideos({ torrents, preloads, isOn, log }))
}, { name: 'preloads', dependencies: ['config', 'source-chain', 'torrents', 'cache'] })
