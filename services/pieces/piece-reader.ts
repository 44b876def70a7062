import { chunkBytesNow } from '../chunk-pool.ts'
import { abortable } from '../deadline.ts'
import { CodedError } from '../errors.ts'
import type { Want } from './demand.ts'
import type { ByteRange, PieceIndex } from './geometry.ts'
import type { PieceStore } from './piece-store.ts'
import { ReaderDemand } from './reader-demand.ts'
import { StallWatch } from './stall-watch.ts'
import type { StallWatchOptions } from './stall-watch.ts'
import type { Seat } from './windows.ts'

export interface ReadOptions {
  /** Where the reader says what it wants; released at the end, however that comes, and as soon as the signal aborts. */
  readonly want: Want
  readonly signal: AbortSignal
  /** All bytes the filler has received for this torrent, verified or not. */
  readonly progress: () => number
  readonly stallTimeoutMs?: number
  /** Nobody watches: the pieces may come in any order. */
  readonly isBackground?: boolean
}

/**
 * The bytes of an inclusive range of one file, from a store that grows meanwhile: verified ones only, in chunks of up to
 * 1 MiB. Waits for each piece that is missing; no clock runs while the consumer takes its time.
 *
 * Throws STALLED when the piece it waits for does not come (see StallWatch), the signal's reason as soon as it aborts,
 * STORE_CLOSED, STORE_FAILED, FILE_INDEX; NO_ROOM for a file that does not fit the disk when there is no room for a window
 * either; RangeError for a range that is not inside the file.
 */
export async function * readPieces (store: PieceStore, fileIndex: number, range: ByteRange, { want, signal, progress, stallTimeoutMs = 4000, isBackground = false }: ReadOptions): AsyncGenerator<Buffer, void, undefined> {
  const { geometry } = store
  const stop = new AbortController()
  // Also while the consumer sits on a chunk, and may never ask for the next one.
  let seat: Seat | null = null
  const leave = () => {
    want.release()
    seat?.release()
    seat = null
  }
  const onAbort = () => {
    leave()
    stop.abort(signal.reason)
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    signal.throwIfAborted()
    const file = geometry.rangeOfFile(fileIndex)
    if (file === null || range.start < 0 || range.start > range.end || range.end > file.end - file.start) {
      throw new RangeError(`${range.start}-${range.end} is not inside file ${fileIndex}`)
    }
    await abortable(store.want(fileIndex), signal)
    const demand = new ReaderDemand(geometry, file, geometry.toTorrent(fileIndex, range), want, { isBackground })
    const taken = await store.sit(fileIndex, file.start + range.start, signal)
    seat = taken
    taken.onLeave = (leave, position) => { demand.moveTo(position, leave) }
    let position = range.start
    while (position <= range.end) {
      const leave = await abortable(taken.moveTo(file.start + position), signal)
      demand.moveTo(file.start + position, leave)
      // Pieces beyond the window belong to other readers, who may let them go at any time.
      const end = typeof leave === 'object' ? Math.min(range.end, geometry.offsetOf(leave.last) + geometry.lengthOf(leave.last) - 1 - file.start) : range.end
      const available = store.contiguousBytesFrom(fileIndex, position, Math.min(chunkBytesNow(), end - position + 1))
      if (available === 0) {
        await arrival(store, geometry.pieceAt(file.start + position), stop, progress, { stallTimeoutMs, isAnyPieceProgress: isBackground })
        continue
      }
      const chunk = await abortable(store.readFile(fileIndex, position, available), signal)
      position += chunk.length
      taken.rest()
      yield chunk
    }
  } finally {
    signal.removeEventListener('abort', onAbort)
    leave()
  }
}

/** Waits for the piece, and aborts `stop` with STALLED when it waits in vain. */
async function arrival (store: PieceStore, piece: PieceIndex, stop: AbortController, progress: () => number, options: Pick<StallWatchOptions, 'stallTimeoutMs' | 'isAnyPieceProgress'>): Promise<void> {
  const read = () => ({ now: performance.now(), receivedBytes: progress(), verifiedCount: store.arrivedCount })
  const watch = new StallWatch({ pieceBytes: store.geometry.lengthOf(piece), ...options }, read())
  const timer = setInterval(() => {
    const stall = watch.check(read())
    if (stall !== null) stop.abort(new CodedError('STALLED', `waiting for piece ${piece}: ${stall}`))
  }, Math.min(250, options.stallTimeoutMs / 8))
  try {
    await store.waitFor(piece, stop.signal)
  } finally {
    clearInterval(timer)
  }
}
