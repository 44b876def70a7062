import { CodedError } from '../errors.ts'
import type { ReasonCode } from '../errors.ts'

/** Not the error itself: its stack holds everything that was at hand where it was thrown, requests and signals. */
interface Failure {
  readonly code: ReasonCode
  readonly message: string
  readonly at: number
  readonly until: number
}

/** What failed lately, so that it is not tried over and over. The failures that nobody asked about for longest go first. */
export class LookupMemory {
  readonly #failures = new Map<string, Failure>()
  readonly #limit: number
  readonly #now: () => number

  /** @param now a clock in milliseconds that never goes back. */
  constructor (limit: number, now: () => number = () => performance.now()) {
    this.#limit = limit
    this.#now = now
  }

  get size (): number { return this.#failures.size }

  /** Remembers the failure for `ms` milliseconds. */
  remember (key: string, { code, message }: CodedError, ms: number): void {
    const at = this.#now()
    this.#failures.delete(key)
    this.#failures.set(key, { code, message, at, until: at + ms })
    const [oldest] = this.#failures.keys()
    if (oldest !== undefined && this.#failures.size > this.#limit) this.#failures.delete(oldest)
  }

  /** The failure and its age in milliseconds; null where there is none, or its time is over. */
  recall (key: string): { readonly error: CodedError, readonly ageMs: number } | null {
    const failure = this.#failures.get(key)
    if (failure === undefined) return null
    this.#failures.delete(key)
    const now = this.#now()
    if (now >= failure.until) return null
    this.#failures.set(key, failure)
    return { error: new CodedError(failure.code, failure.message), ageMs: now - failure.at }
  }

  /** Forgets every failure whose key begins so. */
  forget (prefix: string): void {
    for (const key of this.#failures.keys()) if (key.startsWith(prefix)) this.#failures.delete(key)
  }
}
