import type { Log } from './log.ts'
import type { Refusal, Timing } from './source-walk.ts'
import type { ReasonCode } from './errors.ts'

/** What happens in the server that others may want to hear of. `response` numbers the responses of one process. */
export type ServerEvent =
  | { readonly type: 'start', readonly infohash: string, readonly fileIndex: number | null }
  | { readonly type: 'started', readonly infohash: string, readonly source: string, readonly timings: readonly Timing[], /** Since it was asked for. */ readonly ms: number }
  | { readonly type: 'refused', readonly infohash: string, readonly refusals: readonly Refusal[] }
  | { readonly type: 'source', readonly infohash: string, readonly response: number, readonly source: string, readonly position: number }
  | { readonly type: 'lost', readonly infohash: string, readonly response: number, readonly source: string, readonly position: number, readonly code: ReasonCode, readonly message: string }
  | { readonly type: 'stall', readonly infohash: string, readonly response: number, readonly source: string | null, readonly ms: number }
  | { readonly type: 'end', readonly infohash: string, readonly response: number, readonly outcome: string, readonly deliveredBytes: number }

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
