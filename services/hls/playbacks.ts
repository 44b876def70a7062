import { CodedError } from '../errors.ts'

/** What is being made for whom, by the name that each player chose for its playback. */
export class Playbacks {
  readonly #running = new Map<string, { readonly controller: AbortController, requests: number }>()

  /** Runs the work of a request. It gets a signal that also follows `signal`. Rejects with SOURCE_FAILED when the playback is ended. */
  async run<T> (id: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const playback = this.#running.get(id) ?? { controller: new AbortController(), requests: 0 }
    this.#running.set(id, playback)
    playback.requests++
    try {
      return await work(AbortSignal.any([signal, playback.controller.signal]))
    } finally {
      playback.requests--
      if (playback.requests === 0 && this.#running.get(id) === playback) this.#running.delete(id)
    }
  }

  /** Ends what is being made for it now. */
  end (id: string): void {
    this.#running.get(id)?.controller.abort(new CodedError('SOURCE_FAILED', 'the player has ended this playback'))
    this.#running.delete(id)
  }

  /** How many requests each has open. */
  list (): Record<string, number> {
    return Object.fromEntries([...this.#running].map(([id, { requests }]) => [id, requests]))
  }
}
