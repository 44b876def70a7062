import { readAtScrape } from './read-at-scrape.ts'
import { steadyClock, timeUp, within } from '../clock.ts'
import { deadlines } from '../deadlines.ts'
import type { Registry } from 'prom-client'
import type { CacheTotals } from '../cache/disk-budget.ts'

/** What is stored, and what may be. A disk that does not answer leaves these out, and holds up nothing else. */
export function cacheMetrics ({ registry, totals, signal }: { readonly registry: Registry, readonly totals: () => Promise<CacheTotals>, readonly signal: AbortSignal }): void {
  // One look at the disk for a scrape, though each metric is read by itself.
  let looking: Promise<CacheTotals | null> | null = null
  const look = async (): Promise<CacheTotals | null> => {
    looking ??= within(totals(), deadlines.scrapeMs, steadyClock, signal)
      .then((found) => found === timeUp ? null : found, () => null)
      .finally(() => { looking = null })
    return await looking
  }
  readAtScrape(registry, 'gauge', [
    { name: 'self_streme_cache_bytes', help: 'Disk that everything stored takes, counted as CACHE_ACCOUNTING says.', read: async () => (await look())?.usedBytes ?? null },
    { name: 'self_streme_cache_limit_bytes', help: 'Disk that it may take (CACHE_MAX_DISK_MB).', read: async () => (await look())?.limitBytes ?? null },
    { name: 'self_streme_disk_free_bytes', help: 'Free disk where the cache is.', read: async () => (await look())?.freeBytes ?? null }
  ])
}
