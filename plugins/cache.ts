import fp from 'fastify-plugin'
import { CacheIndex } from '../services/cache/cache-index.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Which file on disk answers for a torrent. */
    cache: CacheIndex
  }
}

export default fp(async function cache (fastify) {
  const { TORRENT_DOWNLOAD_PATH, MEDIA_PATHS, CACHE_ONLY_MODE } = fastify.config
  fastify.decorate('cache', new CacheIndex({
    directory: TORRENT_DOWNLOAD_PATH,
    mediaPaths: MEDIA_PATHS,
    stored: fastify.stored,
    isCacheOnly: CACHE_ONLY_MODE,
    log: fastify.log
  }))
}, { name: 'cache', dependencies: ['config', 'stored-files'] })
