/**
 * The table of coded reasons: what a source, a store or a request says when it cannot go on.
 * A code is part of the API (it appears in `reasons` of the 404), so it is never renamed.
 * `isTemporary`: asking again later may help, and the answer carries Retry-After.
 * `isFinal`: the request or the content itself is at fault; no other source needs to be asked.
 */
export const reasonCodes = {
  INFOHASH_INVALID: { isTemporary: false, isFinal: true },
  FILE_INDEX: { isTemporary: false, isFinal: true },
  NOT_CACHED: { isTemporary: false, isFinal: false },
  METADATA_INVALID: { isTemporary: false, isFinal: false },
  METADATA_MISMATCH: { isTemporary: false, isFinal: false },
  METADATA_V2_ONLY: { isTemporary: false, isFinal: true },
  METADATA_TIMEOUT: { isTemporary: true, isFinal: false },
  METADATA_NOT_FOUND: { isTemporary: true, isFinal: false },
  MAGNET_INVALID: { isTemporary: false, isFinal: false },
  P2P_TIMEOUT: { isTemporary: true, isFinal: false },
  P2P_UNAVAILABLE: { isTemporary: true, isFinal: false },
  HTTP_NO_MIRROR: { isTemporary: true, isFinal: false },
  HTTP_MIRRORS_FAILED: { isTemporary: true, isFinal: false },
  HTTP_LOOP: { isTemporary: false, isFinal: false },
  HTTP_TIMEOUT: { isTemporary: true, isFinal: false },
  ADDRESS_REFUSED: { isTemporary: false, isFinal: false },
  SOURCE_TIMEOUT: { isTemporary: true, isFinal: false },
  SOURCE_FAILED: { isTemporary: true, isFinal: false },
  START_TIMEOUT: { isTemporary: true, isFinal: false },
  STALLED: { isTemporary: true, isFinal: false },
  FILE_CHANGED: { isTemporary: true, isFinal: false },
  NO_ROOM: { isTemporary: true, isFinal: false },
  TOO_MANY_TORRENTS: { isTemporary: true, isFinal: false },
  SHUTTING_DOWN: { isTemporary: true, isFinal: false },
  DELETED: { isTemporary: false, isFinal: true },
  STORE_CLOSED: { isTemporary: true, isFinal: false },
  STORE_FAILED: { isTemporary: true, isFinal: false }
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
  return new CodedError(code, messageOf(error), { cause: error })
}

/** For people who must not learn our paths: an error of the system says which call failed and how, its `cause` the rest. */
function messageOf (error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if ('syscall' in error && 'code' in error) return `${String(error.syscall)} failed: ${String(error.code)}`
  return error.message
}
