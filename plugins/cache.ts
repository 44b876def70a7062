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
  const index = new CacheIndex({
    directory: TORRENT_DOWNLOAD_PATH,
    mediaPaths: MEDIA_PATHS,
    stored: fastify.stored,
    isCacheOnly: CACHE_ONLY_MODE,
    log: fastify.log
  })
  index.start()
  fastify.decorate('cache', index)
  fastify.addHook('onClose', () => { index.close() })
}, { name: 'cache', dependencies: ['config', 'stored-files'] })
