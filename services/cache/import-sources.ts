import { constants } from 'node:fs'
import { access, lstat, readdir, realpath, stat } from 'node:fs/promises'
import { basename, extname, join, relative, sep } from 'node:path'

import type { Metadata, TorrentFile } from '../torrent/metadata.ts'
import { storedFileName } from '../torrent/safe-file-name.ts'
import { identityOf } from './disk-file.ts'
import type { FileIdentity } from './disk-file.ts'
import { minimumPlacedBytes, placedExtensions } from './placed-rules.ts'

/** A file that may be imported. */
export interface ImportSource {
  /** As it was given. */
  readonly path: string
  /** The same with links resolved: a hard link to a link would be a link. */
  readonly realPath: string
  readonly identity: FileIdentity
}

/** Why a file is not imported, and what to do, for people. */
export class Refusal extends Error {}

/** The file, if it would count where placed files are looked for. Throws Refusal, and what the file system says. */
export async function lookAtSource (path: string): Promise<ImportSource> {
  const real = await realpath(path)
  const stats = await lstat(real, { bigint: true })
  if (stats.isDirectory()) throw new Refusal('it is a folder: give the files in it')
  if (!stats.isFile()) throw new Refusal('it is not a regular file')
  await access(real, constants.R_OK)
  const identity = identityOf(stats)
  const extension = extname(path).toLowerCase()
  if (!placedExtensions.has(extension)) {
    const taken = [...placedExtensions].map((each) => each.slice(1)).join(', ')
    throw new Refusal(`${extension === '' ? 'it has no extension' : `files with ${extension} are not served`}: the cache takes ${taken}`)
  }
  if (identity.lengthBytes < minimumPlacedBytes) {
    throw new Refusal(`it has ${identity.lengthBytes} bytes, and the cache takes files of at least ${minimumPlacedBytes}: it may be incomplete`)
  }
  return { path, realPath: real, identity }
}

/** The media files in a folder and below it, in order; null when the path is no folder. Hidden ones, and folders that are links, are left out. */
export async function mediaIn (path: string): Promise<string[] | null> {
  const stats = await stat(path).catch(() => null)
  if (stats === null || !stats.isDirectory()) return null
  const entries = await readdir(path, { withFileTypes: true, recursive: true })
  return entries
    .filter((entry) => !entry.isDirectory() && placedExtensions.has(extname(entry.name).toLowerCase()))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => !relative(path, file).split(sep).some((component) => component.startsWith('.')))
    .sort()
}

/** The infohash in a path, lower case: in the file's name, else in that of the nearest folder; null when there is none. */
export function infohashInPath (path: string): string | null {
  for (const component of path.split(sep).reverse()) {
    const found = /(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])/i.exec(component)
    if (found !== null) return found[0].toLowerCase()
  }
  return null
}

/** The files of the torrent that have this length, those that are called like the path first. */
export function candidatesFor (path: string, lengthBytes: number, metadata: Metadata): TorrentFile[] {
  const name = basename(path).toLowerCase()
  const isNamedSo = (file: TorrentFile): boolean => file.name.toLowerCase() === name || storedFileName(metadata.infohash, file, metadata).toLowerCase() === name
  return metadata.files
    .filter((file) => !file.isPadding && file.lengthBytes === lengthBytes)
    .sort((a, b) => Number(isNamedSo(b)) - Number(isNamedSo(a)))
}

/** Which of the paths may be which file of the torrent, by length and name: neighbours check the pieces that they share. */
export async function matchSources (paths: readonly string[], metadata: Metadata): Promise<Map<number, string>> {
  const found = new Map<number, string>()
  for (const path of paths) {
    const stats = await stat(path).catch(() => null)
    const [file] = stats === null ? [] : candidatesFor(path, stats.size, metadata).filter(({ index }) => !found.has(index))
    if (file !== undefined) found.set(file.index, path)
  }
  return found
}
