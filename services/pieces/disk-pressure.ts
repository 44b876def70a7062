/** How long a full disk is left alone; doubled where it is full again soon after. */
const retryMs = { first: 5_000, longest: 60_000 }

/** Whether the disk takes what is written to it, as the ends of the writes tell. Times are those of performance.now(). */
export class DiskPressure {
  #isFull = false
  #fullSince = 0
  #retryAt = 0
  #retryMs = retryMs.first

  get isFull (): boolean {
    return this.#isFull
  }

  /** Is it full, and was asked so lately that it is left alone? */
  get isLeftAlone (): boolean {
    return this.#isFull && performance.now() < this.#retryAt
  }

  /** A write found no space. Returns whether that is news. */
  refused (): boolean {
    const now = performance.now()
    if (this.#isFull) {
      this.#retryAt = now + this.#retryMs
      return false
    }
    const isAgain = now - this.#retryAt < retryMs.longest
    this.#retryMs = isAgain ? Math.min(2 * this.#retryMs, retryMs.longest) : retryMs.first
    this.#retryAt = now + this.#retryMs
    this.#isFull = true
    this.#fullSince = now
    return true
  }

  /** A write that began then has ended well. Returns whether that is news: one that began before another failed shows nothing. */
  took (since: number): boolean {
    if (!this.#isFull || since < this.#fullSince) return false
    this.#isFull = false
    return true
  }
}
