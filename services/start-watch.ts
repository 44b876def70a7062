import type { EventBus, ServerEvent } from './events.ts'

/** So many different torrents in a row that nobody served are no accident. */
const LEAST_FAILURES = 5
const MEMORY_MS = 10 * 60_000

/** Notices when nothing that is not on this machine plays any more, whatever is asked for. */
export class StartWatch {
  readonly #failures = new Map<string, number>()
  readonly #now: () => number
  readonly #end: () => void

  constructor (events: EventBus, now = () => performance.now()) {
    this.#now = now
    this.#end = events.listen((event) => { this.#hear(event) })
  }

  /** For people; null: all is well, or too little is known. */
  get problem (): string | null {
    for (const [infohash, at] of this.#failures) if (this.#now() - at > MEMORY_MS) this.#failures.delete(infohash)
    const { size } = this.#failures
    return size < LEAST_FAILURES ? null : `sources: none of the last ${size}${size === 100 ? ' or more' : ''} torrents that were asked for could be served`
  }

  close (): void {
    this.#end()
  }

  #hear (event: ServerEvent): void {
    if (event.type === 'started' && event.source !== 'cache' && event.source !== 'mock') this.#failures.clear()
    // What is wrong with the request or the torrent says nothing about the sources.
    if (event.type !== 'refused' || !event.refusals.some(({ isTemporary }) => isTemporary)) return
    this.#failures.delete(event.infohash)
    this.#failures.set(event.infohash, this.#now())
    const [oldest] = this.#failures.keys()
    if (oldest !== undefined && this.#failures.size > 100) this.#failures.delete(oldest)
  }
}
