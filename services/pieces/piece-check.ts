import { createHash } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { CodedError } from '../errors.ts'
import type { Metadata } from '../torrent/metadata.ts'
import type { Geometry, PieceIndex } from './geometry.ts'
import type { PieceFiles } from './piece-files.ts'

const sliceBytes = 1 << 20

export interface CheckedStore {
  readonly metadata: Pick<Metadata, 'hashOf'>
  readonly geometry: Geometry
  readonly files: PieceFiles
  /** Throws when the store is closed meanwhile: then nothing is known of the piece. */
  readonly checkOpen: () => void
}

/**
 * Does the piece lie in its files as the torrent says? What cannot be read is not right. For an edge piece its edge file
 * is asked, and where the parts in wanted files are others, they are written anew from it; its layout must not change
 * meanwhile. Reads slice by slice, with turns between for others. Throws what `checkOpen` throws, and STORE_CLOSED.
 */
export async function isPieceRight (store: CheckedStore, piece: PieceIndex): Promise<boolean> {
  try {
    return store.files.isEdge(piece) ? await isEdgeRight(store, piece) : await areFilesRight(store, piece)
  } catch (error) {
    store.checkOpen()
    if (error instanceof CodedError && error.code === 'STORE_FAILED') return false
    throw error
  }
}

async function areFilesRight ({ metadata, geometry, files, checkOpen }: CheckedStore, piece: PieceIndex): Promise<boolean> {
  const hash = createHash('sha1')
  const length = geometry.lengthOf(piece)
  for (let offset = 0; offset < length; offset += sliceBytes) {
    checkOpen()
    hash.update(await files.readPiece(piece, offset, Math.min(sliceBytes, length - offset)))
    await nextTurn()
  }
  return hash.digest().equals(metadata.hashOf(piece))
}

async function isEdgeRight ({ metadata, geometry, files, checkOpen }: CheckedStore, piece: PieceIndex): Promise<boolean> {
  const bytes = await files.readPiece(piece, 0, geometry.lengthOf(piece))
  checkOpen()
  if (!createHash('sha1').update(bytes).digest().equals(metadata.hashOf(piece))) return false
  const wanted = new Set(files.layout.files.map(([fileIndex]) => fileIndex))
  for (const span of geometry.spansOf(piece)) {
    if (!wanted.has(span.fileIndex)) continue
    const there = await files.readFile(span.fileIndex, span.fileOffset, span.length)
    if (!there.equals(bytes.subarray(span.pieceOffset, span.pieceOffset + span.length))) await files.writeSpan(span, bytes)
  }
  return true
}
