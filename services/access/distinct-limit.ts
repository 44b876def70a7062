import type { Clock } from '../clock.ts'

export interface DistinctLimitOptions {
  /** So many different ones of each client. */
  readonly most: number
  /** Within so many milliseconds. */
  readonly windowMs: number
  readonly clock: Pick<Clock, 'now'>
}

/** Whoever has been silent for longest is forgotten first: memory is bounded, however many addresses somebody has. */
const MAX_CLIENTS = 10_000

/** How many different things each client brings in a while. The same again costs nothing: seeks and retries are not counted. */
export class DistinctLimit {
  readonly #options: DistinctLimitOptions
  /** When each was brought first, in that order. */
  readonly #clients = new Map<string, Map<string, number>>()

  constructor (options: DistinctLimitOptions) {
    this.#options = options
  }

  /** In how many seconds this client may bring something new; null: now. */
  wait (client: string): number | null {
    const { most, windowMs, clock } = this.#options
    const seen = this.#seen(client)
    // Where all are too many there is nothing to wait for; it is said again when somebody asks again.
    const oldest = seen.size < most ? undefined : [...seen.values()][0] ?? clock.now()
    return oldest === undefined ? null : Math.max(1, Math.ceil((oldest + windowMs - clock.now()) / 1000))
  }

  has (client: string, key: string): boolean {
    return this.#seen(client).has(key)
  }

  /** The client has brought this. */
  note (client: string, key: string): void {
    const seen = this.#seen(client)
    if (!seen.has(key)) seen.set(key, this.#options.clock.now())
    this.#clients.delete(client)
    this.#clients.set(client, seen)
    const [first] = this.#clients.keys()
    if (first !== undefined && this.#clients.size > MAX_CLIENTS) this.#clients.delete(first)
  }

  #seen (client: string): Map<string, number> {
    const seen = this.#clients.get(client)
    if (seen === undefined) return new Map()
    const since = this.#options.clock.now() - this.#options.windowMs
    for (const [key, at] of seen) {
      if (at > since) break
      seen.delete(key)
    }
    return seen
  }
}
