import type { Metadata } from '../torrent/metadata.ts'

declare const pieceIndex: unique symbol

/** A piece number that was checked against its torrent; only Geometry makes one. */
export type PieceIndex = number & { readonly [pieceIndex]: true }

/** A stretch of bytes, both ends inclusive, as HTTP counts them (RFC 9110 section 14.1.1). */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** The part of one file that lies in one piece. All numbers are bytes. */
export interface FileSpan {
  readonly fileIndex: number
  readonly fileOffset: number
  readonly pieceOffset: number
  readonly length: number
}

/**
 * All arithmetic between bytes of the torrent, bytes of its files, and pieces (BEP 3: the files joined in their
 * order are one stream of bytes, cut into pieces of `pieceLength`, the last of which may be shorter).
 */
export class Geometry {
  readonly lengthBytes: number
  readonly pieceLength: number
  readonly pieceCount: number
  readonly #files: Metadata['files']

  constructor (metadata: Pick<Metadata, 'lengthBytes' | 'pieceLength' | 'files'>) {
    this.lengthBytes = metadata.lengthBytes
    this.pieceLength = metadata.pieceLength
    this.pieceCount = Math.ceil(metadata.lengthBytes / metadata.pieceLength)
    this.#files = metadata.files
  }

  /** The piece with this number. Throws RangeError when the torrent has none. */
  piece (index: number): PieceIndex {
    if (!Number.isInteger(index) || index < 0 || index >= this.pieceCount) {
      throw new RangeError(`piece ${index} is not one of ${this.pieceCount}`)
    }
    return index as PieceIndex
  }

  /** The piece that holds this byte of the torrent. */
  pieceAt (offset: number): PieceIndex {
    return this.piece(Math.floor(offset / this.pieceLength))
  }

  /** Where the piece starts in the torrent's bytes. */
  offsetOf (piece: PieceIndex): number {
    return piece * this.pieceLength
  }

  lengthOf (piece: PieceIndex): number {
    return Math.min(this.pieceLength, this.lengthBytes - piece * this.pieceLength)
  }

  /** First and last piece that hold bytes of this range of the torrent. */
  piecesOf (range: ByteRange): { first: PieceIndex, last: PieceIndex } {
    return { first: this.pieceAt(range.start), last: this.pieceAt(range.end) }
  }

  /** The file's bytes as a range of the torrent; null for an empty file, which has none. */
  rangeOfFile (fileIndex: number): ByteRange | null {
    const file = this.#file(fileIndex)
    return file.lengthBytes === 0 ? null : { start: file.offset, end: file.offset + file.lengthBytes - 1 }
  }

  /** A range of one file as a range of the torrent. */
  toTorrent (fileIndex: number, range: ByteRange): ByteRange {
    const { offset } = this.#file(fileIndex)
    return { start: offset + range.start, end: offset + range.end }
  }

  /** The files that a piece crosses, in order, empty ones left out. */
  spansOf (piece: PieceIndex): FileSpan[] {
    return this.spansIn({ start: this.offsetOf(piece), end: this.offsetOf(piece) + this.lengthOf(piece) - 1 })
  }

  /** The files that a range of the torrent crosses; `pieceOffset` counts from the start of the range. */
  spansIn (range: ByteRange): FileSpan[] {
    const spans: FileSpan[] = []
    for (let i = this.#firstFileAt(range.start); i < this.#files.length; i++) {
      const file = this.#file(i)
      if (file.offset > range.end) break
      if (file.lengthBytes === 0) continue
      const start = Math.max(range.start, file.offset)
      const end = Math.min(range.end, file.offset + file.lengthBytes - 1)
      spans.push({ fileIndex: i, fileOffset: start - file.offset, pieceOffset: start - range.start, length: end - start + 1 })
    }
    return spans
  }

  /** The last file that starts at or before this byte and is not empty, found by halving: torrents have 10,000 files. */
  #firstFileAt (offset: number): number {
    let low = 0
    let high = this.#files.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const file = this.#file(middle)
      if (file.offset + file.lengthBytes > offset) high = middle
      else low = middle + 1
    }
    return low
  }

  #file (index: number): Metadata['files'][number] {
    const file = this.#files[index]
    if (file === undefined) throw new RangeError(`file ${index} is not one of ${this.#files.length}`)
    return file
  }
}
