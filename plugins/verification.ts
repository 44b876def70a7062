import fp from 'fastify-plugin'
import { PlacedVerifier } from '../services/cache/placed-verifier.ts'
import { RepairQueue } from '../services/cache/repair.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Hashes what people placed; null where nothing may be written. */
    placedVerifier: PlacedVerifier | null
  }
}

/** What keeps the cache true while the server runs: placed files are hashed, and repairs that `npm run verify` asked for are done. */
export default fp(async function verification (fastify) {
  const { cache, torrents, stored, verdicts, log, config } = fastify
  const directory = config.TORRENT_DOWNLOAD_PATH
  if (config.CACHE_READ_ONLY) {
    fastify.decorate('placedVerifier', null)
    return
  }
  const verifier = new PlacedVerifier({
    directory,
    list: async (signal) => await cache.list(signal),
    metadataOf: async (infohash) => await torrents.knownMetadata(infohash),
    verdicts,
    log
  })
  const repairs = new RepairQueue({ directory, stored, torrents, log })
  fastify.decorate('placedVerifier', verifier)
  fastify.addHook('onReady', async () => {
    verifier.start()
    repairs.start()
  })
  fastify.addHook('onClose', async () => {
    await Promise.all([verifier.close(), repairs.close()])
  })
}, { name: 'verification', dependencies: ['config', 'cache', 'torrents'] })
