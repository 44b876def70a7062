import { constants } from 'node:fs'
import { access, lstat, realpath } from 'node:fs/promises'
import { join, resolve } from 'node:path'

import { abortable, pause } from '../deadline.ts'
import { mapBounded } from '../map-bounded.ts'
import { identityOf, isSameFile, mtimeMsOf } from './disk-file.ts'
import type { FileIdentity } from './disk-file.ts'
import { isInside } from './folder-listing.ts'
import { PlacedIndex } from './placed-index.ts'
import type { Candidate, PlacedIndexCounters, PlacedIndexOptions } from './placed-index.ts'
import { minimumPlacedBytes } from './placed-rules.ts'
import { stateFolder } from './stored-files.ts'

/** A file whose mtime is younger may still be growing, and is looked at twice, so far apart. */
const settledAfterMs = 2000
const betweenLooksMs = 250

/** Files looked at side by side. */
const concurrency = 16

/** A file that somebody put where cached files are looked for, and that counts. */
export interface PlacedFile {
  /** With every link resolved. */
  readonly path: string
  /** As it was found: of a link, the link's. */
  readonly name: string
  /** The first-level folder that it lies in; null: directly in the directory. */
  readonly folder: string | null
  readonly identity: FileIdentity
}

export interface PlacedFilesOptions extends Omit<PlacedIndexOptions, 'directories'> {
  /** The download directory. */
  readonly directory: string
  /** Other directories, searched after it. One that does not exist is no error, and may appear later. */
  readonly mediaPaths: readonly string[]
}

/**
 * The files that people placed: readable regular files of at least 1,000,000 bytes with a video's extension, directly in
 * one of the directories or in a first-level folder of it, that really lie inside it, and that have stopped growing.
 */
export class PlacedFiles {
  readonly #index: PlacedIndex
  readonly #stateDirectory: string

  constructor ({ directory, mediaPaths, ...options }: PlacedFilesOptions) {
    this.#index = new PlacedIndex({ ...options, directories: [directory, ...mediaPaths] })
    this.#stateDirectory = join(resolve(directory), stateFolder)
  }

  /** Begins to read the directories in the background, and to notice changes before somebody asks. */
  start (): void {
    this.#index.start()
  }

  close (): void {
    this.#index.close()
  }

  /** Names, folders and watches that are held. */
  get counters (): PlacedIndexCounters {
    return this.#index.counters
  }

  /**
   * What `choose` takes of the files that are named by this infohash: the download directory's first, each once, by
   * whatever number of names it is found. When it takes none, folders are looked at for what came a moment ago (see PlacedIndex); it
   * is asked again if there is something. Takes 250 ms more when a file was touched within the last 2 s. Throws the
   * signal's reason, and what `choose` throws.
   */
  async find<T> (infohash: string, choose: (files: PlacedFile[]) => Promise<T | null>, signal: AbortSignal): Promise<T | null> {
    const near = await this.#index.near(infohash, signal)
    const chosen = await choose(await this.#inspectAll(near, signal))
    if (chosen !== null) return chosen
    const everywhere = await this.#index.everywhere(infohash, signal)
    const isSame = everywhere.length === near.length && everywhere.every((candidate, i) => candidate === near[i])
    return isSame ? null : await choose(await this.#inspectAll(everywhere, signal))
  }

  /** All files that count and are named by an infohash, or lie in a folder that is. Throws the signal's reason. */
  async list (signal: AbortSignal): Promise<PlacedFile[]> {
    return await this.#inspectAll(await this.#index.all(signal), signal)
  }

  async #inspectAll (candidates: readonly Candidate[], signal: AbortSignal): Promise<PlacedFile[]> {
    const files = await abortable(mapBounded(candidates, concurrency, async candidate => await this.#inspect(candidate, signal)), signal)
    const distinct = new Map<string, PlacedFile>()
    for (const file of files) {
      if (file === null) continue
      const key = `${file.identity.device}:${file.identity.inode}`
      if (!distinct.has(key)) distinct.set(key, file)
    }
    return [...distinct.values()]
  }

  async #inspect ({ folder, name }: Candidate, signal: AbortSignal): Promise<PlacedFile | null> {
    const path = await realpath(join(folder.root, folder.name ?? '', name)).catch(() => null)
    if (path === null || !isInside(folder.root, path) || isInside(this.#stateDirectory, path)) return null
    const identity = await look(path)
    if (identity === null || identity.lengthBytes < minimumPlacedBytes) return null
    // A time to come counts too: clocks of file servers differ.
    if (Math.abs(Date.now() - mtimeMsOf(identity)) < settledAfterMs) {
      await pause(betweenLooksMs, signal)
      const again = await look(path)
      if (again === null || !isSameFile(identity, again)) return null
    }
    return { path, name, folder: folder.name, identity }
  }
}

/** A readable regular file with links resolved already; null when it is none, or gone by now. */
async function look (path: string): Promise<FileIdentity | null> {
  try {
    const stats = await lstat(path, { bigint: true })
    if (!stats.isFile()) return null
    await access(path, constants.R_OK)
    return identityOf(stats)
  } catch {
    // Whatever stands in the way, it is not readable now.
    return null
  }
}
