import { freeChunk } from '../chunk-pool.ts'
import { CodedError } from '../errors.ts'
import { busySeed } from './http-seeds.ts'
import { MirrorFault } from './mirror.ts'
import { judgeReply } from './range-reply.ts'
import type { PieceStore } from '../pieces/piece-store.ts'
import type { TorrentFile } from '../torrent/metadata.ts'
import type { Fetcher, Reply } from './fetcher.ts'
import type { MirrorRequest, Stretch } from './mirror.ts'
import type { AcceptedVerdict } from './range-reply.ts'
import type { Run } from './run.ts'

export interface StreamOptions {
  readonly store: Pick<PieceStore, 'geometry' | 'metadata'>
  readonly fetcher: Pick<Fetcher, 'get'>
  readonly headersTimeoutMs: number
  readonly idleTimeoutMs: number
  /** Told of each URL that is asked. */
  readonly onAsked?: (url: URL) => void
  /** Told of each reply that is what was asked for. */
  readonly onAnswered: (file: TorrentFile, verdict: AcceptedVerdict) => void
  /** Told of each chunk as it comes. */
  readonly onReceived: (bytes: number) => void
}

/** Less than this within the idle timeout is a drip, and a drip is silence. */
const PROGRESS_BYTES = 16 * 1024
const ZEROS = Buffer.alloc(64 * 1024)

/**
 * The bytes of the run, file after file (padding is zeros, and never fetched). `run.position` is always the byte after
 * the chunk that was given, and a chunk never goes beyond a piece. A chunk is good until the next one is asked for. It ends
 * where `run.end` is by then, which the consumer may move. Throws MirrorFault, what the fetcher throws, or the reason of
 * the run's signal.
 */
export async function * streamRun (run: Run, options: StreamOptions): AsyncGenerator<Buffer, void, void> {
  const { onAnswered, onReceived, store: { geometry } } = options
  const advance = (limit: number): number => {
    const piece = geometry.pieceAt(run.position)
    const length = Math.min(limit, run.end, geometry.offsetOf(piece) + geometry.lengthOf(piece)) - run.position
    run.position += length
    return length
  }
  while (run.position < run.end) {
    const file = fileAt(run.position, run.end, options.store)
    const fileEnd = file.offset + file.lengthBytes
    if (file.isPadding) {
      yield ZEROS.subarray(0, advance(Math.min(fileEnd, run.position + ZEROS.length)))
      continue
    }
    const from = run.position
    const { reply, verdict, end } = await ask(run, file, from - file.offset, Math.min(fileEnd, run.end) - file.offset - 1, options)
    const askedEnd = file.offset + end + 1
    const replyEnd = file.offset + verdict.last + 1
    run.isWholeFile = verdict.isWholeFile
    onAnswered(file, verdict)
    let skip = verdict.skipBytes
    try {
      for await (const chunk of patiently(reply, run, options)) {
        onReceived(chunk.length)
        let rest = chunk.subarray(Math.min(skip, chunk.length))
        skip -= chunk.length - rest.length
        while (rest.length > 0 && run.position < Math.min(replyEnd, run.end)) {
          const length = advance(Math.min(replyEnd, run.position + rest.length))
          const part = rest.subarray(0, length)
          rest = rest.subarray(length)
          yield part
        }
        freeChunk(chunk)
        if (run.position >= Math.min(replyEnd, run.end)) break
      }
    } finally {
      reply.discard()
    }
    // A server may send less than it was asked for; the next request goes on there. One that sends nothing is done with.
    if (run.position < Math.min(askedEnd, run.end, from + PROGRESS_BYTES)) throw failed(`its reply ended after ${run.position - from} of ${askedEnd - from} bytes`, file)
  }
}

interface Answer {
  readonly reply: Reply
  readonly verdict: AcceptedVerdict
  /** The last byte of the file that was asked for. */
  readonly end: number
}

async function ask (run: Run, file: TorrentFile, start: number, end: number, { fetcher, headersTimeoutMs, idleTimeoutMs, onAsked }: StreamOptions): Promise<Answer> {
  const { mirror } = run.record
  for (let isRenewed = false; ; isRenewed = true) {
    const request = await requestOf(run, { file, start, end })
    onAsked?.(request.url)
    const reply = await fetcher.get(request.url, {
      isTrusted: request.isTrusted, headers: request.headers, signal: run.stop.signal, headersTimeoutMs, bodyTimeoutMs: idleTimeoutMs
    })
    const verdict = judgeReply(reply, { start, end: request.end, fileLengthBytes: file.lengthBytes, isExact: request.reply === 'exact' })
    if (verdict.kind === 'accepted') return { reply, verdict, end: request.end }
    const fault = new MirrorFault(request.reply === 'exact' && reply.status === 503 ? await busySeed(reply) : verdict, file)
    reply.discard()
    const isRefused = reply.status === 401 || reply.status === 403 || reply.status === 410
    if (!isRefused || isRenewed || mirror.renew?.(file, request.url) !== true) throw fault
  }
}

async function requestOf (run: Run, stretch: Stretch): Promise<MirrorRequest> {
  run.isAsking = true
  try {
    return await run.record.mirror.request(stretch, run.stop.signal)
  } finally {
    run.isAsking = false
  }
}

/** The body, for as long as it makes progress. Only the time of waiting for bytes counts, not that of using them. */
async function * patiently ({ body, url }: Reply, run: Run, { idleTimeoutMs }: StreamOptions): AsyncGenerator<Buffer, void, void> {
  let waitedMs = 0
  let receivedBytes = 0
  try {
    for (;;) {
      const since = performance.now()
      const timer = setTimeout(() => {
        run.stop.abort(new CodedError('HTTP_TIMEOUT', `${url.host} sent ${receivedBytes} bytes in ${idleTimeoutMs} ms`))
      }, Math.max(0, idleTimeoutMs - waitedMs))
      const next = await body.next().finally(() => { clearTimeout(timer) })
      if (next.done === true) return
      waitedMs += performance.now() - since
      receivedBytes += next.value.length
      if (receivedBytes >= PROGRESS_BYTES) waitedMs = receivedBytes = 0
      yield next.value
    }
  } finally {
    await body.return()
  }
}

/** The file that holds this byte of the torrent, empty ones aside. */
function fileAt (position: number, end: number, { geometry, metadata }: StreamOptions['store']): TorrentFile {
  const [span] = geometry.spansIn({ start: position, end: end - 1 })
  const file = span === undefined ? undefined : metadata.files[span.fileIndex]
  if (file === undefined) throw new RangeError(`no file holds byte ${position}`)
  return file
}

function failed (why: string, file: TorrentFile): MirrorFault {
  return new MirrorFault({ kind: 'failed', why, isBusy: false, retryAfterMs: 0 }, file)
}
