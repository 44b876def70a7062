import { urgencies } from './demand.ts'
import type { PieceRange, Want } from './demand.ts'
import type { ByteRange, Geometry, PieceIndex } from './geometry.ts'
import type { Leave, PieceSpan } from './windows.ts'

const firstReadAheadBytes = 1 << 20
const lastReadAheadBytes = 128 << 20
const lastReadAheadPieces = 4
/** It is read ahead for so long, at the rate at which was read … */
const readAheadMs = 30_000
/** … in the last moments, once they are long enough to tell. */
const rateMs = { window: 10_000, least: 1_000, sample: 250 } as const
const headAndTailBytes = 1 << 20

export interface ReaderDemandOptions {
  /** Nobody watches: the pieces may come in any order. */
  readonly isBackground?: boolean
  /** Milliseconds. */
  readonly now?: () => number
}

/**
 * What one reader wants of the filler, as it moves through a range of one file: the piece it needs next, a read-ahead of
 * half a minute inside its range, no longer than what was read without a gap, the file's head and tail (where players look
 * for moov and cues), and the rest of the file. Where it may ask for a window only, it wants what of its range lies in that.
 * A reader whom nobody watches wants head and tail, and all the rest alike.
 */
export class ReaderDemand {
  readonly #geometry: Geometry
  readonly #file: ByteRange
  readonly #range: ByteRange
  readonly #want: Want
  #piece: PieceIndex | null = null
  #leave: Leave = 'nothing'
  /** Where it was when, of the last moments. */
  readonly #places: Array<{ readonly position: number, readonly at: number }> = []
  readonly #isBackground: boolean
  readonly #now: () => number

  /** `file` and `range` are bytes of the torrent. */
  constructor (geometry: Geometry, file: ByteRange, range: ByteRange, want: Want, { isBackground = false, now = performance.now.bind(performance) }: ReaderDemandOptions = {}) {
    this.#geometry = geometry
    this.#file = file
    this.#range = range
    this.#want = want
    this.#isBackground = isBackground
    this.#now = now
  }

  /**
   * The reader is at this byte of the torrent, and may ask for so much. The want is set anew only when that lies in
   * another piece than before, or it may ask for something else.
   */
  moveTo (position: number, leave: Leave = 'all'): void {
    this.#notePlace(position)
    const piece = this.#geometry.pieceAt(position)
    if (piece === this.#piece && isSame(leave, this.#leave)) return
    this.#piece = piece
    this.#leave = leave
    if (leave === 'nothing') this.#want.set([])
    else this.#want.set(leave === 'all' ? this.#rangesAt(position, piece) : this.#rangesIn(leave, position, piece))
  }

  #notePlace (position: number): void {
    const at = this.#now()
    const last = this.#places.at(-1)
    if (last === undefined || at - last.at >= rateMs.sample) this.#places.push({ position, at })
    while ((this.#places[0]?.at ?? at) < at - rateMs.window) this.#places.shift()
  }

  #readAheadBytes (position: number): number {
    const { pieceLength } = this.#geometry
    const first = Math.max(firstReadAheadBytes, pieceLength)
    const most = Math.max(lastReadAheadBytes, lastReadAheadPieces * pieceLength)
    const before = this.#places[0]
    const elapsedMs = before === undefined ? 0 : this.#now() - before.at
    const byTime = before === undefined || elapsedMs < rateMs.least ? Infinity : (position - before.position) / elapsedMs * readAheadMs
    return Math.max(first, Math.min(byTime, position - this.#range.start, most))
  }

  #rangesIn (window: PieceSpan, position: number, piece: PieceIndex): PieceRange[] {
    const geometry = this.#geometry
    const lastByte = Math.min(this.#range.end, geometry.offsetOf(window.last) + geometry.lengthOf(window.last) - 1)
    const last = geometry.pieceAt(Math.max(lastByte, position))
    const ahead = geometry.pieceAt(Math.max(Math.min(position + this.#readAheadBytes(position), lastByte), position))
    const ranges: PieceRange[] = [{ first: piece, last: piece, urgency: urgencies.waiting }]
    if (ahead > piece) ranges.push({ first: geometry.piece(piece + 1), last: ahead, urgency: urgencies.readAhead })
    if (last > ahead) ranges.push({ first: geometry.piece(ahead + 1), last, urgency: urgencies.background })
    return ranges
  }

  #rangesAt (position: number, piece: PieceIndex): PieceRange[] {
    const geometry = this.#geometry
    const file = geometry.piecesOf(this.#file)
    const head = geometry.pieceAt(Math.min(this.#file.start + headAndTailBytes - 1, this.#file.end))
    const tail = geometry.pieceAt(Math.max(this.#file.end - headAndTailBytes + 1, this.#file.start))
    const headAndTail: PieceRange[] = [
      { first: file.first, last: head, urgency: urgencies.headAndTail },
      { first: tail, last: file.last, urgency: urgencies.headAndTail }
    ]
    if (this.#isBackground) return [...headAndTail, { first: file.first, last: file.last, urgency: urgencies.background }]
    const ahead = geometry.pieceAt(Math.min(position + this.#readAheadBytes(position), this.#range.end))
    const ranges: PieceRange[] = [{ first: piece, last: piece, urgency: urgencies.waiting }]
    if (ahead > piece) ranges.push({ first: geometry.piece(piece + 1), last: ahead, urgency: urgencies.readAhead })
    ranges.push(...headAndTail)
    // What lies before the reader comes last: it is only needed to finish the file.
    if (file.last > ahead) ranges.push({ first: geometry.piece(ahead + 1), last: file.last, urgency: urgencies.background })
    if (file.first < piece) ranges.push({ first: file.first, last: geometry.piece(piece - 1), urgency: urgencies.background })
    return ranges
  }
}

function isSame (a: Leave, b: Leave): boolean {
  return a === b || (typeof a === 'object' && typeof b === 'object' && a.first === b.first && a.last === b.last)
}
