import type { ReasonCode } from '../errors.ts'

export interface RefusedOptions {
  /** What to do about it. */
  readonly suggestion?: string
  /** When asking again may help. */
  readonly retryAfterSeconds?: number
}

/** A request that this client may not make, or not now. The message says why, for people. */
export class Refused extends Error {
  readonly status: 401 | 403 | 429 | 503
  readonly code: ReasonCode
  readonly suggestion: string | null
  readonly retryAfterSeconds: number | null

  constructor (status: Refused['status'], code: ReasonCode, message: string, { suggestion, retryAfterSeconds }: RefusedOptions = {}) {
    super(message)
    this.name = 'Refused'
    this.status = status
    this.code = code
    this.suggestion = suggestion ?? null
    this.retryAfterSeconds = retryAfterSeconds ?? null
  }
}
