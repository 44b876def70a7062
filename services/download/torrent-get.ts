import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { CodedError } from '../errors.ts'
import { maxTorrentBytes, parseMetadata } from '../torrent/metadata.ts'
import { retryAfterMs } from './range-reply.ts'
import type { Metadata } from '../torrent/metadata.ts'
import type { Fetcher, Reply } from './fetcher.ts'

export interface AskOptions {
  readonly fetcher: Fetcher
  /** The operator configured the URL, so the address guard does not ask about it; about its redirects it does. */
  readonly isTrusted: boolean
  readonly headers?: Readonly<Record<string, string>>
  readonly signal: AbortSignal
  /** From the request to the last byte, redirects included. */
  readonly timeoutMs: number
}

/** A server that is busy and says when to come back: it says so for itself, whatever was asked of it. */
export class ServerBusy extends CodedError {
  readonly retryAfterMs: number

  constructor (status: number, retryAfterMs: number) {
    super('SOURCE_FAILED', `status ${status}, busy for ${Math.ceil(retryAfterMs / 1000)} s`)
    this.retryAfterMs = retryAfterMs
  }
}

const MAX_REDIRECTS = 3
/** The server is there, but does not say whether it has what was asked for: a timeout, a challenge, an overload. */
const UNDECIDED = new Set([401, 403, 408, 425, 429])
const unzip = promisify(gunzip)

/**
 * The `.torrent` at this URL, checked against the infohash. Status, type and looks of an answer prove nothing: caches
 * send pages, captchas and placeholder torrents with 200.
 *
 * Throws METADATA_NOT_FOUND, METADATA_INVALID, METADATA_MISMATCH or METADATA_V2_ONLY where the server has no such
 * torrent; HTTP_TIMEOUT, SOURCE_FAILED (ServerBusy among them) where it may have; ADDRESS_REFUSED; the signal's reason.
 */
export async function getTorrent (url: URL, infohash: string, options: AskOptions): Promise<Metadata> {
  const torrent = await getBytes(url, maxTorrentBytes, options)
  if (torrent[0] !== 0x64) throw new CodedError('METADATA_INVALID', 'the answer is not a torrent') // `d`, a bencoded dictionary
  return parseMetadata(torrent, infohash)
}

/** The body of a 200, unpacked, of at most `limitBytes` before and after. Throws as getTorrent does. */
export async function getBytes (url: URL, limitBytes: number, { fetcher, isTrusted, headers = {}, signal, timeoutMs }: AskOptions): Promise<Buffer> {
  const deadline = new AbortController()
  const timer = setTimeout(() => { deadline.abort(new CodedError('HTTP_TIMEOUT', `no answer within ${timeoutMs} ms`)) }, timeoutMs)
  try {
    const reply = await fetcher.get(url, { isTrusted, headers, signal: AbortSignal.any([signal, deadline.signal]), maxRedirects: MAX_REDIRECTS })
    try {
      refuseStatus(reply)
      return await unpacked(await read(reply, limitBytes), limitBytes)
    } finally {
      reply.discard()
    }
  } finally {
    clearTimeout(timer)
  }
}

function refuseStatus ({ status, headers }: Reply): void {
  if (status === 200) return
  const waitMs = status === 429 || status === 503 ? retryAfterMs(headers['retry-after']) : 0
  if (waitMs > 0) throw new ServerBusy(status, waitMs)
  throw new CodedError(status >= 500 || UNDECIDED.has(status) ? 'SOURCE_FAILED' : 'METADATA_NOT_FOUND', `status ${status}`)
}

async function read ({ headers, body }: Reply, limitBytes: number): Promise<Buffer> {
  if (Number(headers['content-length']) > limitBytes) throw tooLarge(limitBytes)
  const chunks: Buffer[] = []
  let lengthBytes = 0
  for await (const chunk of body) {
    lengthBytes += chunk.length
    if (lengthBytes > limitBytes) throw tooLarge(limitBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, lengthBytes)
}

/** Some caches send gzip to whoever did not ask for it, with or without saying so. */
async function unpacked (bytes: Buffer, limitBytes: number): Promise<Buffer> {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
  try {
    return await unzip(bytes, { maxOutputLength: limitBytes })
  } catch (error) {
    throw new CodedError('METADATA_INVALID', 'the answer is broken or oversized gzip', { cause: error })
  }
}

function tooLarge (limitBytes: number): CodedError {
  return new CodedError('METADATA_INVALID', `the answer is larger than ${limitBytes} bytes`)
}
