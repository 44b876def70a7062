import { constants } from 'node:fs'
import type { Dirent } from 'node:fs'
import { access, lstat, readdir, realpath } from 'node:fs/promises'
import { extname, join, resolve, sep } from 'node:path'

import { pause } from '../deadline.ts'
import type { Log } from '../log.ts'
import { identityOf, isSameFile, mtimeMsOf } from './disk-file.ts'
import type { FileIdentity } from './disk-file.ts'
import { stateFolder } from './stored-files.ts'

const extensions: ReadonlySet<string> = new Set(['.mp4', '.mkv', '.avi', '.mov', '.m4v', '.webm', '.flv'])
const minimumBytes = 1_000_000

/** A file whose mtime is younger may still be growing, and is looked at twice, so far apart. */
const settledAfterMs = 2000
const betweenLooksMs = 250

/** Folders read, and files looked at, side by side. */
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

export interface PlacedFilesOptions {
  /** The download directory. */
  readonly directory: string
  /** Other directories, searched after it. One that does not exist is no error, and may appear later. */
  readonly mediaPaths: readonly string[]
  readonly log: Log
}

interface Candidate {
  readonly root: string
  readonly folder: string | null
  readonly name: string
}

/**
 * The files that people placed: readable regular files of at least 1,000,000 bytes with a video's extension, directly in
 * one of the directories or in a first-level folder of it, that really lie inside it, and that have stopped growing.
 */
export class PlacedFiles {
  readonly #directories: readonly string[]
  readonly #stateDirectory: string
  readonly #log: Log
  readonly #unreadable = new Set<string>()

  constructor ({ directory, mediaPaths, log }: PlacedFilesOptions) {
    this.#directories = [directory, ...mediaPaths].map(path => resolve(path))
    this.#stateDirectory = join(resolve(directory), stateFolder)
    this.#log = log
  }

  /**
   * The files that count and whose name and folder `isWanted` accepts (it is asked first, for it costs nothing), the
   * download directory's first, each once, by whatever number of names it is found. Takes 250 ms more when one of them
   * was touched within the last 2 s. Throws only the signal's reason.
   */
  async find (isWanted: (name: string, folder: string | null) => boolean, signal: AbortSignal): Promise<PlacedFile[]> {
    const candidates = []
    for (const root of await this.#roots()) {
      candidates.push(...(await this.#list(root)).filter(({ name, folder }) => extensions.has(extname(name).toLowerCase()) && isWanted(name, folder)))
    }
    const files = await mapBounded(candidates, async (candidate) => await this.#inspect(candidate, signal))
    signal.throwIfAborted()
    const distinct = new Map<string, PlacedFile>()
    for (const file of files) {
      if (file === null) continue
      const key = `${file.identity.device}:${file.identity.inode}`
      if (!distinct.has(key)) distinct.set(key, file)
    }
    return [...distinct.values()]
  }

  /** The directories that exist, links resolved, each once: a path that is in both lists is the download directory. */
  async #roots (): Promise<string[]> {
    const roots = await Promise.all(this.#directories.map(async (path) => await realpath(path).catch(() => null)))
    return [...new Set(roots.filter(root => root !== null))]
  }

  async #list (root: string): Promise<Candidate[]> {
    const files: Candidate[] = []
    const folders: string[] = []
    for (const entry of await this.#readFolder(root)) {
      if (entry.isFile() || entry.isSymbolicLink()) files.push({ root, folder: null, name: entry.name })
      if (entry.name !== stateFolder && (entry.isDirectory() || (entry.isSymbolicLink() && await leadsInside(root, join(root, entry.name))))) {
        folders.push(entry.name)
      }
    }
    const nested = await mapBounded(folders, async (folder) => {
      const entries = await this.#readFolder(join(root, folder))
      return entries.filter(entry => entry.isFile() || entry.isSymbolicLink()).map(({ name }) => ({ root, folder, name }))
    })
    return [...files, ...nested.flat()]
  }

  async #readFolder (path: string): Promise<Dirent[]> {
    try {
      const entries = await readdir(path, { withFileTypes: true })
      this.#unreadable.delete(path)
      return entries
    } catch (error) {
      // Folders come and go while they are read, and one that cannot be read must not hide the others.
      const isAbsent = error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
      if (!isAbsent && !this.#unreadable.has(path)) {
        this.#unreadable.add(path)
        this.#log.warn({ err: error, path }, 'folder cannot be read; nothing in it is cached')
      }
      return []
    }
  }

  async #inspect ({ root, folder, name }: Candidate, signal: AbortSignal): Promise<PlacedFile | null> {
    const path = await realpath(join(root, folder ?? '', name)).catch(() => null)
    if (path === null || !isInside(root, path) || isInside(this.#stateDirectory, path)) return null
    const identity = await look(path)
    if (identity === null || identity.lengthBytes < minimumBytes) return null
    // A time to come counts too: clocks of file servers differ.
    if (Math.abs(Date.now() - mtimeMsOf(identity)) < settledAfterMs) {
      await pause(betweenLooksMs, signal)
      const again = await look(path)
      if (again === null || !isSameFile(identity, again)) return null
    }
    return { path, name, folder, identity }
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

async function leadsInside (root: string, link: string): Promise<boolean> {
  const path = await realpath(link).catch(() => null)
  return path !== null && isInside(root, path)
}

function isInside (directory: string, path: string): boolean {
  return path.startsWith(directory.endsWith(sep) ? directory : directory + sep)
}

/** The answers in the order of the items, at most 16 of which are worked on at a time. */
async function mapBounded<T, U> (items: readonly T[], work: (item: T) => Promise<U>): Promise<U[]> {
  const results: U[] = []
  const queue = items.entries()
  const worker = async (): Promise<void> => {
    for (const [i, item] of queue) results[i] = await work(item)
  }
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, worker))
  return results
}
