import { createHash, randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import type { Metadata, TorrentFile } from '../../../services/torrent/metadata.ts'

/** A torrent made up for a test, and all its bytes. Padding files are zeros. */
export interface MadeTorrent {
  readonly metadata: Metadata
  readonly content: Buffer
  /** The bytes of one file. */
  bytesOf (fileIndex: number): Buffer
  /** The bytes of one piece. */
  pieceBytes (piece: number): Buffer
}

/** `files`: lengths in bytes, or `{ padding }`. */
export function makeTorrent (pieceLength: number, files: ReadonlyArray<number | { padding: number }>): MadeTorrent {
  const made: TorrentFile[] = []
  const parts: Buffer[] = []
  let offset = 0
  for (const [index, file] of files.entries()) {
    const isPadding = typeof file !== 'number'
    const lengthBytes = isPadding ? file.padding : file
    const name = isPadding ? String(lengthBytes) : `file ${index}.bin`
    made.push({ index, components: [name], name, path: name, lengthBytes, offset, isPadding })
    parts.push(isPadding ? Buffer.alloc(lengthBytes) : randomBytes(lengthBytes))
    offset += lengthBytes
  }
  const content = Buffer.concat(parts)
  const pieceCount = Math.ceil(content.length / pieceLength)
  const pieceBytes = (piece: number) => content.subarray(piece * pieceLength, Math.min((piece + 1) * pieceLength, content.length))
  const hashes = Array.from({ length: pieceCount }, (_, piece) => createHash('sha1').update(pieceBytes(piece)).digest())
  return {
    content,
    pieceBytes,
    bytesOf: (fileIndex) => {
      const file = made[fileIndex]
      if (file === undefined) throw new RangeError(`no file ${fileIndex}`)
      return content.subarray(file.offset, file.offset + file.lengthBytes)
    },
    metadata: {
      infohash: createHash('sha1').update(content).update(String(pieceLength)).digest('hex'),
      name: 'made',
      isMultiFile: files.length > 1,
      isPrivate: false,
      lengthBytes: content.length,
      pieceLength,
      pieceCount,
      files: made,
      trackers: [],
      webSeeds: [],
      httpSeeds: [],
      createdAt: null,
      torrent: Buffer.alloc(0),
      hashOf: (piece) => {
        const hash = hashes[piece]
        if (hash === undefined) throw new RangeError(`no piece ${piece}`)
        return hash
      }
    }
  }
}

/** A whole number from 0 up to and without `below`. */
export type Random = (below: number) => number

/** Numbers that a seed repeats (mulberry32), so that a failure found by chance can be looked at again. */
export function seededRandom (seed: number): Random {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor(((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32 * below)
  }
}

/** A copy in random order. */
export function shuffled<T> (items: Iterable<T>, random: Random): T[] {
  const left = [...items]
  const result: T[] = []
  while (left.length > 0) result.push(...left.splice(random(left.length), 1))
  return result
}

/** The test's own directory, removed after everything that was torn down: tap removes it first where it was made first. */
export function ownDirectory (t: Test, content: Record<string, string | Record<string, string>> = {}): string {
  t.teardown(() => {})
  return t.testdir(content)
}
