import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { asCoded, CodedError } from '../errors.ts'
import { withoutSecrets } from '../format.ts'
import { maxTorrentBytes, parseMetadata } from '../torrent/metadata.ts'
import { expand } from './mirrors.ts'
import type { Log } from '../log.ts'
import type { Metadata } from '../torrent/metadata.ts'
import type { Fetcher, Reply } from './fetcher.ts'

export interface TorrentLookup {
  /** 40 lower-case hex digits. */
  readonly infohash: string
  /** The operator's caches of `.torrent` files: URLs with `{hash}` (lower case) or `{HASH}` (upper case). */
  readonly templates: readonly string[]
  /** URLs of this very `.torrent` that a stranger named (`xs` of a magnet): the address guard looks at them. */
  readonly exactSources?: readonly string[]
  readonly fetcher: Fetcher
  readonly signal: AbortSignal
  readonly log: Log
  /** For each source, redirects and body included. */
  readonly timeoutMs?: number
}

interface TorrentUrl {
  readonly url: URL
  readonly isTrusted: boolean
}

const TIMEOUT_MS = 5000
const MAX_REDIRECTS = 3
const unzip = promisify(gunzip)

/**
 * The torrent's metadata by its infohash, from all caches at once: the first answer that hashes to the infohash wins,
 * the others are aborted. Status, type and looks of an answer prove nothing: caches send pages, captchas and
 * placeholder torrents with 200. Throws METADATA_NOT_FOUND with what each cache said, or the signal's reason.
 */
export async function lookupTorrent ({ infohash, templates, exactSources = [], fetcher, signal, log, timeoutMs = TIMEOUT_MS }: TorrentLookup): Promise<Metadata> {
  signal.throwIfAborted()
  const urls = [
    ...templates.map((template) => ({ url: URL.parse(expand(template, { hash: infohash, HASH: infohash.toUpperCase() })), isTrusted: true })),
    ...exactSources.map((source) => ({ url: URL.parse(source), isTrusted: false }))
  ].filter((source): source is TorrentUrl => source.url !== null)
  if (urls.length === 0) throw new CodedError('METADATA_NOT_FOUND', 'no cache of .torrent files is configured (TORRENT_METADATA_URLS)')

  const stop = new AbortController()
  const outcomes: string[] = []
  try {
    return await Promise.any(urls.map(async (source) => {
      const deadline = new AbortController()
      const timer = setTimeout(() => { deadline.abort(new CodedError('HTTP_TIMEOUT', `no .torrent within ${timeoutMs} ms`)) }, timeoutMs)
      try {
        return await download(source, infohash, fetcher, AbortSignal.any([signal, stop.signal, deadline.signal]))
      } catch (error) {
        const { code, message } = asCoded(error, 'SOURCE_FAILED')
        if (!stop.signal.aborted && !signal.aborted) log.debug({ infohash, url: withoutSecrets(source.url), code }, `no .torrent: ${message}`)
        outcomes.push(`${source.url.host}: ${message.replace(`${source.url.host}: `, '')}`)
        throw error
      } finally {
        clearTimeout(timer)
      }
    }))
  } catch (error) {
    signal.throwIfAborted()
    throw new CodedError('METADATA_NOT_FOUND', `no .torrent to be had (${outcomes.join('; ')})`, { cause: error })
  } finally {
    stop.abort()
  }
}

async function download ({ url, isTrusted }: TorrentUrl, infohash: string, fetcher: Fetcher, signal: AbortSignal): Promise<Metadata> {
  const reply = await fetcher.get(url, { isTrusted, signal, maxRedirects: MAX_REDIRECTS })
  try {
    if (reply.status !== 200) throw new CodedError('METADATA_NOT_FOUND', `status ${reply.status}`)
    const torrent = await unpacked(await read(reply))
    if (torrent[0] !== 0x64) throw new CodedError('METADATA_INVALID', 'the answer is not a torrent') // `d`, a bencoded dictionary
    return parseMetadata(torrent, infohash)
  } finally {
    reply.discard()
  }
}

async function read ({ headers, body }: Reply): Promise<Buffer> {
  if (Number(headers['content-length']) > maxTorrentBytes) throw tooLarge()
  const chunks: Buffer[] = []
  let lengthBytes = 0
  for await (const chunk of body) {
    lengthBytes += chunk.length
    if (lengthBytes > maxTorrentBytes) throw tooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, lengthBytes)
}

/** Some caches send gzip to whoever did not ask for it, with or without saying so. */
async function unpacked (bytes: Buffer): Promise<Buffer> {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
  try {
    return await unzip(bytes, { maxOutputLength: maxTorrentBytes })
  } catch (error) {
    throw new CodedError('METADATA_INVALID', 'the answer is broken or oversized gzip', { cause: error })
  }
}

function tooLarge (): CodedError {
  return new CodedError('METADATA_INVALID', `the answer is larger than ${maxTorrentBytes} bytes`)
}
