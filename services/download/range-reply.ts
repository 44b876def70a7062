import type { Reply } from './fetcher.ts'

/** A stretch of one file that a mirror was asked for, both ends inclusive, and how long the file has to be. */
export interface Asked {
  readonly start: number
  readonly end: number
  readonly fileLengthBytes: number
  /** No Range was sent: the reply is 200 with exactly these bytes (BEP 17). */
  readonly isExact?: boolean
}

/** What a mirror's reply is good for. */
export type Verdict =
  /** Its body, after `skipBytes`, is what was asked for, up to byte `last` of the file. `isWholeFile`: that is the file's last one, asked for or not. */
  | { readonly kind: 'accepted', readonly skipBytes: number, readonly isWholeFile: boolean, readonly last: number, readonly validator: string | null }
  /** Not now: ask again later. */
  | { readonly kind: 'failed', readonly why: string, readonly isBusy: boolean, readonly retryAfterMs: number }
  /** This mirror does not have this file, or has another. */
  | { readonly kind: 'not-here', readonly why: string }
  /** It sends whole files only, and what was asked for is too far inside: ask for its beginning, if at all. */
  | { readonly kind: 'ignores-range', readonly why: string }

export type AcceptedVerdict = Extract<Verdict, { kind: 'accepted' }>

/** A mirror that answers 200 to a Range may still serve what begins this near to the start of the file. */
export const maxSkipBytes = 1024 * 1024

/** No mirror is left alone for longer, whatever it asks for. */
export const maxRetryAfterMs = 600_000

/**
 * Judges a reply to `GET` with `Range` (RFC 9110 sections 14.4 and 15.3.7) more strictly than HTTP asks: a server that
 * sends other bytes than were asked for makes every piece wrong, and a file of another length is another file.
 */
export function judgeReply ({ status, headers }: Pick<Reply, 'status' | 'headers'>, asked: Asked): Verdict {
  if (status === 404 || status === 410 || status === 416) return notHere(`status ${status}`)
  if (status !== 200 && status !== 206) {
    return { kind: 'failed', why: `status ${status}`, isBusy: status === 429 || status === 503, retryAfterMs: retryAfterMs(headers['retry-after']) }
  }
  if (asked.isExact === true && status === 206) return failed('206 where no range was asked for')
  const encoding = headers['content-encoding']?.toLowerCase() ?? 'identity'
  if (encoding !== 'identity' && encoding !== '') return notHere(`it sends the file encoded (${encoding})`)
  const validator = validatorOf(headers)
  if (asked.isExact === true) return judgeExact(headers['content-length'], asked, validator)
  return status === 206 ? judgePartial(headers['content-range'], asked, validator) : judgeWhole(headers['content-length'], asked, validator)
}

/** What tells this version of the file from others: a strong ETag, else Last-Modified (RFC 9110 section 8.8); null: nothing does. */
function validatorOf (headers: Reply['headers']): string | null {
  const etag = headers['etag']
  return etag !== undefined && !etag.startsWith('W/') ? etag : headers['last-modified'] ?? null
}

function judgePartial (contentRange: string | undefined, { start, fileLengthBytes }: Asked, validator: string | null): Verdict {
  const [, first, last, total] = /^bytes (\d+)-(\d+)\/(\d+)$/i.exec(contentRange ?? '') ?? []
  if (first === undefined || last === undefined || total === undefined) return failed('206 without a usable Content-Range')
  if (Number(total) !== fileLengthBytes) return notHere(`its file has ${total} bytes instead of ${fileLengthBytes}`)
  if (Number(first) !== start || Number(last) < start || Number(last) >= fileLengthBytes) return failed(`asked for bytes from ${start} it sends ${contentRange}`)
  return { kind: 'accepted', skipBytes: 0, isWholeFile: false, last: Number(last), validator }
}

function judgeWhole (contentLength: string | undefined, { start, fileLengthBytes }: Asked, validator: string | null): Verdict {
  if (contentLength !== undefined && Number(contentLength) !== fileLengthBytes) return notHere(`its file has ${contentLength} bytes instead of ${fileLengthBytes}`)
  if (start > maxSkipBytes) return { kind: 'ignores-range', why: 'it sends whole files only' }
  return { kind: 'accepted', skipBytes: start, isWholeFile: true, last: fileLengthBytes - 1, validator }
}

function judgeExact (contentLength: string | undefined, { start, end }: Asked, validator: string | null): Verdict {
  const lengthBytes = end - start + 1
  if (contentLength !== undefined && Number(contentLength) !== lengthBytes) return failed(`asked for ${lengthBytes} bytes it sends ${contentLength}`)
  return { kind: 'accepted', skipBytes: 0, isWholeFile: false, last: end, validator }
}

/** Retry-After (RFC 9110 section 10.2.3), seconds or a date, in milliseconds; 0 where there is none. At most ten minutes. */
export function retryAfterMs (value: string | undefined, now = Date.now()): number {
  if (value === undefined) return 0
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now
  return Number.isNaN(ms) ? 0 : Math.min(Math.max(0, ms), maxRetryAfterMs)
}

function notHere (why: string): Verdict {
  return { kind: 'not-here', why }
}

function failed (why: string): Verdict {
  return { kind: 'failed', why, isBusy: false, retryAfterMs: 0 }
}
