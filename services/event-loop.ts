import { monitorEventLoopDelay } from 'node:perf_hooks'

/** What is used of perf_hooks' histogram; nanoseconds. */
interface Histogram {
  readonly count: number
  readonly mean: number
  readonly max: number
  percentile (percent: number): number
  enable (): boolean
  disable (): boolean
  reset (): void
}

/** How late timers came, in seconds. */
export interface EventLoopDelay {
  readonly mean: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

const none: EventLoopDelay = { mean: 0, p50: 0, p99: 0, max: 0 }

/** How busy the process is with itself, over the last window: what delays every response alike. */
export class EventLoopWatch {
  readonly #histogram: Histogram
  readonly #resolutionMs: number
  readonly #windowMs: number
  #timer: NodeJS.Timeout | undefined
  #delay = none

  constructor ({ windowMs = 10_000, resolutionMs = 20, histogram = monitorEventLoopDelay({ resolution: resolutionMs }) }: {
    readonly windowMs?: number
    readonly resolutionMs?: number
    readonly histogram?: Histogram
  } = {}) {
    this.#histogram = histogram
    this.#resolutionMs = resolutionMs
    this.#windowMs = windowMs
  }

  /** Of the last window that is over. */
  get delay (): EventLoopDelay { return this.#delay }

  start (): void {
    this.#histogram.enable()
    this.#timer = setInterval(() => { this.take() }, this.#windowMs)
    this.#timer.unref()
  }

  close (): void {
    clearInterval(this.#timer)
    this.#histogram.disable()
  }

  /** Ends the window and begins the next. */
  take (): void {
    const { mean, max, count } = this.#histogram
    // It measures from one timer to the next, the pause that was asked for included.
    const seconds = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e9 - this.#resolutionMs / 1000)
    this.#delay = count === 0 ? none : { mean: seconds(mean), p50: seconds(this.#histogram.percentile(50)), p99: seconds(this.#histogram.percentile(99)), max: seconds(max) }
    this.#histogram.reset()
  }
}
