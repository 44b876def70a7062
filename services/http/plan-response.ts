import type { ByteRange } from '../pieces/geometry.ts'
import type { ResponseBody } from './body.ts'
import { evaluateConditions, isRangeAllowed, readField } from './conditional.ts'
import type { RequestHeaders } from './conditional.ts'
import { contentDisposition } from './content-disposition.ts'
import { contentRange, multipartBody, randomBoundary } from './multipart.ts'
import { parseRange } from './range.ts'

/** The file that a URL stands for, as far as HTTP cares. */
export interface Representation {
  readonly lengthBytes: number
  /** Strong, with its quotes. */
  readonly etag: string
  readonly lastModified: Date | null
  readonly contentType: string
  readonly fileName: string
  /** Offer to save it rather than to play it. */
  readonly isDownload: boolean
  readonly cacheControl: string
}

export interface ResponsePlan {
  readonly status: 200 | 206 | 304 | 412 | 416
  readonly headers: Record<string, string | number>
  /** null: nothing follows the headers (HEAD, 304, 412, 416, an empty file). */
  readonly body: ResponseBody | null
}

type Headers = Record<string, string | number>

/** On every answer: play it in any page, and never guess what it is. */
const embeddingHeaders: Headers = {
  'Cross-Origin-Resource-Policy': 'cross-origin',
  'X-Content-Type-Options': 'nosniff'
}

/** DLNA players seek by bytes (OP=01) where this says so. */
const dlnaHeaders: Headers = {
  'transferMode.dlna.org': 'Streaming',
  'contentFeatures.dlna.org': 'DLNA.ORG_OP=01;DLNA.ORG_CI=0;DLNA.ORG_FLAGS=01700000000000000000000000000000'
}

/**
 * How to answer a GET or HEAD of a representation (RFC 9110 sections 13.2.2, 14 and 15): the status, every header that
 * depends on the representation, and which of its bytes to send. `makeBoundary` gives the delimiter of several ranges.
 * CORS is not here: corsHeaders goes on every answer of the route, errors included.
 */
export function planResponse (
  { method, headers, representation }:
  { readonly method: 'GET' | 'HEAD', readonly headers: RequestHeaders, readonly representation: Representation },
  makeBoundary: () => string = randomBoundary
): ResponsePlan {
  const { lengthBytes, etag, contentType } = representation
  const lastModified = sendableDate(representation.lastModified)

  const verdict = evaluateConditions({ method, headers, etag, lastModified })
  if (verdict === 'precondition-failed') return { status: 412, headers: errorHeaders(), body: null }
  const validators = validatorHeaders(representation, lastModified)
  if (verdict === 'not-modified') return { status: 304, headers: { ...embeddingHeaders, ...validators }, body: null }

  const whole = { ...embeddingHeaders, ...validators, ...contentHeaders(representation) }
  if (method === 'HEAD') return { status: 200, headers: whole, body: null }

  const isHonoured = isRangeAllowed(readField(headers, 'if-range'), etag, lastModified)
  const ranges = isHonoured ? parseRange(readField(headers, 'range'), lengthBytes) : null
  if (ranges === 'unsatisfiable') {
    const lengthHeaders = { 'Accept-Ranges': 'bytes', 'Content-Range': `bytes */${lengthBytes}` }
    return { status: 416, headers: { ...errorHeaders(), ...lengthHeaders }, body: null }
  }
  if (ranges === null) {
    return { status: 200, headers: whole, body: lengthBytes === 0 ? null : singleBody({ start: 0, end: lengthBytes - 1 }) }
  }

  const [range] = ranges
  if (range !== undefined && ranges.length === 1) {
    const body = singleBody(range)
    const headers = { ...whole, 'Content-Length': body.lengthBytes, 'Content-Range': contentRange(range, lengthBytes) }
    return { status: 206, headers, body }
  }
  const boundary = makeBoundary()
  const body = multipartBody({ ranges, boundary, contentType, lengthBytes })
  // Content-Range stands in each part; at the top it would claim that this is one range (RFC 9110 section 15.3.7.2)
  const multipartType = `multipart/byteranges; boundary=${boundary}`
  return { status: 206, headers: { ...whole, 'Content-Length': body.lengthBytes, 'Content-Type': multipartType }, body }
}

/** What a 304 carries too, so that caches freshen what they hold (RFC 9110 section 15.4.5). */
function validatorHeaders ({ etag, cacheControl }: Representation, lastModified: Date | null): Headers {
  return {
    ETag: etag,
    ...lastModified === null ? {} : { 'Last-Modified': lastModified.toUTCString() },
    'Cache-Control': cacheControl
  }
}

function contentHeaders ({ contentType, lengthBytes, fileName, isDownload }: Representation): Headers {
  return {
    'Content-Type': contentType,
    'Content-Length': lengthBytes,
    'Content-Disposition': contentDisposition(fileName, isDownload ? 'attachment' : 'inline'),
    'Accept-Ranges': 'bytes',
    ...dlnaHeaders
  }
}

/** No validators: they belong to the file, and this is not the file. */
function errorHeaders (): Headers {
  return { ...embeddingHeaders, 'Content-Length': 0, 'Cache-Control': 'no-store' }
}

function singleBody (range: ByteRange): ResponseBody {
  return { parts: [{ head: Buffer.alloc(0), range }], tail: Buffer.alloc(0), lengthBytes: range.end - range.start + 1 }
}

/** Torrents are dated by whoever made them; a date to come must not be sent (RFC 9110 section 8.8.2.1), nor one that is none. */
function sendableDate (date: Date | null): Date | null {
  return date !== null && date.getTime() >= 0 && date.getTime() <= Date.now() ? date : null
}
