import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'

import { CodedError } from '../errors.ts'
import { Geometry } from '../pieces/geometry.ts'
import type { PieceIndex } from '../pieces/geometry.ts'
import type { Metadata } from '../torrent/metadata.ts'
import { identityOf, isSameFile } from './disk-file.ts'
import type { FileIdentity } from './disk-file.ts'

const sliceBytes = 1 << 20
const openFlags = constants.O_RDONLY | constants.O_NONBLOCK

export interface CheckOptions {
  readonly signal: AbortSignal
  /** Where other files of the torrent are, by index: the pieces that they share with this one can be checked then. */
  readonly others?: ReadonlyMap<number, string>
  /** Whole pieces that the server kept because they reach into files that are not here, named by their number. */
  readonly edgeDirectory?: string
  /** Only these pieces. Default: all that hold bytes of the file. */
  readonly pieces?: readonly number[]
  /** Ends at the first piece that is wrong. */
  readonly stopAtFirst?: boolean
  /** Called with the bytes of each slice; the next one is read when it has resolved. */
  readonly onBytes?: (bytes: number) => void | Promise<void>
}

/** What the piece hashes say of a file. A piece is in one of the lists; ascending. */
export interface FileCheck {
  readonly identity: FileIdentity
  readonly good: readonly PieceIndex[]
  /** Wrong, and it is this file that is: all their bytes are its own (or padding), or a right copy of the piece was at hand. */
  readonly bad: readonly PieceIndex[]
  /** Wrong together with the neighbours' bytes: whose fault it is nobody can tell. */
  readonly doubtful: readonly PieceIndex[]
  /** Shared with files that are not here. */
  readonly unchecked: readonly PieceIndex[]
}

/**
 * Hashes a file on disk as file `fileIndex` of the torrent, piece by piece.
 *
 * Throws FILE_CHANGED when it is not a regular file of the torrent's length, or is written to meanwhile; the signal's
 * reason; and what the file system says.
 */
export async function checkFile (path: string, metadata: Metadata, fileIndex: number, options: CheckOptions): Promise<FileCheck> {
  const { signal, others = new Map(), stopAtFirst = false, onBytes = () => {} } = options
  const file = metadata.files[fileIndex]
  if (file === undefined) throw new RangeError(`file ${fileIndex} is not one of ${metadata.files.length}`)
  const geometry = new Geometry(metadata)
  const handles = new Map<number, FileHandle>()
  const good: PieceIndex[] = []
  const bad: PieceIndex[] = []
  const doubtful: PieceIndex[] = []
  const unchecked: PieceIndex[] = []
  const own = await open(path, openFlags)
  try {
    handles.set(fileIndex, own)
    const stats = await own.stat({ bigint: true })
    if (!stats.isFile() || Number(stats.size) !== file.lengthBytes) {
      throw new CodedError('FILE_CHANGED', `it is not a regular file of ${file.lengthBytes} bytes`)
    }
    const identity = identityOf(stats)
    const buffer = Buffer.allocUnsafeSlow(sliceBytes)
    for (const piece of options.pieces?.map((index) => geometry.piece(index)) ?? piecesOfFile(geometry, fileIndex)) {
      const neighbours = geometry.spansOf(piece).filter((span) => span.fileIndex !== fileIndex && metadata.files[span.fileIndex]?.isPadding !== true)
      const isComplete = (await Promise.all(neighbours.map(async (span) => await openOther(span.fileIndex)))).every((isOpen) => isOpen)
      const isRight = isComplete ? await hashPiece(piece) : await compareWithEdge(piece)
      const hasProof = neighbours.length === 0 || !isComplete
      if (isRight === null) unchecked.push(piece)
      else if (isRight) good.push(piece)
      else if (hasProof) bad.push(piece)
      else doubtful.push(piece)
      if (stopAtFirst && bad.length > 0) break
    }
    if (!isSameFile(identity, identityOf(await own.stat({ bigint: true })))) throw new CodedError('FILE_CHANGED', 'it was written to while it was checked')
    return { identity, good, bad, doubtful, unchecked }

    /** Of its right length only: of any other it is some other file. */
    async function openOther (index: number): Promise<boolean> {
      if (handles.has(index)) return true
      const other = others.get(index)
      const handle = other === undefined ? null : await open(other, openFlags).catch(() => null)
      if (handle === null) return false
      handles.set(index, handle)
      const stats = await handle.stat()
      return stats.isFile() && stats.size === metadata.files[index]?.lengthBytes
    }

    /** null: there is no edge file of this piece that is right itself. */
    async function compareWithEdge (piece: PieceIndex): Promise<boolean | null> {
      if (options.edgeDirectory === undefined) return null
      const whole = await readFile(join(options.edgeDirectory, String(piece))).catch(() => null)
      if (whole === null || !createHash('sha1').update(whole).digest().equals(metadata.hashOf(piece))) return null
      for (const { fileOffset, pieceOffset, length } of geometry.spansOf(piece).filter((span) => span.fileIndex === fileIndex)) {
        const part = Buffer.allocUnsafe(length)
        for (let done = 0; done < length;) {
          const { bytesRead } = await own.read(part, done, length - done, fileOffset + done)
          if (bytesRead === 0) throw new CodedError('FILE_CHANGED', 'it was cut off while it was checked')
          done += bytesRead
          await onBytes(bytesRead)
        }
        if (!part.equals(whole.subarray(pieceOffset, pieceOffset + length))) return false
      }
      return true
    }

    /** null: the bytes of a neighbour ended early. */
    async function hashPiece (piece: PieceIndex): Promise<boolean | null> {
      const hash = createHash('sha1')
      for (const span of geometry.spansOf(piece)) {
        const handle = handles.get(span.fileIndex)
        for (let done = 0; done < span.length;) {
          signal.throwIfAborted()
          const part = buffer.subarray(0, Math.min(buffer.length, span.length - done))
          const isZeros = metadata.files[span.fileIndex]?.isPadding === true
          const bytesRead = isZeros ? part.fill(0).length : (await handle?.read(part, 0, part.length, span.fileOffset + done))?.bytesRead ?? 0
          if (bytesRead === 0) {
            if (span.fileIndex !== fileIndex) return null
            throw new CodedError('FILE_CHANGED', 'it was cut off while it was checked')
          }
          hash.update(part.subarray(0, bytesRead))
          done += bytesRead
          if (span.fileIndex === fileIndex) await onBytes(bytesRead)
        }
      }
      return hash.digest().equals(metadata.hashOf(piece))
    }
  } finally {
    for (const handle of handles.values()) await handle.close()
  }
}

/** The pieces that hold bytes of the file, in order. */
export function * piecesOfFile (geometry: Geometry, fileIndex: number): Generator<PieceIndex> {
  const range = geometry.rangeOfFile(fileIndex)
  if (range === null) return
  const { first, last } = geometry.piecesOf(range)
  for (let index: number = first; index <= last; index++) yield geometry.piece(index)
}
