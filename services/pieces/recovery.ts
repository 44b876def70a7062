import { lstat, open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Metadata } from '../torrent/metadata.ts'
import { Claims } from './claims.ts'
import { identityAt, takeCleanEnd } from './clean-end.ts'
import { Completion } from './completion.ts'
import type { Geometry, PieceIndex } from './geometry.ts'
import { isMissing } from './piece-files.ts'

/** What is left of a store's last life. */
export interface Recovered {
  /** The wanted files, and where they are, each with its full length. */
  readonly files: ReadonlyMap<number, string>
  /** The pieces that are believed to be there. */
  readonly completion: Completion
  /** Pieces that may be there: a hash decides. */
  readonly unchecked: readonly PieceIndex[]
  /** Does the bitmap on the disk say something else than `completion`? */
  readonly isChanged: boolean
}

/** The data file of a wanted file that is not promoted yet. */
export function partPath (directory: string, fileIndex: number): string {
  return join(directory, `${fileIndex}.part`)
}

/** The bitmap. */
export function completionPath (directory: string): string {
  return join(directory, 'completion')
}

/**
 * Looks at what is in the store's directory. Bits are believed after a clean end, for pieces whose files are still the
 * same; pieces that lie in promoted files only are vouched for by the record of those. Everything else that was ever
 * verified is to be checked, in files that were changed, cut or lengthened too: these get their length back. Edge files
 * of loose pieces (PieceFiles.isLoose) are removed, for they belong to a window that is gone, and so is what a crash
 * left half-made. Hashes nothing. Throws STORE_FAILED, and what the file system says.
 */
export async function recover (metadata: Metadata, geometry: Geometry, directory: string, promoted: ReadonlyMap<number, string>): Promise<Recovered> {
  const closed = await takeCleanEnd(directory)
  const files = await findFiles(metadata, directory, promoted)
  const edges = await findEdges(geometry, directory)
  const saved = await Completion.load(completionPath(directory), metadata)
  const claimed = await Claims.load(directory, metadata)
  // Both bitmaps are gone or damaged, and the files are not: each piece of them may be there.
  const isLost = saved === null && claimed === null
  const isSame = async (name: string) => closed !== null && closed.has(name) && closed.get(name) === await identityAt(join(directory, name))
  const vouched = new Set([...files].filter(([fileIndex, path]) => promoted.get(fileIndex) === path).map(([fileIndex]) => fileIndex))
  const trusted = new Set(vouched)
  for (const fileIndex of files.keys()) if (await isSame(`${fileIndex}.part`)) trusted.add(fileIndex)

  const completion = new Completion(metadata)
  const unchecked: PieceIndex[] = []
  for (let index = 0; index < geometry.pieceCount; index++) {
    const piece = geometry.piece(index)
    const inFiles = geometry.spansOf(piece).map(({ fileIndex }) => fileIndex).filter(fileIndex => metadata.files[fileIndex]?.isPadding !== true)
    const wanted = inFiles.filter(fileIndex => files.has(fileIndex))
    const needsEdge = wanted.length < inFiles.length
    const edge = edges.get(piece)
    if (edge !== undefined && (!needsEdge || wanted.length === 0)) {
      await rm(edge, { force: true })
      edges.delete(piece)
    }
    if (inFiles.every(fileIndex => vouched.has(fileIndex))) completion.add(piece)
    else if (needsEdge && !edges.has(piece)) continue
    else if (saved?.has(piece) === true && wanted.every(fileIndex => trusted.has(fileIndex)) && (!needsEdge || await isSame(join('edges', String(piece))))) completion.add(piece)
    // An edge file is a claim in itself: whoever wrote it had checked the piece, and perhaps had no time to say so.
    else if (needsEdge || isLost || saved?.has(piece) === true || claimed?.has(piece) === true) unchecked.push(piece)
  }
  const bits = saved?.bitfield()
  return { files, completion, unchecked, isChanged: completion.bitfield().some((byte, index) => byte !== (bits?.[index] ?? 0)) }
}

/** The data files of wanted files, with their full length. Others are removed, and what a crash left half-made. */
async function findFiles (metadata: Metadata, directory: string, promoted: ReadonlyMap<number, string>): Promise<Map<number, string>> {
  const files = new Map<number, string>()
  for (const [index, path] of promoted) {
    if (await lengthAt(path) === metadata.files[index]?.lengthBytes) files.set(index, path)
  }
  for (const name of await namesIn(directory)) {
    const path = join(directory, name)
    if (name.endsWith('.tmp')) await rm(path, { force: true })
    if (!name.endsWith('.part')) continue
    const file = metadata.files[Number.parseInt(name)]
    const length = await lengthAt(path)
    if (file === undefined || name !== `${file.index}.part` || file.isPadding || files.has(file.index) || length === null) {
      await rm(path, { force: true, recursive: true })
      continue
    }
    if (length !== file.lengthBytes) await setLength(path, file.lengthBytes)
    files.set(file.index, path)
  }
  return files
}

/** The whole edge files. Others are removed, and what a crash left half-made. */
async function findEdges (geometry: Geometry, directory: string): Promise<Map<PieceIndex, string>> {
  const edges = new Map<PieceIndex, string>()
  for (const name of await namesIn(join(directory, 'edges'))) {
    const path = join(directory, 'edges', name)
    const index = /^\d+$/.test(name) ? Number(name) : -1
    const piece = index >= 0 && index < geometry.pieceCount ? geometry.piece(index) : null
    if (piece !== null && name === String(piece) && await lengthAt(path) === geometry.lengthOf(piece)) edges.set(piece, path)
    else await rm(path, { force: true, recursive: true })
  }
  return edges
}

/** None where there is no such directory: the disk had no room for it. */
async function namesIn (directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
}

/** The length of a regular file, null when there is none. */
async function lengthAt (path: string): Promise<number | null> {
  try {
    const found = await lstat(path)
    return found.isFile() ? found.size : null
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}

async function setLength (path: string, lengthBytes: number): Promise<void> {
  const handle = await open(path, 'r+')
  try {
    await handle.truncate(lengthBytes)
  } finally {
    await handle.close()
  }
}
