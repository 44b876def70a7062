/** What services log to: pino has this shape, and a test's array can. Fields first, then the message. */
export interface Log {
  debug (fields: object, message: string): void
  info (fields: object, message: string): void
  warn (fields: object, message: string): void
  error (fields: object, message: string): void
}

/** A log that says nothing. */
export const silent: Log = { debug () {}, info () {}, warn () {}, error () {} }
