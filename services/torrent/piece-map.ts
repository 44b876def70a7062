import { Geometry } from '../pieces/geometry.ts'
import type { PieceStore } from '../pieces/piece-store.ts'
import type { Metadata } from './metadata.ts'

/** Which pieces of a torrent are here. */
export interface PieceMap {
  readonly pieceCount: number
  readonly pieceLength: number
  readonly verifiedCount: number
  /** A bit for each piece, as BEP 3 has it: the first is the highest of the first byte. */
  readonly bitfield: Uint8Array
  /** Those that are being fetched now, ascending; a bounded number. */
  readonly inFlight: readonly number[]
}

/** More than are ever fetched at a time; a hostile peer must not make the answer long. */
const IN_FLIGHT_SHOWN = 1000

/** Of a torrent that runs what its store says; of another one the pieces that lie wholly in its finished files. */
export function pieceMapOf (metadata: Metadata, store: PieceStore | null, storedFiles: ReadonlySet<number>): PieceMap {
  const { pieceCount, pieceLength } = metadata
  if (store !== null) {
    const inFlight = [...store.inFlight.pieces()].sort((a, b) => a - b).slice(0, IN_FLIGHT_SHOWN)
    return { pieceCount, pieceLength, verifiedCount: store.verifiedCount, bitfield: store.bitfield(), inFlight }
  }
  const geometry = new Geometry(metadata)
  const bitfield = new Uint8Array(Math.ceil(pieceCount / 8))
  let verifiedCount = 0
  for (let index = 0; storedFiles.size > 0 && index < pieceCount; index++) {
    const isHere = geometry.spansOf(geometry.piece(index)).every(({ fileIndex }) => storedFiles.has(fileIndex) || metadata.files[fileIndex]?.isPadding === true)
    if (!isHere) continue
    verifiedCount++
    bitfield[index >> 3] = (bitfield[index >> 3] ?? 0) | 0x80 >> (index & 7)
  }
  return { pieceCount, pieceLength, verifiedCount, bitfield, inFlight: [] }
}
