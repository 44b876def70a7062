import type { Dirent } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { extname, join, resolve } from 'node:path'

import { coalesce } from '../coalesce.ts'
import { abortable } from '../deadline.ts'
import type { Log } from '../log.ts'
import { mapBounded } from '../map-bounded.ts'
import { FolderListing, settledAfterMs } from './folder-listing.ts'
import { placedExtensions } from './placed-rules.ts'
import { stateFolder } from './stored-files.ts'
import { watchFolder } from './watch-folder.ts'
import type { FolderWatch, WatchFolder } from './watch-folder.ts'

/** Watches are counted for all programs of a user, and older systems allow 8192: the rest is for the others. */
const watchLimit = 1000

/** Names that change come in crowds: a folder is read once for all that come within this. */
const afterChangeMs = 200

/** Every so many looks at all folders their times are not believed: on some network file systems they tell nothing. */
const readAnewEvery = 10

/** How long a lookup waits for a look at the folders; a disk that hangs must not hide what is known. */
const lookLimitMs = 3000

/** Of the four threads that do Node's file work, one folder after the other on a disk that hangs takes no more than these. */
const concurrency = 2

export interface PlacedIndexOptions {
  /** In order; one that does not exist is no error, and may appear later. */
  readonly directories: readonly string[]
  readonly log: Log
  /** null: changes are noticed by looking only. */
  readonly watch?: WatchFolder | null | undefined
  /** How often all folders are looked at; Infinity: only when somebody asks. */
  readonly rescanIntervalMs?: number | undefined
}

/** A name that may be a placed file's: with a video's extension, and an infohash in it or in its folder's name. */
export interface Candidate {
  readonly folder: CandidateFolder
  readonly name: string
}

export interface CandidateFolder {
  /** The directory, every link resolved. */
  readonly root: string
  /** The first-level folder; null: the directory itself. */
  readonly name: string | null
}

/** What is held right now, for tests and for /metrics. */
export interface PlacedIndexCounters {
  readonly folders: number
  readonly candidates: number
  readonly watches: number
}

/**
 * Which names in the directories and their first-level folders hold which infohash. Knows names only: whether there is
 * a file that counts, its user asks the disk. What is remembered is never believed without a look at the folder (a
 * stat), so watches may be refused, overflow or be lost: they make that folders are read before somebody asks.
 */
export class PlacedIndex {
  readonly #directories: readonly string[]
  readonly #log: Log
  readonly #watch: WatchFolder | null
  readonly #rescanIntervalMs: number
  #roots: Root[] = []
  readonly #candidates = new ByInfohash<Entry>()
  readonly #named = new ByInfohash<Folder>()
  /** Not looked at since something in them changed, or since they were found. */
  readonly #changed = new Set<Folder>()
  #state: 'idle' | 'started' | 'closed' = 'idle'
  #watchCount = 0
  /** The system allows no more watches; asked again at the next look at all folders. */
  #isWatchRefused = false
  #isWatchRefusalReported = false
  #rescanTimer: NodeJS.Timeout | undefined
  #changeTimer: NodeJS.Timeout | undefined
  readonly #checkRoots = coalesce(async () => { await this.#lookAtRoots() })
  readonly #checkAll = coalesce(async () => { await this.#lookAtAll() })

  constructor ({ directories, log, watch = watchFolder, rescanIntervalMs = 30_000 }: PlacedIndexOptions) {
    this.#directories = directories.map(path => resolve(path))
    this.#log = log
    this.#watch = watch
    this.#rescanIntervalMs = rescanIntervalMs
  }

