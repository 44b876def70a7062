const WINDOW_SECONDS = 5

/** Bytes per second over the last five seconds. */
export class Speed {
  readonly #buckets = new Array<number>(WINDOW_SECONDS).fill(0)
  readonly #now: () => number
  readonly #startedAt: number
  #second = 0

  /** `now` counts milliseconds and never goes back. */
  constructor (now = (): number => performance.now()) {
    this.#now = now
    this.#startedAt = now()
  }

  add (bytes: number): void {
    this.#roll()
    const slot = this.#second % WINDOW_SECONDS
    this.#buckets[slot] = (this.#buckets[slot] ?? 0) + bytes
  }

  get bytesPerSecond (): number {
    const elapsed = this.#roll()
    const windowSeconds = Math.min(elapsed, elapsed % 1 + WINDOW_SECONDS - 1)
    return this.#buckets.reduce((sum, bytes) => sum + bytes, 0) / Math.max(windowSeconds, 0.1)
  }

  /** Empties the buckets of the seconds that have passed; gives the seconds since the start. */
  #roll (): number {
    const elapsed = (this.#now() - this.#startedAt) / 1000
    const second = Math.floor(elapsed)
    for (let i = Math.max(this.#second + 1, second - WINDOW_SECONDS + 1); i <= second; i++) this.#buckets[i % WINDOW_SECONDS] = 0
    this.#second = second
    return elapsed
  }
}
