import { abortable } from './deadline.ts'

/** A number of places for work; who does not find as many free as it takes waits in the order of coming. */
export class Slots {
  readonly #count: number
  #free: number
  readonly #waiting: Array<{ readonly places: number, readonly go: () => void }> = []

  constructor (count: number) {
    this.#count = count
    this.#free = count
  }

  /** Runs `work` when there is a place for it. Rejects with the signal's reason when that aborts while it waits. */
  async run<T> (work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const give = await this.take(1, signal)
    try {
      return await work()
    } finally {
      give()
    }
  }

  /**
   * Takes so many places, or all where there are fewer, when they are free. Gives what gives them back; twice does nothing more.
   * Rejects as `run` does.
   */
  async take (wanted: number, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    const places = Math.min(wanted, this.#count)
    let isGiven = false
    const give = (): void => {
      if (isGiven) return
      isGiven = true
      this.#free += places
      this.#admit()
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    const entry = { places, go: resolve }
    this.#waiting.push(entry)
    this.#admit()
    try {
      await abortable(promise, signal)
    } catch (error) {
      const at = this.#waiting.indexOf(entry)
      // Given at the moment of the abort: pass it on.
      if (at === -1) give()
      else this.#waiting.splice(at, 1)
      this.#admit()
      throw error
    }
    return give
  }

  #admit (): void {
    for (let next = this.#waiting[0]; next !== undefined && next.places <= this.#free; next = this.#waiting[0]) {
      this.#waiting.shift()
      this.#free -= next.places
      next.go()
    }
  }
}