  /** Reads everything in the background and keeps it true from now on, until `close`. Without it each lookup does so. */
  start (): void {
    if (this.#state !== 'idle') return
    this.#state = 'started'
    // What was read just now is not settled: read again before somebody waits for it.
    void this.#checkAll().then(() => { this.#scheduleRescan(settledAfterMs, 1) })
  }

  /** Ends watches and timers. */
  close (): void {
    this.#state = 'closed'
    clearTimeout(this.#rescanTimer)
    clearTimeout(this.#changeTimer)
    for (const { listing } of this.#folders()) listing.unwatch()
  }

  get counters (): PlacedIndexCounters {
    const folders = this.#folders()
    return {
      folders: folders.length,
      candidates: folders.reduce((sum, folder) => sum + folder.candidates.size, 0),
      watches: this.#watchCount
    }
  }

  /**
   * The candidates for this infohash, in the order of the directories, after a look at the directories, at the folders
   * that are named by it, and where candidates lie: a few stats, however much there is. What was put into another
   * folder a moment ago may be missing. Throws the signal's reason.
   */
  async near (infohash: string, signal: AbortSignal): Promise<Candidate[]> {
    await inTime(this.#checkRoots(), signal)
    const folders = new Set([...this.#named.get(infohash), ...this.#candidates.get(infohash).map(({ folder }) => folder)])
    const nested = [...folders].filter(({ name }) => name !== null)
    await inTime(mapBounded(nested, concurrency, async folder => { await this.#look(folder) }), signal)
    return this.#candidatesFor(infohash)
  }

  /** The candidates for this infohash after a look at every folder. Throws the signal's reason. */
  async everywhere (infohash: string, signal: AbortSignal): Promise<Candidate[]> {
    await inTime(this.#checkAll(), signal)
    return this.#candidatesFor(infohash)
  }

  /** All candidates after a look at every folder. Throws the signal's reason. */
  async all (signal: AbortSignal): Promise<Candidate[]> {
    await inTime(this.#checkAll(), signal)
    return this.#folders().flatMap(({ candidates }) => [...candidates.values()])
  }

  #candidatesFor (infohash: string): Candidate[] {
    const rank = new Map(this.#roots.map(({ path }, i) => [path, i]))
    const rankOf = ({ folder }: Candidate): number => 2 * (rank.get(folder.root) ?? 0) + Number(folder.name !== null)
    return this.#candidates.get(infohash).sort((a, b) => rankOf(a) - rankOf(b))
  }

  #folders (): Folder[] {
    return this.#roots.flatMap(({ top, folders }) => [top, ...folders.values()])
  }

  async #lookAtAll (): Promise<void> {
    await this.#checkRoots()
    const folders = this.#roots.flatMap(({ folders }) => [...folders.values()])
    await mapBounded(folders, concurrency, async folder => { await this.#look(folder) })
  }

  /** The directories that exist, links resolved, each once: a path that is in both lists is the download directory. */
  async #lookAtRoots (): Promise<void> {
    const paths = await Promise.all(this.#directories.map(async path => await realpath(path).catch(() => null)))
    const known = new Map(this.#roots.map(root => [root.path, root]))
    this.#roots = [...new Set(paths.filter(path => path !== null))].map(path => known.get(path) ?? this.#rootAt(path))
    for (const { path } of this.#roots) known.delete(path)
    for (const { top, folders } of known.values()) for (const folder of [top, ...folders.values()]) this.#drop(folder)
    await Promise.all(this.#roots.map(async ({ top }) => { await this.#look(top) }))
  }

  async #look (folder: Folder): Promise<void> {
    this.#changed.delete(folder)
    await folder.listing.check()
  }

  #rootAt (path: string): Root {
    const root: Root = {
      path,
      folders: new Map(),
      top: this.#folderAt(path, null, null, entries => { this.#listFolders(root, entries) })
    }
    return root
  }

  #folderAt (root: string, name: string | null, linkInside: string | null, onEntries: (entries: readonly Dirent[]) => void = () => {}): Folder {
    const folder: Folder = {
      root,
      name,
      isLink: linkInside !== null,
      candidates: new Map(),
      listing: new FolderListing({
        path: join(root, name ?? ''),
        linkInside,
        log: this.#log,
        watch: path => this.#watchFolder(folder, path),
        onEntries: entries => {
          this.#listFiles(folder, entries)
          onEntries(entries)
        }
      })
    }
    if (name !== null) this.#named.add(infohashesIn(name), folder)
    return folder
  }

  #listFolders ({ path, folders }: Root, entries: readonly Dirent[]): void {
    const gone = new Map(folders)
    for (const entry of entries) {
      const { name } = entry
      const isLink = entry.isSymbolicLink()
      if (name === stateFolder || !(isLink || entry.isDirectory())) continue
      if (gone.get(name)?.isLink === isLink) gone.delete(name)
      else {
        const folder = this.#folderAt(path, name, isLink ? path : null)
        folders.set(name, folder)
        this.#changed.add(folder)
      }
    }
    for (const [name, folder] of gone) {
      this.#drop(folder)
      if (folders.get(name) === folder) folders.delete(name)
    }
  }

  #listFiles (folder: Folder, entries: readonly Dirent[]): void {
    const gone = new Map(folder.candidates)
    const ofFolder = infohashesIn(folder.name ?? '')
    for (const entry of entries) {
      const { name } = entry
      if (!(entry.isFile() || entry.isSymbolicLink()) || !placedExtensions.has(extname(name).toLowerCase())) continue
      if (gone.delete(name)) continue
      const infohashes = [...ofFolder, ...infohashesIn(name)]
      if (infohashes.length === 0) continue
      const candidate = { folder, name }
      folder.candidates.set(name, candidate)
      this.#candidates.add(infohashes, candidate)
    }
    for (const [name, candidate] of gone) {
      folder.candidates.delete(name)
      this.#candidates.delete([...ofFolder, ...infohashesIn(name)], candidate)
    }
  }

  #drop (folder: Folder): void {
    folder.listing.close()
    this.#changed.delete(folder)
    this.#listFiles(folder, [])
    if (folder.name !== null) this.#named.delete(infohashesIn(folder.name), folder)
  }

  #scheduleRescan (delayMs: number, count: number): void {
    if (this.#state !== 'started' || this.#rescanIntervalMs === Infinity) return
    this.#rescanTimer = setTimeout(() => {
      this.#isWatchRefused = false
      if (count % readAnewEvery === 0) for (const { listing } of this.#folders()) listing.markDirty()
      void this.#checkAll().then(() => { this.#scheduleRescan(this.#rescanIntervalMs, count + 1) })
    }, Math.min(delayMs, this.#rescanIntervalMs)).unref()
  }

  #watchFolder (folder: Folder, path: string): FolderWatch | null {
    if (this.#state !== 'started' || this.#watch === null || this.#isWatchRefused || this.#watchCount >= watchLimit) return null
    let isOpen = true
    const end = (): void => {
      if (isOpen) this.#watchCount--
      isOpen = false
    }
    try {
      const watch = this.#watch(path, () => { this.#noteChange(folder) }, error => {
        // One that fails at once would fail again at once.
        this.#refuseWatches(error)
        folder.listing.unwatch()
        this.#noteChange(folder)
      })
      this.#watchCount++
      return {
        close () {
          end()
          watch.close()
        }
      }
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : ''
      if (code === 'ENOSPC' || code === 'EMFILE' || code === 'ENFILE') this.#refuseWatches(error)
      return null
    }
  }

  #refuseWatches (error: unknown): void {
    this.#isWatchRefused = true
    if (this.#isWatchRefusalReported) return
    this.#isWatchRefusalReported = true
    this.#log.info({ err: error }, `folders cannot all be watched: they are looked at when somebody asks, and every ${this.#rescanIntervalMs / 1000} s`)
  }

  #noteChange (folder: Folder): void {
    if (this.#state !== 'started') return
    folder.listing.markDirty()
    this.#changed.add(folder)
    this.#changeTimer ??= setTimeout(() => {
      void this.#lookAtChanged()
    }, afterChangeMs).unref()
  }

  async #lookAtChanged (): Promise<void> {
    for (const folder of [...this.#changed]) await this.#look(folder)
    this.#changeTimer = undefined
    // What changed meanwhile, and folders that were found just now.
    for (const folder of this.#changed) this.#noteChange(folder)
  }
}

interface Folder extends CandidateFolder {
  readonly isLink: boolean
  readonly listing: FolderListing
  readonly candidates: Map<string, Entry>
}

interface Entry extends Candidate {
  readonly folder: Folder
}

interface Root {
  readonly path: string
  readonly top: Folder
  readonly folders: Map<string, Folder>
}

/** Items under each infohash of theirs. */
class ByInfohash<T> {
  readonly #items = new Map<string, Set<T>>()

  get (infohash: string): T[] {
    return [...this.#items.get(infohash) ?? []]
  }

  add (infohashes: Iterable<string>, item: T): void {
    for (const infohash of infohashes) {
      const items = this.#items.get(infohash)
      if (items === undefined) this.#items.set(infohash, new Set([item]))
      else items.add(item)
    }
  }

  delete (infohashes: Iterable<string>, item: T): void {
    for (const infohash of infohashes) {
      const items = this.#items.get(infohash)
      items?.delete(item)
      if (items?.size === 0) this.#items.delete(infohash)
    }
  }
}

/** All strings of 40 hexadecimal digits in the text, in lower case; in a longer run each of those that it contains. */
function infohashesIn (text: string): string[] {
  return [...text.matchAll(/[0-9a-f]{40,}/gi)].flatMap(([run]) => {
    const digits = run.toLowerCase()
    return Array.from({ length: digits.length - 39 }, (_, i) => digits.slice(i, i + 40))
  })
}

/** Waits for the work, 3 s at most; it goes on all the same. Throws the signal's reason. */
async function inTime (work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const { promise: timeUp, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, lookLimitMs)
  try {
    await abortable(Promise.race([work, timeUp]), signal)
  } finally {
    clearTimeout(timer)
  }
}
