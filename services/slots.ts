import { abortable } from './deadline.ts'

/** A number of places for work; who finds none free waits in the order of coming. */
export class Slots {
  #free: number
  readonly #waiting: Array<() => void> = []

  constructor (count: number) {
    this.#free = count
  }

  /** Runs `work` when there is a place for it. Rejects with the signal's reason when that aborts while it waits. */
  async run<T> (work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    await this.#take(signal)
    try {
      return await work()
    } finally {
      this.#give()
    }
  }

  async #take (signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#free > 0) {
      this.#free--
      return
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.push(resolve)
    try {
      await abortable(promise, signal)
    } catch (error) {
      const place = this.#waiting.indexOf(resolve)
      // Given at the moment of the abort: pass it on.
      if (place === -1) this.#give()
      else this.#waiting.splice(place, 1)
      throw error
    }
  }

  #give (): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#free++
    else next()
  }
}
