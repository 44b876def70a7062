import type { Log } from './log.ts'
import type { Torrents } from './torrent/torrents.ts'

export interface WatchdogOptions {
  readonly torrents: Pick<Torrents, 'list'>
  readonly intervalMs: number
  readonly log: Log
}

/**
 * Looks every few seconds whether what readers need is what is being fetched, and says it all once more from what is
 * true now: demand to the fillers, verified pieces to those who wait for them. In a sound server that changes nothing;
 * a lost event, a dead timer or a forgotten priority heals itself. Returns the function that ends it.
 */
export function startWatchdog ({ torrents, intervalMs, log }: WatchdogOptions): () => void {
  const timer = setInterval(() => {
    for (const torrent of torrents.list()) {
      try {
        for (const filler of torrent.fillers) filler.reassert?.()
        const woken = torrent.store?.wakeReaders() ?? 0
        if (woken > 0) log.warn({ infohash: torrent.infohash, readers: woken }, 'readers were waiting for pieces that are there')
      } catch (error) {
        log.error({ infohash: torrent.infohash, err: error }, 'a torrent could not be looked after')
      }
    }
  }, intervalMs)
  timer.unref()
  return () => { clearInterval(timer) }
}
