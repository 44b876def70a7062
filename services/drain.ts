import { pause } from './deadline.ts'

export interface DrainOptions {
  /** The responses that run now, and the bytes that all of them together have handed out since the start. */
  readonly streams: () => { readonly open: number, readonly deliveredBytes: number }
  /** Open streams have so long to end. */
  readonly graceMs: number
  /** Streams whose clients take nothing for so long are paused: they would not end either, and are not waited for. */
  readonly quietMs: number
  readonly pollMs?: number
}

/** How a drain ended: nobody streamed any more, nobody took any bytes, or the time was up. */
export type DrainOutcome = 'idle' | 'quiet' | 'time is up'

/** The time between the wish to stop and the stop: readiness is off, and what is being streamed goes on for a while. */
export class Drain {
  readonly #options: DrainOptions
  #isDraining = false

  constructor (options: DrainOptions) {
    this.#options = options
  }

  /** The server is about to stop: whoever distributes requests should send them elsewhere. Requests are served all the same. */
  get isDraining (): boolean { return this.#isDraining }

  /** Streams that are open now. */
  get open (): number { return this.#options.streams().open }

  /** Turns readiness off at once; resolves when no open stream is worth waiting for. Rejects with the signal's reason. */
  async run (signal: AbortSignal): Promise<DrainOutcome> {
    this.#isDraining = true
    const { streams, graceMs, quietMs, pollMs = 100 } = this.#options
    const begunAt = performance.now()
    let { deliveredBytes } = streams()
    let movedAt = begunAt
    while (true) {
      const now = performance.now()
      const current = streams()
      if (current.open === 0) return 'idle'
      if (current.deliveredBytes !== deliveredBytes) {
        deliveredBytes = current.deliveredBytes
        movedAt = now
      }
      if (now - begunAt >= graceMs) return 'time is up'
      if (now - movedAt >= quietMs) return 'quiet'
      await pause(Math.min(pollMs, graceMs - (now - begunAt)), signal)
    }
  }
}
