import { CodedError } from '../errors.ts'
import { busySeed } from './http-seeds.ts'
import { MirrorFault } from './mirror.ts'
import { judgeReply } from './range-reply.ts'
import type { PieceStore } from '../pieces/piece-store.ts'
import type { Urgency } from '../pieces/demand.ts'
import type { PieceIndex } from '../pieces/geometry.ts'
import type { TorrentFile } from '../torrent/metadata.ts'
import type { Fetcher, Reply } from './fetcher.ts'
import type { MirrorRecord } from './mirror-record.ts'
import type { Verdict } from './range-reply.ts'

/** Neighbouring pieces that are fetched one after the other from one mirror. */
export interface Run {
  readonly record: MirrorRecord
  /** The piece that is being received; the consumer of streamRun moves it. */
  current: PieceIndex
  /** The last piece that is asked for. It may move down while the run goes on, and up where `isWholeFile`. */
  last: PieceIndex
  /** The mirror sends the file to its end, whatever was asked for: going on costs nothing. */
  isWholeFile: boolean
  /** How urgent its first piece was when it began. */
  readonly urgency: Urgency
  readonly startedAt: number
  readonly stop: AbortController
}

export interface RunOptions {
  readonly store: Pick<PieceStore, 'geometry' | 'metadata'>
  readonly fetcher: Pick<Fetcher, 'get'>
  readonly headersTimeoutMs: number
  readonly idleTimeoutMs: number
  /** Told of each URL that is asked. */
  readonly onAsked?: (url: URL) => void
  /** Told of each chunk as it comes. */
  readonly onReceived: (bytes: number) => void
}

/** Less than this within the idle timeout is a drip, and a drip is silence. */
const PROGRESS_BYTES = 16 * 1024
const ZEROS = Buffer.alloc(64 * 1024)

/**
 * The bytes of the run, from its current piece on, file after file (padding is zeros, and never fetched). A chunk never
 * goes beyond the current piece, so the consumer moves `run.current` when that is whole, or ends the iteration; it goes
 * on for as long as it is asked. Throws MirrorFault, what the fetcher throws, or the reason of the run's signal.
 */
export async function * streamRun (run: Run, options: RunOptions): AsyncGenerator<Buffer, never, void> {
  const { geometry } = options.store
  const endOf = (piece: PieceIndex): number => geometry.offsetOf(piece) + geometry.lengthOf(piece)
  let position = geometry.offsetOf(run.current)
  for (;;) {
    const file = fileAt(position, endOf(run.current), options.store)
    const fileEnd = file.offset + file.lengthBytes
    if (file.isPadding) {
      const zeros = ZEROS.subarray(0, Math.min(fileEnd, endOf(run.current)) - position)
      position += zeros.length
      yield zeros
      continue
    }
    const from = position
    const { reply, verdict, end } = await ask(run, file, position - file.offset, Math.min(fileEnd, endOf(run.last)) - file.offset - 1, options)
    const askedEnd = file.offset + end + 1
    run.isWholeFile = verdict.isWholeFile
    let skip = verdict.skipBytes
    try {
      for await (const chunk of patiently(reply, run, options)) {
        options.onReceived(chunk.length)
        let rest = chunk.subarray(Math.min(skip, chunk.length))
        skip -= chunk.length - rest.length
        while (rest.length > 0 && position < fileEnd) {
          const part = rest.subarray(0, Math.min(fileEnd, endOf(run.current)) - position)
          position += part.length
          rest = rest.subarray(part.length)
          yield part
        }
        if (position >= fileEnd) break
      }
    } finally {
      reply.discard()
    }
    // A server may send less than it was asked for; the next request goes on there. One that sends nothing is done with.
    if (position < Math.min(askedEnd, from + PROGRESS_BYTES)) throw failed(`its reply ended after ${position - from} of ${askedEnd - from} bytes`, file)
  }
}

async function ask (run: Run, file: TorrentFile, start: number, end: number, { fetcher, headersTimeoutMs, idleTimeoutMs, onAsked }: RunOptions): Promise<{ reply: Reply, verdict: Extract<Verdict, { kind: 'accepted' }>, end: number }> {
  const { mirror } = run.record
  for (let isRenewed = false; ; isRenewed = true) {
    const request = await mirror.request({ file, start, end }, run.stop.signal)
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

/** The body, for as long as it makes progress. Only the time of waiting for bytes counts, not that of using them. */
async function * patiently ({ body, url }: Reply, run: Run, { idleTimeoutMs }: RunOptions): AsyncGenerator<Buffer, void, void> {
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
function fileAt (position: number, end: number, { geometry, metadata }: RunOptions['store']): TorrentFile {
  const [span] = geometry.spansIn({ start: position, end: end - 1 })
  const file = span === undefined ? undefined : metadata.files[span.fileIndex]
  if (file === undefined) throw new RangeError(`no file holds byte ${position}`)
  return file
}

function failed (why: string, file: TorrentFile): MirrorFault {
  return new MirrorFault({ kind: 'failed', why, isBusy: false, retryAfterMs: 0 }, file)
}
