import fp from 'fastify-plugin'
import { DiskBudget } from '../services/cache/disk-budget.ts'
import { LastUse } from '../services/cache/last-use.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** When what was streamed last, and what is pinned. */
    lastUse: LastUse
    /** What everything that the server stores may take of the disk. */
    budget: DiskBudget
  }
}

const bytesPerMb = 1_000_000

export default fp(async function budget (fastify) {
  const { config, events, stored, log } = fastify
  const directory = config.TORRENT_DOWNLOAD_PATH
  const isReadOnly = config.CACHE_READ_ONLY
  const accounting = config.CACHE_ACCOUNTING !== 'auto' ? config.CACHE_ACCOUNTING : config.isPanel ? 'apparent' : 'allocated'
  const lastUse = await LastUse.open({ directory, log, isReadOnly, onChange: events.tellCache })
  const budget = new DiskBudget({
    directory,
    limitBytes: config.CACHE_MAX_DISK_MB * bytesPerMb,
    minFreeBytes: config.CACHE_MIN_FREE_MB * bytesPerMb,
    accounting,
    canEvictPlaced: config.CACHE_EVICT_PLACED,
    isReadOnly,
    onChange: events.tellCache,
    stored,
    lastUse,
    // Both are registered after this, for both need it.
    torrents: {
      isBusy: (infohash) => fastify.torrents.isBusy(infohash),
      whileClosed: async (infohash, work, limitMs) => await fastify.torrents.whileClosed(infohash, work, limitMs),
      hasStore: (infohash) => fastify.torrents.hasStore(infohash),
      whileUnwanted: async (infohash, fileIndex, work, limitMs) => await fastify.torrents.whileUnwanted(infohash, fileIndex, work, limitMs),
      edgesOf: (infohash, fileIndex) => fastify.torrents.edgesOf(infohash, fileIndex),
      nameOf: async (infohash) => await fastify.torrents.nameOf(infohash)
    },
    placed: async () => await fastify.cache.list(),
    log
  })
  fastify.decorate('lastUse', lastUse)
  fastify.decorate('budget', budget)

  const advice = config.isPanel ? ' on this panel, sparse files in full; set CACHE_MAX_DISK_MB to what the panel allows you, less what else is on it' : ''
  log.info({ limitMb: config.CACHE_MAX_DISK_MB, minFreeMb: config.CACHE_MIN_FREE_MB, accounting }, `cache: up to ${config.CACHE_MAX_DISK_MB} MB, counted as ${accounting} size${advice}`)

  let timer: NodeJS.Timeout | undefined
  fastify.addHook('onReady', async () => {
    timer = setInterval(() => { void budget.cleanUp() }, config.CACHE_CLEANUP_INTERVAL * 1000)
    timer.unref()
    // Not waited for: a start does not depend on how much is in the cache, and who needs room waits for it by itself.
    void budget.cleanUp()
  })
  fastify.addHook('onClose', async () => {
    clearInterval(timer)
    await budget.close()
    await lastUse.close()
  })
}, { name: 'budget', dependencies: ['config', 'events', 'stored-files'] })
