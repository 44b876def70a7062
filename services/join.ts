import type { Clock } from './clock.ts'
import type { Helper } from './source.ts'

export interface JoinOptions {
  /** How many bytes from this one on can be read without waiting, Infinity where that is all; at most `limit` are counted. null: it cannot be told. */
  readonly ahead: (position: number, limit: number) => number | null
  /** Engages the next source beside the one that is read. Rejects when there is none. */
  readonly open: (position: number, signal: AbortSignal) => Promise<Helper>
  readonly clock: Clock
  readonly log: (message: string) => void
}

/** Help is called when less than so many seconds of reading are there, and let go at so many. */
const seconds = { call: 10, release: 30, imminent: 3 } as const
/** A start is given this long before anybody is called slow. */
const firstLookMs = 1500
const intervalMs = 500
/** The rate is that of the last so many milliseconds. */
const windowMs = 5000
const retryMs = 15_000
/** No video needs more: a source that brings so much is not slow, however fast a client reads. */
const plentyBytesPerSecond = 16_000_000
const leastBytes = 256 * 1024

/**
 * Watches how far ahead of its reader a response is, and calls help before the reader has to wait: a source that is
 * only too slow never stalls, and never plays either. Call `end` when the response is over.
 */
export class Joiner {
  readonly #options: JoinOptions
  readonly #stop = new AbortController()
  readonly #startedAt: number
  /** What was delivered by when, of the last moments. */
  readonly #deliveries: Array<{ readonly at: number, readonly bytes: number }> = []
  #position: number
  #helper: Helper | null = null
  #isOpening = false
  #notBefore = 0
  #cancelTimer: () => void

  constructor (position: number, options: JoinOptions) {
    this.#options = options
    this.#position = position
    this.#startedAt = options.clock.now()
    this.#cancelTimer = options.clock.after(firstLookMs, this.#look)
  }

  get isHelped (): boolean { return this.#helper !== null }

  /** The client took these bytes. */
  delivered (bytes: number): void {
    this.#position += bytes
    this.#deliveries.push({ at: this.#options.clock.now(), bytes })
  }

  /** Another source is read from now on: who helped may be that one. */
  changed (): void {
    this.#release()
  }

  end (): void {
    this.#cancelTimer()
    this.#stop.abort(new Error('the response is over'))
    this.#release()
  }

  readonly #look = (): void => {
    const { clock, ahead } = this.#options
    this.#cancelTimer = clock.after(intervalMs, this.#look)
    const bytesPerSecond = this.#bytesPerSecond()
    const imminentBytes = Math.max(leastBytes, bytesPerSecond * seconds.imminent)
    const horizonBytes = Math.max(4 * leastBytes, bytesPerSecond * seconds.release)
    const aheadBytes = ahead(this.#position, horizonBytes)
    if (aheadBytes === null) return
    if (aheadBytes >= horizonBytes) this.#release()
    else if (this.#helper !== null) this.#helper.moveTo(this.#position, { imminentBytes, horizonBytes })
    else if (aheadBytes < Math.max(leastBytes, bytesPerSecond * seconds.call) && bytesPerSecond < plentyBytesPerSecond) void this.#call(this.#position + aheadBytes, bytesPerSecond)
  }

  #bytesPerSecond (): number {
    const now = this.#options.clock.now()
    while ((this.#deliveries[0]?.at ?? now) < now - windowMs) this.#deliveries.shift()
    const bytes = this.#deliveries.reduce((sum, { bytes }) => sum + bytes, 0)
    return bytes * 1000 / Math.min(windowMs, Math.max(1, now - this.#startedAt))
  }

  async #call (position: number, bytesPerSecond: number): Promise<void> {
    const { clock, open, log } = this.#options
    if (this.#isOpening || clock.now() < this.#notBefore) return
    this.#isOpening = true
    try {
      const helper = await open(position, this.#stop.signal)
      if (this.#stop.signal.aborted) {
        helper.release()
        return
      }
      this.#helper = helper
      log(`${helper.source} joins: the reader takes ${Math.round(bytesPerSecond / 1000)} KB/s and has less than ${seconds.call} s ahead`)
    } catch {
      // Nobody can help now: that is no failure of the response, which goes on as it is.
      this.#notBefore = clock.now() + retryMs
    } finally {
      this.#isOpening = false
    }
  }

  #release (): void {
    if (this.#helper === null) return
    this.#helper.release()
    this.#helper = null
  }
}
