import type { CodedError } from '../errors.ts'

const FIRST_RETRY_MS = 1000
const MAX_RETRY_MS = 30_000
const HOPELESS_FAILURES = 3

/** A store that takes nothing: when it is tried again, and when that is what to tell people. Times are those of performance.now(). */
export class StoreTrouble {
  #failures = 0
  #retryAt = -Infinity
  #error: CodedError | null = null

  get retryAt (): number { return this.#retryAt }
  /** Why it is not counted on any more, though it is tried again; or null. */
  get failure (): CodedError | null { return this.#failures >= HOPELESS_FAILURES ? this.#error : null }

  /** false: pieces that fail side by side met the same trouble, which counts once. */
  failed (error: CodedError, now: number): boolean {
    this.#error = error
    if (now < this.#retryAt) return false
    this.#failures++
    this.#retryAt = now + Math.min(FIRST_RETRY_MS * 2 ** (this.#failures - 1), MAX_RETRY_MS)
    return true
  }

  /** It took something, or somebody new asks. */
  clear (): void {
    this.#failures = 0
    this.#retryAt = -Infinity
  }
}
