import type { Clock } from '../clock.ts'

/** How often something may happen: `capacity` times at once, then as often as `everyMs` lets one more in. */
export class Bucket {
  readonly #clock: Pick<Clock, 'now'>
  readonly #capacity: number
  readonly #everyMs: number
  #tokens: number
  #at: number

  constructor (clock: Pick<Clock, 'now'>, capacity: number, everyMs: number) {
    this.#clock = clock
    this.#capacity = capacity
    this.#everyMs = everyMs
    this.#tokens = capacity
    this.#at = clock.now()
  }

  /** Once more? Counts it if so. */
  take (): boolean {
    const now = this.#clock.now()
    this.#tokens = Math.min(this.#capacity, this.#tokens + (now - this.#at) / this.#everyMs)
    this.#at = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}
