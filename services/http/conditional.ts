import { parseHttpDate } from './http-date.ts'
import { parseList } from './list.ts'

/** Request headers as node:http gives them: names in lower case, repeated list fields already joined. */
export type RequestHeaders = Readonly<Record<string, string | string[] | undefined>>

export interface Validators {
  /** Our entity tag, quotes included. */
  readonly etag: string
  readonly lastModified: Date | null
}

/** `[W/]"…"`; header bytes above 0x7f arrive as Latin-1 (RFC 9110 section 8.8.3). */
const entityTag = /(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/

/**
 * What the preconditions of a request say about a representation that exists, in the order of RFC 9110 section 13.2.2:
 * If-Match, else If-Unmodified-Since; then If-None-Match, else If-Modified-Since. If-Range is isRangeAllowed's.
 * A date that is none is ignored; a tag list that is none matches nothing.
 */
export function evaluateConditions (
  { method, headers, etag, lastModified }: { readonly method: string, readonly headers: RequestHeaders } & Validators
): 'proceed' | 'not-modified' | 'precondition-failed' {
  const isRead = method === 'GET' || method === 'HEAD'

  const ifMatch = readField(headers, 'if-match')
  if (ifMatch !== undefined) {
    if (!includesTag(ifMatch, etag, isSameStrong)) return 'precondition-failed'
  } else if (isUnchangedSince(readField(headers, 'if-unmodified-since'), lastModified) === false) {
    return 'precondition-failed'
  }

  const ifNoneMatch = readField(headers, 'if-none-match')
  if (ifNoneMatch !== undefined) {
    if (includesTag(ifNoneMatch, etag, isSameWeak)) return isRead ? 'not-modified' : 'precondition-failed'
  } else if (isRead && isUnchangedSince(readField(headers, 'if-modified-since'), lastModified) === true) {
    return 'not-modified'
  }
  return 'proceed'
}

/**
 * Whether a Range field may be honoured under this If-Range (RFC 9110 section 13.1.5): our tag by strong comparison,
 * or exactly our Last-Modified. Anything else means the client holds other bytes, and needs the whole.
 */
export function isRangeAllowed (ifRange: string | undefined, etag: string, lastModified: Date | null): boolean {
  if (ifRange === undefined) return true
  if (ifRange.includes('"')) return isSameStrong(ifRange, etag)
  const date = parseHttpDate(ifRange)
  return date !== null && lastModified !== null && date === wholeSeconds(lastModified)
}

/** One field's value; undefined when it was not sent. */
export function readField (headers: RequestHeaders, name: string): string | undefined {
  const value = headers[name]
  return Array.isArray(value) ? value.join(', ') : value
}

function includesTag (field: string, etag: string, isSame: (a: string, b: string) => boolean): boolean {
  if (field === '*') return true
  return parseList(field, entityTag)?.some(tag => isSame(tag, etag)) ?? false
}

/** Both strong, and the same (RFC 9110 section 8.8.3.2). */
function isSameStrong (a: string, b: string): boolean {
  return a === b && !a.startsWith('W/')
}

function isSameWeak (a: string, b: string): boolean {
  return a.replace(/^W\//, '') === b.replace(/^W\//, '')
}

/** null: no valid date was sent, or we have none to compare it with; the field is ignored then. */
function isUnchangedSince (field: string | undefined, lastModified: Date | null): boolean | null {
  if (field === undefined || lastModified === null) return null
  const date = parseHttpDate(field)
  return date === null ? null : wholeSeconds(lastModified) <= date
}

/** HTTP-dates have no fractions: a file changed at .7 s would be newer than its own Last-Modified for ever. */
function wholeSeconds (date: Date): number {
  return Math.floor(date.getTime() / 1000) * 1000
}
