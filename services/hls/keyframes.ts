import { CodedError } from '../errors.ts'
import { readRange } from '../read-range.ts'
import { matroskaKeyframes } from './matroska-index.ts'
import { mp4Keyframes } from './mp4-index.ts'
import type { SourceFile } from '../source.ts'

/** The bytes from a position on, exactly so many; both inside the file. */
export type ReadAt = (position: number, lengthBytes: number) => Promise<Buffer>

/** Headers of boxes and elements are small and stand together: so much is read at a time, and the latest is kept. */
const BLOCK_BYTES = 64 * 1024
/** Each is kept in memory with what is known of a file: 48 hours with one a second. Films have a tenth of that. */
const MAX_KEYFRAMES = 200_000

/**
 * When the keyframes of the first video track are shown, in seconds, in order, from the index that the container has; null: it
 * has none that is understood, or too many. Throws what reading throws.
 *
 * @param format FFmpeg's name of the container.
 */
export async function keyframesOf (file: SourceFile, format: string, signal: AbortSignal): Promise<number[] | null> {
  const index = format === 'matroska' ? matroskaKeyframes : format === 'mov' ? mp4Keyframes : null
  const times = index === null ? null : await index(readerOf(file, signal), file.lengthBytes)
  return times === null || times.length > MAX_KEYFRAMES ? null : times
}

function readerOf (file: SourceFile, signal: AbortSignal): ReadAt {
  let block: { readonly start: number, readonly bytes: Buffer } = { start: 0, bytes: Buffer.alloc(0) }
  return async (position, lengthBytes) => {
    const kept = position - block.start
    if (kept >= 0 && kept + lengthBytes <= block.bytes.length) return block.bytes.subarray(kept, kept + lengthBytes)
    const end = Math.min(file.lengthBytes, position + Math.max(lengthBytes, BLOCK_BYTES)) - 1
    const bytes = await bytesOf(file, position, end, signal)
    if (bytes.length <= BLOCK_BYTES) block = { start: position, bytes }
    return bytes.subarray(0, lengthBytes)
  }
}

/** A copy of the bytes of an inclusive range. Throws SOURCE_FAILED where there are fewer, or what reading throws. */
async function bytesOf (file: SourceFile, start: number, end: number, signal: AbortSignal): Promise<Buffer> {
  const bytes = await readRange(file, { start, end }, signal)
  if (bytes.length !== Math.max(0, end - start + 1)) throw new CodedError('SOURCE_FAILED', `${file.name} has fewer bytes than it says`)
  return bytes
}
