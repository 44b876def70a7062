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
  /** Its body, after `skipBytes`, is what was asked for. `isWholeFile`: it goes on to the end of the file. */
  | { readonly kind: 'accepted', readonly skipBytes: number, readonly isWholeFile: boolean }
  /** Not now: ask again later. */
  | { readonly kind: 'failed', readonly why: string, readonly isBusy: boolean, readonly retryAfterMs: number }
  /** This mirror does not have this file, or has another. */
  | { readonly kind: 'not-here', readonly why: string }
  /** It sends whole files only, and what was asked for is too far inside. */
  | { readonly kind: 'ignores-range', readonly why: string }

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
  if (asked.isExact === true) return judgeExact(headers['content-length'], asked)
  return status === 206 ? judgePartial(headers['content-range'], asked) : judgeWhole(headers['content-length'], asked)
}

function judgePartial (contentRange: string | undefined, { start, fileLengthBytes }: Asked): Verdict {
  const [, first, last, total] = /^bytes (\d+)-(\d+)\/(\d+)$/i.exec(contentRange ?? '') ?? []
  if (first === undefined || last === undefined || total === undefined) return failed('206 without a usable Content-Range')
  if (Number(total) !== fileLengthBytes) return notHere(`its file has ${total} bytes instead of ${fileLengthBytes}`)
  if (Number(first) !== start || Number(last) < start || Number(last) >= fileLengthBytes) return failed(`asked for bytes from ${start} it sends ${contentRange}`)
  return { kind: 'accepted', skipBytes: 0, isWholeFile: false }
}

function judgeWhole (contentLength: string | undefined, { start, fileLengthBytes }: Asked): Verdict {
  if (contentLength !== undefined && Number(contentLength) !== fileLengthBytes) return notHere(`its file has ${contentLength} bytes instead of ${fileLengthBytes}`)
  if (start > maxSkipBytes) return { kind: 'ignores-range', why: 'it sends whole files only' }
  return { kind: 'accepted', skipBytes: start, isWholeFile: true }
}

function judgeExact (contentLength: string | undefined, { start, end }: Asked): Verdict {
  const lengthBytes = end - start + 1
  if (contentLength !== undefined && Number(contentLength) !== lengthBytes) return failed(`asked for ${lengthBytes} bytes it sends ${contentLength}`)
  return { kind: 'accepted', skipBytes: 0, isWholeFile: false }
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
