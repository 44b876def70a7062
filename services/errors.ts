/**
 * The table of coded reasons: what a source, a store or a request says when it cannot go on.
 * A code is part of the API (it appears in `reasons` of the 404), so it is never renamed.
 * `isTemporary`: asking again later may help, and the answer carries Retry-After.
 */
export const reasonCodes = {
  INFOHASH_INVALID: { isTemporary: false },
  FILE_INDEX: { isTemporary: false },
  NOT_CACHED: { isTemporary: false },
  METADATA_INVALID: { isTemporary: false },
  METADATA_MISMATCH: { isTemporary: false },
  METADATA_V2_ONLY: { isTemporary: false },
  METADATA_TIMEOUT: { isTemporary: true },
  METADATA_NOT_FOUND: { isTemporary: true },
  MAGNET_INVALID: { isTemporary: false },
  P2P_TIMEOUT: { isTemporary: true },
  P2P_UNAVAILABLE: { isTemporary: true },
  HTTP_NO_MIRROR: { isTemporary: true },
  HTTP_MIRRORS_FAILED: { isTemporary: true },
  HTTP_TIMEOUT: { isTemporary: true },
  ADDRESS_REFUSED: { isTemporary: false },
  SOURCE_TIMEOUT: { isTemporary: true },
  SOURCE_FAILED: { isTemporary: true },
  START_TIMEOUT: { isTemporary: true },
  STALLED: { isTemporary: true },
  FILE_CHANGED: { isTemporary: true },
  TOO_MANY_TORRENTS: { isTemporary: true },
  SHUTTING_DOWN: { isTemporary: true },
  STORE_CLOSED: { isTemporary: true },
  STORE_FAILED: { isTemporary: true }
} as const

export type ReasonCode = keyof typeof reasonCodes

/** An outcome that a person and a program can read: a code of the table and a sentence. */
export class CodedError extends Error {
  readonly code: ReasonCode
  readonly isTemporary: boolean

  constructor (code: ReasonCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'CodedError'
    this.code = code
    this.isTemporary = reasonCodes[code].isTemporary
  }
}

/** What went wrong, as a CodedError: itself when it is one, else wrapped under `code` with the cause kept. */
export function asCoded (error: unknown, code: ReasonCode): CodedError {
  if (error instanceof CodedError) return error
  const message = error instanceof Error ? error.message : String(error)
  return new CodedError(code, message, { cause: error })
}
