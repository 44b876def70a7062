import { createHash, randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import type { PieceStore } from '../../../services/pieces/piece-store.ts'
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

/** `files`: lengths in bytes, or `{ padding }`. `random`: makes the same bytes in another process. */
export function makeTorrent (pieceLength: number, files: ReadonlyArray<number | { padding: number }>, random?: Random): MadeTorrent {
  const made: TorrentFile[] = []
  const parts: Buffer[] = []
  let offset = 0
  for (const [index, file] of files.entries()) {
    const isPadding = typeof file !== 'number'
    const lengthBytes = isPadding ? file.padding : file
    const name = isPadding ? String(lengthBytes) : `file ${index}.bin`
    made.push({ index, components: [name], name, path: name, lengthBytes, offset, isPadding })
    parts.push(isPadding ? Buffer.alloc(lengthBytes) : random === undefined ? randomBytes(lengthBytes) : Buffer.from(Array.from({ length: lengthBytes }, () => random(256))))
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

/** Pieces of which the store says they are verified. */
export function claimed (store: PieceStore): number[] {
  return Array.from({ length: store.geometry.pieceCount }, (_, index) => index).filter(index => store.has(store.geometry.piece(index)))
}

/** Those of the pieces that a restart brings back: what lies in no wanted file is gone with the window it belonged to. */
export function kept (store: PieceStore, pieces: readonly number[] = claimed(store)): number[] {
  const wanted = new Set(store.layout.files.map(([fileIndex]) => fileIndex))
  return pieces.filter(index => {
    const real = store.geometry.spansOf(store.geometry.piece(index)).filter(({ fileIndex }) => store.metadata.files[fileIndex]?.isPadding !== true)
    return real.length === 0 || real.some(({ fileIndex }) => wanted.has(fileIndex))
  })
}

/** Waits for each piece that the store has to check, as a reader does. */
export async function allChecked (store: PieceStore): Promise<void> {
  for (let index = 0; index < store.geometry.pieceCount; index++) {
    const piece = store.geometry.piece(index)
    if (!store.isUnchecked(piece)) continue
    const stop = new AbortController()
    const onDropped = (dropped: number) => { if (dropped === index) stop.abort() }
    store.on('dropped', onDropped)
    await store.waitFor(piece, stop.signal).catch(error => { if (!stop.signal.aborted) throw error })
    store.off('dropped', onDropped)
  }
}

/** Fails where a claimed piece has other bytes than the torrent's. */
export async function checkClaims (t: Test, store: PieceStore, torrent: MadeTorrent, what: string) {
  const wrong = await findWrong(store, torrent)
  if (wrong !== null) t.fail(`${what}: ${wrong}`)
}

/** The first claimed piece whose bytes are not the torrent's, in words; null when all are right. */
export async function findWrong (store: PieceStore, torrent: MadeTorrent): Promise<string | null> {
  for (const index of claimed(store)) {
    const piece = store.geometry.piece(index)
    const bytes = await store.readPiece(piece, 0, store.geometry.lengthOf(piece))
    if (!bytes.equals(torrent.pieceBytes(index))) return `piece ${index} is claimed and wrong`
    for (const span of store.geometry.spansOf(piece)) {
      if (!store.layout.files.some(([fileIndex]) => fileIndex === span.fileIndex)) continue
      const part = await store.readFile(span.fileIndex, span.fileOffset, span.length)
      if (!part.equals(torrent.bytesOf(span.fileIndex).subarray(span.fileOffset, span.fileOffset + span.length))) {
        return `piece ${index} is claimed and wrong in file ${span.fileIndex}`
      }
    }
  }
  return null
}

/** A torrent with all that is odd: empty files, padding, files that share a piece, pieces larger than files. */
export function randomTorrent (random: Random): MadeTorrent {
  const files = Array.from({ length: 1 + random(40) }, () => {
    const kind = random(6)
    return kind === 0 ? 0 : kind === 1 ? { padding: 1 + random(200) } : 1 + random([50, 500, 5000][random(3)] ?? 1)
  })
  const all = [...files, 1 + random(1000)]
  const lengthBytes = all.reduce<number>((sum, file) => sum + (typeof file === 'number' ? file : file.padding), 0)
  // Not tens of thousands of pieces, each with files of its own that are synced.
  return makeTorrent(Math.max(1 + random(700), Math.ceil(lengthBytes / 400)), all, random)
}
