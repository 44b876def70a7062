import { createHash } from 'node:crypto'
import { asCoded, CodedError } from '../errors.ts'
import { contentTypeOf, extensionOfType } from '../http/content-type.ts'
import { lastSegmentOf } from './mirrors.ts'
import { deadlines } from '../deadlines.ts'
import type { ByteRange } from '../pieces/geometry.ts'
import type { SourceFile, StreamRequest } from '../source.ts'
import type { Fetcher, Reply } from './fetcher.ts'

/** What a server says of its file. */
interface Remote {
  readonly lengthBytes: number
  /** Its version: the same as long as its validators are. */
  readonly version: string
  readonly name: string | null
}

/** A disk may have to spin up first. */

/**
 * A file of which nobody knows the hashes, as the operator's own server has it: the first of these URLs that answers.
 * It is never checked, stored, or joined with what others send. A server that ignores Range is read from its start each
 * time. Throws METADATA_NOT_FOUND with what each server said, or the signal's reason.
 */
export async function openUnverifiedFile (
  { infohash, fileIndex }: StreamRequest, { urls, fetcher, source }: { readonly urls: readonly URL[], readonly fetcher: Pick<Fetcher, 'get'>, readonly source: string }, signal: AbortSignal
): Promise<SourceFile> {
  const said: string[] = []
  for (const url of urls) {
    try {
      const remote = await probe(url, fetcher, signal)
      return {
        source,
        name: nameOf(remote.name ?? lastSegmentOf(url) ?? infohash),
        lengthBytes: remote.lengthBytes,
        etag: `"unverified-${infohash}-${fileIndex ?? 'default'}-${remote.version}"`,
        lastModified: null,
        isVerified: false,
        isLocal: false,
        read: (range, signal) => read(url, remote, range, fetcher, signal)
      }
    } catch (error) {
      signal.throwIfAborted()
      said.push(`${url.host}: ${asCoded(error, 'SOURCE_FAILED').message.replace(`${url.host}: `, '')}`)
    }
  }
  throw new CodedError('METADATA_NOT_FOUND', `no unverified copy either (${said.join('; ')})`)
}

/** Its first byte, which tells the length, and whether the server takes Range; HEAD tells the one, and often lies about the other. */
async function probe (url: URL, fetcher: Pick<Fetcher, 'get'>, signal: AbortSignal): Promise<Remote> {
  const reply = await fetcher.get(url, { isTrusted: true, headers: { range: 'bytes=0-0' }, signal, headersTimeoutMs: deadlines.headersMs })
  try {
    return remoteOf(url, reply, 0)
  } finally {
    reply.discard()
  }
}

async function * read (url: URL, remote: Remote, { start, end }: ByteRange, fetcher: Pick<Fetcher, 'get'>, signal: AbortSignal): AsyncGenerator<Buffer> {
  let position = start
  while (position <= end) {
    const before = position
    const reply = await fetcher.get(url, { isTrusted: true, headers: { range: `bytes=${position}-${end}` }, signal, headersTimeoutMs: deadlines.headersMs, bodyTimeoutMs: deadlines.unverifiedBodyMs })
    try {
      if (remoteOf(url, reply, position).version !== remote.version) throw new CodedError('FILE_CHANGED', `${url.host} has another file by now`)
      let skip = reply.status === 200 ? position : 0
      for await (const chunk of reply.body) {
        const part = chunk.subarray(Math.min(skip, chunk.length)).subarray(0, end + 1 - position)
        skip = Math.max(0, skip - chunk.length)
        position += part.length
        if (part.length > 0) yield part
        if (position > end) return
      }
    } finally {
      reply.discard()
    }
    // A server may send less than it was asked for, and is asked for the rest; not one that sends nothing.
    if (position === before) throw new CodedError('SOURCE_FAILED', `${url.host} ended at byte ${position} of ${end + 1}`)
  }
}

/** Throws SOURCE_FAILED for a reply that does not hold the file from this byte on. */
function remoteOf (url: URL, { status, headers }: Reply, start: number): Remote {
  if (status !== 200 && status !== 206) throw new CodedError('SOURCE_FAILED', `status ${status}`)
  const type = headers['content-type']?.split(';')[0]?.trim().toLowerCase() ?? ''
  if (type === 'text/html') throw new CodedError('SOURCE_FAILED', 'it sends a page and no file')
  const encoding = headers['content-encoding']?.toLowerCase() ?? 'identity'
  if (encoding !== 'identity' && encoding !== '') throw new CodedError('SOURCE_FAILED', `it sends the file encoded (${encoding})`)
  const [, first, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/i.exec(headers['content-range'] ?? '') ?? []
  if (status === 206 && Number(first) !== start) throw new CodedError('SOURCE_FAILED', `asked for bytes from ${start} it sends ${headers['content-range'] ?? 'no Content-Range'}`)
  const length = status === 206 ? total : headers['content-length']
  const lengthBytes = Number(length)
  if (length === undefined || !Number.isSafeInteger(lengthBytes)) throw new CodedError('SOURCE_FAILED', 'it does not say how long the file is')
  const validator = headers['etag'] ?? headers['last-modified'] ?? ''
  const version = createHash('sha1').update(JSON.stringify([url.href, lengthBytes, validator])).digest('hex').slice(0, 16)
  const name = nameIn(headers['content-disposition'] ?? '')
  return { lengthBytes, version, name: name ?? (extensionOfType(type) === null ? null : withExtension(lastSegmentOf(url) ?? 'film', type)) }
}

/** The file name of a Content-Disposition (RFC 6266 section 4.1), without any path; null: none that can be read. */
function nameIn (disposition: string): string | null {
  const extended = /(?:^|;)\s*filename\*\s*=\s*UTF-8'[^']*'([^;\s]+)/i.exec(disposition)?.[1]
  const [, quoted, token] = /(?:^|;)\s*filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))/i.exec(disposition) ?? []
  try {
    const name = extended === undefined ? quoted?.replace(/\\(.)/g, '$1') ?? token : decodeURIComponent(extended)
    return name?.split(/[/\\]/).at(-1) || null
  } catch {
    return null
  }
}

/** Players and browsers go by the type, which we go by the name for. */
function withExtension (name: string, type: string): string {
  return contentTypeOf(name) === 'application/octet-stream' ? `${name}.${extensionOfType(type) ?? ''}` : name
}

function nameOf (name: string): string {
  return name.toWellFormed().slice(0, 255)
}
