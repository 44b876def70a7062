import fp from 'fastify-plugin'
import { CacheIndex } from '../services/cache/cache-index.ts'
import { PlacedVerdicts } from '../services/cache/placed-verdicts.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Which file on disk answers for a torrent. */
    cache: CacheIndex
    /** What hashing has shown of the files that people placed. */
    verdicts: PlacedVerdicts
  }
}

export default fp(async function cache (fastify) {
  const { TORRENT_DOWNLOAD_PATH, MEDIA_PATHS, CACHE_ONLY_MODE, CACHE_READ_ONLY } = fastify.config
  const verdicts = new PlacedVerdicts({ directory: TORRENT_DOWNLOAD_PATH, isReadOnly: CACHE_READ_ONLY, onChange: fastify.events.tellCache, log: fastify.log })
  const index = new CacheIndex({
    directory: TORRENT_DOWNLOAD_PATH,
    mediaPaths: MEDIA_PATHS,
    stored: fastify.stored,
    verdicts,
    isCacheOnly: CACHE_ONLY_MODE,
    log: fastify.log
  })
  index.start()
  fastify.decorate('cache', index)
  fastify.decorate('verdicts', verdicts)
  fastify.addHook('onClose', () => { index.close() })
}, { name: 'cache', dependencies: ['config', 'events', 'stored-files'] })
