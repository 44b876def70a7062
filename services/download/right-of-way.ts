/**
 * Says whether a fetch that a reader has begun to wait for should have the line to itself: after a seek that makes the
 * difference between the time of one piece and the time of as many as are under way. It is lost soon where it does not
 * help: a mirror that is silent, or slow by itself, must not hold up what others could bring.
 */
export class RightOfWay {
  readonly #holders = new Map<object, { readonly since: number, progressAt: number }>()
  readonly #onFree: () => void
  readonly #silenceMs: number
  readonly #limitMs: number
  #timer: NodeJS.Timeout | undefined

  /** Is called when nobody holds it any more. It is lost after `silenceMs` without progress, and after `limitMs` in any case. */
  constructor (onFree: () => void, { silenceMs = 1000, limitMs = 5000 } = {}) {
    this.#onFree = onFree
    this.#silenceMs = silenceMs
    this.#limitMs = limitMs
  }

  get isHeld (): boolean { return this.#holders.size > 0 }

  claim (holder: object): void {
    const now = performance.now()
    this.#holders.set(holder, { since: now, progressAt: now })
    this.#watch()
  }

  /** The holder received something. For anybody else it does nothing. */
  progressed (holder: object): void {
    const claim = this.#holders.get(holder)
    if (claim !== undefined) claim.progressAt = performance.now()
  }

  /** Gives it back; twice does nothing more. */
  release (holder: object): void {
    if (!this.#holders.delete(holder) || this.isHeld) return
    clearTimeout(this.#timer)
    this.#onFree()
  }

  #watch (): void {
    clearTimeout(this.#timer)
    const now = performance.now()
    const ends = [...this.#holders].map(([holder, { since, progressAt }]) => ({ holder, end: Math.min(since + this.#limitMs, progressAt + this.#silenceMs) }))
    for (const { holder, end } of ends) if (end <= now) this.release(holder)
    if (this.isHeld) this.#timer = setTimeout(() => { this.#watch() }, Math.ceil(Math.min(...ends.map(({ end }) => end).filter((end) => end > now)) - now))
  }
}
