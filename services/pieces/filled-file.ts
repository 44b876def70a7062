import { tracked } from '../cache/last-use.ts'
import { abortable, pause } from '../deadline.ts'
import { CodedError } from '../errors.ts'
import { selectFile } from '../torrent/file-selection.ts'
import { urgencies } from './demand.ts'
import { readPieces } from './piece-reader.ts'
import type { Filler } from './filler.ts'
import type { PieceIndex } from './geometry.ts'
import type { Helper, SourceFile, StreamRequest } from '../source.ts'
import type { Torrents } from '../torrent/torrents.ts'
import type { PieceStore } from './piece-store.ts'

const HOPE_INTERVAL_MS = 100

export interface FilledFileOptions {
  readonly torrents: Torrents
  readonly store: PieceStore
  readonly filler: Filler
  /** A reader that waits so long without progress of the filler gets STALLED. */
  readonly stallTimeoutMs: number
}

/**
 * The requested file of a torrent, as a filler fills it: resolves when the first piece of what was asked is verified
 * and the filler is one that delivers. Reading puts demand on this filler, and yields from the store whoever filled it.
 * Throws FILE_INDEX, STORE_FAILED, NO_ROOM, or the signal's reason. Without a head (a HEAD request) nothing is fetched.
 */
export async function openFilledFile (request: StreamRequest, options: FilledFileOptions, signal: AbortSignal): Promise<SourceFile> {
  const { torrents, store, filler, stallTimeoutMs } = options
  const { metadata } = store
  const file = selectFile(metadata, request.fileIndex)
  const head = headOf(store, file.index, file.lengthBytes, request.head)
  if (head !== null) {
    await abortable(store.want(file.index), signal)
    await fetchHead(store, filler, file.index, head, signal)
  }
  return {
    source: filler.name,
    name: file.name,
    lengthBytes: file.lengthBytes,
    etag: `"${metadata.infohash}-${file.index}"`,
    lastModified: metadata.createdAt,
    isVerified: true,
    isLocal: false,
    progress: () => filler.receivedBytes,
    ahead: (position, limit) => store.contiguousBytesFrom(file.index, position, limit),
    help: () => helperOf(store, filler, file.index),
    async * read (range, signal) {
      const lease = torrents.read(metadata.infohash, file.index)
      try {
        if (lease.torrent.store !== store) throw new CodedError('STORE_CLOSED', 'the torrent was let go and has started anew')
        yield * tracked(lease.reading, readPieces(store, file.index, range, { want: filler.demand.open(), signal, stallTimeoutMs, isBackground: request.isBackground === true, progress: () => filler.receivedBytes }))
      } catch (error) {
        signal.throwIfAborted()
        // Why it was let go says more than that the store is closed.
        throw lease.torrent.closing.aborted ? lease.torrent.closing.reason : error
      } finally {
        lease.release()
      }
    }
  }
}

/** Demand for what lies before a reader of another filler. A windowed file is left to its readers, who have the seats. */
function helperOf (store: PieceStore, filler: Filler, fileIndex: number): Helper {
  const { geometry } = store
  const want = filler.demand.open()
  return {
    source: filler.name,
    moveTo: (position, { imminentBytes, horizonBytes }) => {
      const file = geometry.rangeOfFile(fileIndex)
      if (file === null || store.isWindowed(fileIndex)) return
      const pieceAt = (offset: number): PieceIndex => geometry.pieceAt(Math.min(file.start + offset, file.end))
      const imminent = pieceAt(position + imminentBytes)
      want.set([
        { first: pieceAt(position), last: imminent, urgency: urgencies.waiting },
        { first: imminent, last: pieceAt(position + horizonBytes), urgency: urgencies.readAhead }
      ])
    },
    release: () => { want.release() }
  }
}

/** The byte of the torrent that is asked for first; null: none. */
function headOf (store: PieceStore, fileIndex: number, lengthBytes: number, head: StreamRequest['head']): number | null {
  if (head === null || lengthBytes === 0) return null
  const start = 'start' in head ? head.start : lengthBytes - Math.max(1, head.last)
  const offset = Math.min(Math.max(0, start), lengthBytes - 1)
  return store.geometry.toTorrent(fileIndex, { start: offset, end: offset }).start
}

/**
 * Waits until the piece is there and this filler is one that delivers: it has received something since it was asked, or
 * did before where nothing had to be asked. A piece that another brought proves nothing for this one: it is asked for the
 * next one that is missing. A window that this takes is left to the reader that comes next.
 */
async function fetchHead (store: PieceStore, filler: Filler, fileIndex: number, position: number, signal: AbortSignal): Promise<void> {
  const { geometry } = store
  const piece = geometry.pieceAt(position)
  const seat = await store.sit(fileIndex, position, signal, { isShared: true })
  const want = filler.demand.open()
  const receivedBefore = store.has(piece) ? 0 : filler.receivedBytes
  const { leave } = seat
  const ask = (first: PieceIndex): void => {
    const onward = geometry.piece(Math.min(first + 1, geometry.pieceCount - 1))
    const mayReadOn = leave === 'all' || (leave !== 'nothing' && onward <= leave.last)
    want.set([
      { first, last: first, urgency: urgencies.waiting },
      ...(mayReadOn ? [{ first: onward, last: onward, urgency: urgencies.readAhead }] : [])
    ])
  }
  try {
    ask(piece)
    await store.waitFor(piece, signal)
    while (!filler.isHopeful || filler.receivedBytes <= receivedBefore) {
      await pause(HOPE_INTERVAL_MS, signal)
      const missing = leave === 'all' ? nextMissing(store, fileIndex, piece) : piece
      if (missing === null) return
      ask(missing)
    }
  } finally {
    want.release()
    seat.release()
  }
}

function nextMissing (store: PieceStore, fileIndex: number, from: PieceIndex): PieceIndex | null {
  const { geometry } = store
  const file = geometry.rangeOfFile(fileIndex)
  if (file === null) return null
  for (let index: number = from; index <= geometry.pieceAt(file.end); index++) {
    const piece = geometry.piece(index)
    if (!store.has(piece)) return piece
  }
  return null
}
