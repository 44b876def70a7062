import type { Clock } from '../../services/clock.ts'

interface Timer {
  readonly at: number
  readonly then: () => void
}

/** A clock that stands still until it is run: then it goes from timer to timer, when nothing else is left to do. */
export class SimulatedClock implements Clock {
  #now = 0
  readonly #timers = new Set<Timer>()

  /** Timers that are still to come. */
  get size (): number { return this.#timers.size }

  now (): number {
    return this.#now
  }

  after (ms: number, then: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, ms), then }
    this.#timers.add(timer)
    return () => { this.#timers.delete(timer) }
  }

  async pause (ms: number): Promise<void> {
    await new Promise<void>((resolve) => { this.after(ms, resolve) })
  }

  /** Runs until the promise settles, and gives what it resolves with. Throws when nothing is left that could settle it. */
  async run<T> (promise: Promise<T>): Promise<T> {
    let isSettled = false
    promise.then(() => { isSettled = true }, () => { isSettled = true })
    while (true) {
      // All that is ready runs first.
      await new Promise((resolve) => { setImmediate(resolve) })
      if (isSettled) return await promise
      const next = [...this.#timers].sort((a, b) => a.at - b.at)[0]
      if (next === undefined) throw new Error(`nothing is left to wait for at ${this.#now} ms`)
      this.#timers.delete(next)
      this.#now = next.at
      next.then()
    }
  }
}
