import type { Log } from './log.ts'
import type { Refusal, Timing } from './source-walk.ts'
import type { ReasonCode } from './errors.ts'
import type { TorrentStatus } from './torrent/torrent-status.ts'

/** What became of something in the cache. `removed`: by hand, to make room, or because somebody deleted the file. */
export type CacheChange = 'stored' | 'removed' | 'pinned' | 'unpinned' | 'verified' | 'mismatch'

/** Is told what changes in the cache; fileIndex null: the whole torrent, or nobody knows which. */
export type CacheListener = (infohash: string, fileIndex: number | null, change: CacheChange) => void

/** What happens in the server that others may want to hear of. `response` numbers the responses of one process. */
export type ServerEvent =
  | { readonly type: 'start', readonly infohash: string, readonly fileIndex: number | null }
  | { readonly type: 'started', readonly infohash: string, readonly source: string, readonly timings: readonly Timing[], /** Since it was asked for. */ readonly ms: number }
  | { readonly type: 'refused', readonly infohash: string, readonly refusals: readonly Refusal[] }
  | { readonly type: 'source', readonly infohash: string, readonly response: number, readonly source: string, readonly position: number }
  | { readonly type: 'lost', readonly infohash: string, readonly response: number, readonly source: string, readonly position: number, readonly code: ReasonCode, readonly message: string }
  | { readonly type: 'stall', readonly infohash: string, readonly response: number, readonly source: string | null, readonly ms: number }
  | { readonly type: 'end', readonly infohash: string, readonly response: number, readonly outcome: string, readonly deliveredBytes: number }
  | { readonly type: 'added', readonly infohash: string }
  | { readonly type: 'removed', readonly infohash: string }
  | { readonly type: 'progress', readonly infohash: string, readonly torrent: TorrentStatus }
  | { readonly type: 'cache', readonly infohash: string, readonly fileIndex: number | null, readonly change: CacheChange }

export type Listener = (event: ServerEvent) => void

/** Tells events to whoever listens. A listener that throws harms nobody else. */
export class EventBus {
  readonly #listeners = new Set<Listener>()
  readonly #log: Log

  constructor (log: Log) {
    this.#log = log
  }

  /** Returns the function that ends the listening. */
  listen (listener: Listener): () => void {
    this.#listeners.add(listener)
    return () => { this.#listeners.delete(listener) }
  }

  /** A listener for those who keep the cache. */
  readonly tellCache: CacheListener = (infohash, fileIndex, change) => { this.emit({ type: 'cache', infohash, fileIndex, change }) }

  emit (event: ServerEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event)
      } catch (error) {
        this.#log.error({ err: error, event: event.type }, 'a listener of events failed')
      }
    }
  }
}
