import { lstat, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Metadata } from '../torrent/metadata.ts'
import type { Completion } from './completion.ts'
import type { Geometry, PieceIndex } from './geometry.ts'
import { isMissing } from './piece-files.ts'
import type { PieceFiles } from './piece-files.ts'

/** The data file of a wanted file that is not promoted yet. */
export function partPath (directory: string, fileIndex: number): string {
  return join(directory, `${fileIndex}.part`)
}

/** The bitmap. */
export function completionPath (directory: string): string {
  return join(directory, 'completion')
}

/** The data files that are there with their full length. Others are removed, and what a crash left half-made. */
export async function findFiles (metadata: Metadata, directory: string, promoted: ReadonlyMap<number, string>): Promise<Map<number, string>> {
  const files = new Map<number, string>()
  for (const [index, path] of promoted) {
    if (await hasLength(path, metadata.files[index]?.lengthBytes)) files.set(index, path)
  }
  for (const name of await readdir(directory)) {
    const path = join(directory, name)
    if (name.endsWith('.tmp')) await rm(path, { force: true })
    if (!name.endsWith('.part')) continue
    const file = metadata.files[Number.parseInt(name)]
    if (file !== undefined && name === `${file.index}.part` && !file.isPadding && !files.has(file.index) && await hasLength(path, file.lengthBytes)) files.set(file.index, path)
    else await rm(path, { force: true })
  }
  return files
}

async function hasLength (path: string, lengthBytes: number | undefined): Promise<boolean> {
  try {
    const found = await lstat(path)
    return found.isFile() && found.size === lengthBytes
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}

/**
 * Takes back the bits of pieces whose bytes have no place on the disk, adds those of promoted files, removes needless edge
 * files: those of loose pieces too, which were never synced and belong to a window that is gone.
 */
export async function matchWithDisk (completion: Completion, geometry: Geometry, files: PieceFiles, isVouchedFor: (fileIndex: number) => boolean): Promise<void> {
  const { edgeDirectory } = files.layout
  const edges = new Set<PieceIndex>()
  for (const name of await readdir(edgeDirectory)) {
    const path = join(edgeDirectory, name)
    const index = /^\d+$/.test(name) ? Number(name) : -1
    const piece = index >= 0 && index < geometry.pieceCount ? geometry.piece(index) : null
    if (piece !== null && completion.has(piece) && files.isEdge(piece) && !files.isLoose(piece) && await hasLength(path, geometry.lengthOf(piece))) edges.add(piece)
    else await rm(path, { force: true })
  }
  for (let index = 0; index < geometry.pieceCount; index++) {
    const piece = geometry.piece(index)
    if (geometry.spansOf(piece).every(({ fileIndex }) => isVouchedFor(fileIndex))) completion.add(piece)
    else if (completion.has(piece) && files.isEdge(piece) && !edges.has(piece)) completion.remove(piece)
  }
}
