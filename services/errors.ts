/**
 * The table of coded reasons: what a source, a store or a request says when it cannot go on.
 * A code is part of the API (it appears in `reasons` of the 404), so it is never renamed.
 * `isTemporary`: asking again later may help, and the answer carries Retry-After.
 * `isFinal`: the request or the content itself is at fault; no other source needs to be asked.
 * `rests`: what is not asked again for a while after a source has said this: that source for this infohash, for this file
 * of it, or the source.
 */
export const reasonCodes = {
  INFOHASH_INVALID: { isTemporary: false, isFinal: true, rests: null },
  FILE_INDEX: { isTemporary: false, isFinal: true, rests: null },
  NOT_CACHED: { isTemporary: false, isFinal: false, rests: null },
  METADATA_INVALID: { isTemporary: false, isFinal: false, rests: 'infohash' },
  METADATA_MISMATCH: { isTemporary: false, isFinal: false, rests: null },
  METADATA_V2_ONLY: { isTemporary: false, isFinal: true, rests: null },
  METADATA_TIMEOUT: { isTemporary: true, isFinal: false, rests: 'infohash' },
  METADATA_NOT_FOUND: { isTemporary: true, isFinal: false, rests: 'infohash' },
  MAGNET_INVALID: { isTemporary: false, isFinal: false, rests: null },
  P2P_TIMEOUT: { isTemporary: true, isFinal: false, rests: 'infohash' },
  P2P_UNAVAILABLE: { isTemporary: true, isFinal: false, rests: null },
  HTTP_NO_MIRROR: { isTemporary: true, isFinal: false, rests: 'infohash' },
  HTTP_MIRRORS_FAILED: { isTemporary: true, isFinal: false, rests: 'file' },
  HTTP_LOOP: { isTemporary: false, isFinal: false, rests: null },
  HTTP_TIMEOUT: { isTemporary: true, isFinal: false, rests: 'infohash' },
  ADDRESS_REFUSED: { isTemporary: false, isFinal: false, rests: 'infohash' },
  SOURCE_TIMEOUT: { isTemporary: true, isFinal: false, rests: 'infohash' },
  SOURCE_FAILED: { isTemporary: true, isFinal: false, rests: 'source' },
  START_TIMEOUT: { isTemporary: true, isFinal: false, rests: 'infohash' },
  STALLED: { isTemporary: true, isFinal: false, rests: null },
  FILE_CHANGED: { isTemporary: true, isFinal: false, rests: null },
  NO_ROOM: { isTemporary: true, isFinal: false, rests: null },
  TOO_MANY_TORRENTS: { isTemporary: true, isFinal: false, rests: null },
  TOO_MANY_UPLOADS: { isTemporary: true, isFinal: false, rests: null },
  SHUTTING_DOWN: { isTemporary: true, isFinal: false, rests: null },
  DELETED: { isTemporary: false, isFinal: true, rests: null },
  STORE_CLOSED: { isTemporary: true, isFinal: false, rests: null },
  STORE_FAILED: { isTemporary: true, isFinal: false, rests: null },
  TOKEN_NEEDED: { isTemporary: false, isFinal: true, rests: null },
  TOKEN_WRONG: { isTemporary: false, isFinal: true, rests: null },
  SIGNATURE_WRONG: { isTemporary: false, isFinal: true, rests: null },
  SIGNATURE_EXPIRED: { isTemporary: false, isFinal: true, rests: null },
  SECRET_PATH_UNKNOWN: { isTemporary: false, isFinal: true, rests: null },
  TOO_MANY_ATTEMPTS: { isTemporary: true, isFinal: true, rests: null },
  TOO_MANY_NEW: { isTemporary: true, isFinal: true, rests: null },
  TOO_MANY_STREAMS: { isTemporary: true, isFinal: true, rests: null },
  INFOHASH_BLOCKED: { isTemporary: false, isFinal: true, rests: null },
  HOST_REFUSED: { isTemporary: false, isFinal: true, rests: null },
  ORIGIN_REFUSED: { isTemporary: false, isFinal: true, rests: null }
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
