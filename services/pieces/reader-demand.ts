import { urgencies } from './demand.ts'
import type { PieceRange, Want } from './demand.ts'
import type { ByteRange, Geometry, PieceIndex } from './geometry.ts'
import type { Leave, PieceSpan } from './windows.ts'

const firstReadAheadBytes = 1 << 20
const lastReadAheadBytes = 32 << 20
const lastReadAheadPieces = 4
const headAndTailBytes = 1 << 20

/**
 * What one reader wants of the filler, as it moves through a range of one file: the piece it needs next, a read-ahead
 * inside its range that starts small and doubles each time so much was read without a gap, the file's head and tail
 * (where players look for moov and cues), and the rest of the file. Where it may ask for a window only, it wants what of
 * its range lies in that.
 */
export class ReaderDemand {
  readonly #geometry: Geometry
  readonly #file: ByteRange
  readonly #range: ByteRange
  readonly #want: Want
  #piece: PieceIndex | null = null
  #leave: Leave = 'nothing'
  #readAheadBytes: number
  #grownAt: number

  /** `file` and `range` are bytes of the torrent. */
  constructor (geometry: Geometry, file: ByteRange, range: ByteRange, want: Want) {
    this.#geometry = geometry
    this.#file = file
    this.#range = range
    this.#want = want
    this.#readAheadBytes = Math.max(firstReadAheadBytes, geometry.pieceLength)
    this.#grownAt = range.start
  }

  /**
   * The reader is at this byte of the torrent, and may ask for so much. The want is set anew only when that lies in
   * another piece than before, or it may ask for something else.
   */
  moveTo (position: number, leave: Leave = 'all'): void {
    const most = Math.max(lastReadAheadBytes, lastReadAheadPieces * this.#geometry.pieceLength)
    while (this.#readAheadBytes < most && position - this.#grownAt >= this.#readAheadBytes) {
      this.#grownAt += this.#readAheadBytes
      this.#readAheadBytes = Math.min(2 * this.#readAheadBytes, most)
    }
    const piece = this.#geometry.pieceAt(position)
    if (piece === this.#piece && isSame(leave, this.#leave)) return
    this.#piece = piece
    this.#leave = leave
    if (leave === 'nothing') this.#want.set([])
    else this.#want.set(leave === 'all' ? this.#rangesAt(position, piece) : this.#rangesIn(leave, position, piece))
  }

  #rangesIn (window: PieceSpan, position: number, piece: PieceIndex): PieceRange[] {
    const geometry = this.#geometry
    const lastByte = Math.min(this.#range.end, geometry.offsetOf(window.last) + geometry.lengthOf(window.last) - 1)
    const last = geometry.pieceAt(Math.max(lastByte, position))
    const ahead = geometry.pieceAt(Math.max(Math.min(position + this.#readAheadBytes, lastByte), position))
    const ranges: PieceRange[] = [{ first: piece, last: piece, urgency: urgencies.waiting }]
    if (ahead > piece) ranges.push({ first: geometry.piece(piece + 1), last: ahead, urgency: urgencies.readAhead })
    if (last > ahead) ranges.push({ first: geometry.piece(ahead + 1), last, urgency: urgencies.background })
    return ranges
  }

  #rangesAt (position: number, piece: PieceIndex): PieceRange[] {
    const geometry = this.#geometry
    const file = geometry.piecesOf(this.#file)
    const ahead = geometry.pieceAt(Math.min(position + this.#readAheadBytes, this.#range.end))
    const head = geometry.pieceAt(Math.min(this.#file.start + headAndTailBytes - 1, this.#file.end))
    const tail = geometry.pieceAt(Math.max(this.#file.end - headAndTailBytes + 1, this.#file.start))
    const ranges: PieceRange[] = [{ first: piece, last: piece, urgency: urgencies.waiting }]
    if (ahead > piece) ranges.push({ first: geometry.piece(piece + 1), last: ahead, urgency: urgencies.readAhead })
    ranges.push({ first: file.first, last: head, urgency: urgencies.headAndTail })
    ranges.push({ first: tail, last: file.last, urgency: urgencies.headAndTail })
    // What lies before the reader comes last: it is only needed to finish the file.
    if (file.last > ahead) ranges.push({ first: geometry.piece(ahead + 1), last: file.last, urgency: urgencies.background })
    if (file.first < piece) ranges.push({ first: file.first, last: geometry.piece(piece - 1), urgency: urgencies.background })
    return ranges
  }
}

function isSame (a: Leave, b: Leave): boolean {
  return a === b || (typeof a === 'object' && typeof b === 'object' && a.first === b.first && a.last === b.last)
}
