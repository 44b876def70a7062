import { createHash } from 'node:crypto'
import { CodedError } from '../errors.ts'
import type { Fetcher, Reply } from './fetcher.ts'
import type { ByteRange } from '../pieces/geometry.ts'
import type { SourceFile } from '../source.ts'

/**
 * A file of another server, read by ranges through the fetcher and its address guard. Throws SOURCE_FAILED where it sends no
 * ranges (RFC 9110 section 15.3.7), what the fetcher throws, or the signal's reason.
 *
 * @param headers of each request.
 */
export async function openForeign (url: URL, fetcher: Fetcher, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<SourceFile> {
  const first = await ask(url, { start: 0, end: 0 }, fetcher, headers, signal)
  first.reply.discard()
  const { size, validator } = first
  return {
    source: 'elsewhere',
    name: url.pathname.split('/').at(-1) ?? '',
    lengthBytes: size,
    etag: `"${createHash('sha256').update(JSON.stringify([url.href, size, validator])).digest('hex').slice(0, 32)}"`,
    lastModified: null,
    isVerified: false,
    isLocal: false,
    async * read (range, signal) {
      const part = await ask(url, range, fetcher, headers, signal)
      try {
        if (part.size !== size || part.validator !== validator) throw new CodedError('FILE_CHANGED', `${url.host} has another file there now`)
        let left = range.end - range.start + 1
        for await (const chunk of part.reply.body) {
          left -= chunk.length
          // One that never ends would fill the memory of whoever waits for the end.
          if (left < 0) throw new CodedError('SOURCE_FAILED', `${url.host} sends more than it was asked for`)
          yield chunk
        }
        if (left > 0) throw new CodedError('SOURCE_FAILED', `${url.host} sends less than it was asked for`)
      } finally {
        part.reply.discard()
      }
    }
  }
}

async function ask (url: URL, { start, end }: ByteRange, fetcher: Fetcher, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<{ reply: Reply, size: number, validator: string }> {
  const reply = await fetcher.get(url, { isTrusted: false, headers: { ...headers, range: `bytes=${start}-${end}` }, signal })
  const [, from, to, size] = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(reply.headers['content-range'] ?? '') ?? []
  if (reply.status !== 206 || Number(from) !== start || Number(to) > end || Number(size) === 0) {
    reply.discard()
    throw new CodedError('SOURCE_FAILED', `${url.host} sends no ranges`)
  }
  return { reply, size: Number(size), validator: reply.headers['etag'] ?? reply.headers['last-modified'] ?? '' }
}
