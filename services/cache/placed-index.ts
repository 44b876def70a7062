import type { Dirent } from 'node:fs'
import { realpath, statfs } from 'node:fs/promises'
import { extname, join, resolve } from 'node:path'

import { coalesce } from '../coalesce.ts'
import { abortable } from '../deadline.ts'
import type { Log } from '../log.ts'
import { mapBounded } from '../map-bounded.ts'
import { ByInfohash, infohashesIn } from './by-infohash.ts'
import { FolderListing, settledAfterMs } from './folder-listing.ts'
import { FolderWatches } from './folder-watches.ts'
import { placedExtensions } from './placed-rules.ts'
import { stateFolder } from './stored-files.ts'
import { watchFolder } from './watch-folder.ts'
import type { FolderWatch, WatchFolder } from './watch-folder.ts'

/** Names that change come in crowds: a folder is read once for all that come within this. */
const afterChangeMs = 200

/** Every so many looks at all folders their times are not believed: on some network file systems they tell nothing. */
const readAnewEvery = 10

/** How long a lookup waits for a look at the folders; a disk that hangs must not hide what is known. */
const lookLimitMs = 3000

/** The same once a directory hangs, until it answers. */
const hangingLimitMs = 100

/** Folders that cannot be watched are looked at no more often than this for lookups that find nothing. */
const doubtfulAfterMs = 1000

/** File systems of Linux whose every change is this machine's own, so that watches report it: statfs(2). */
const localTypes: ReadonlySet<number> = new Set([0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630, 0x2fc12fc1, 0xf2f52010])

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
 * a file that counts, its user asks the disk. A lookup looks at the directories and at the folders that it concerns (a
 * stat each). Other folders are believed while they are watched on a local disk, until the next rescan, for watches may
 * overflow; those that cannot be watched, for a second.
 */
export class PlacedIndex {
  readonly #directories: readonly Directory[]
  readonly #log: Log
  readonly #watches: FolderWatches
  readonly #mayWatch: boolean
  readonly #rescanIntervalMs: number
  /** The directories that exist, each once: a path that is in both lists is the download directory. */
  #roots: Root[] = []
  readonly #candidates = new ByInfohash<Entry>()
  readonly #named = new ByInfohash<Folder>()
  /** Not looked at since something in them changed, or since they were found. */
  readonly #changed = new Set<Folder>()
  #state: 'idle' | 'started' | 'closed' = 'idle'
  #rescanTimer: NodeJS.Timeout | undefined
  #changeTimer: NodeJS.Timeout | undefined
  #isHanging = false

  constructor ({ directories, log, watch = watchFolder, rescanIntervalMs = 30_000 }: PlacedIndexOptions) {
    this.#directories = [...new Set(directories.map(path => resolve(path)))].map(path => this.#directoryAt(path))
    this.#log = log
    this.#watches = new FolderWatches(watch, log)
    this.#mayWatch = watch !== null
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
      watches: this.#watches.size
    }
  }

  /**
   * The candidates for this infohash, in the order of the directories, after a look at the directories, at the folders
   * that are named by it, and where candidates lie: a few stats, however much there is. What was put into another
   * folder a moment ago may be missing. Throws the signal's reason.
   */
  async near (infohash: string, signal: AbortSignal): Promise<Candidate[]> {
    await this.#inTime(Promise.all(this.#directories.map(async ({ check }) => { await check() })), signal)
    const folders = new Set([...this.#named.get(infohash), ...this.#candidates.get(infohash).map(({ folder }) => folder)])
    const nested = [...folders].filter(({ name }) => name !== null)
    await this.#inTime(mapBounded(nested, concurrency, async folder => { await this.#look(folder) }), signal)
    return this.#candidatesFor(infohash)
  }

  /** The candidates for this infohash after a look at every folder that may have changed. Throws the signal's reason. */
  async everywhere (infohash: string, signal: AbortSignal): Promise<Candidate[]> {
    await this.#inTime(Promise.all(this.#directories.map(async ({ checkDoubtful }) => { await checkDoubtful() })), signal)
    return this.#candidatesFor(infohash)
  }

  /** All candidates after a look at every folder. Throws the signal's reason. */
  async all (signal: AbortSignal): Promise<Candidate[]> {
    await this.#inTime(this.#checkAll(), signal)
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

  /** One directory does not wait for another, which may hang. */
  #directoryAt (path: string): Directory {
    const directory: Directory = {
      root: null,
      check: coalesce(async () => {
        const real = await realpath(path).catch(() => null)
        if (directory.root?.path !== real) {
          directory.root = real === null ? null : this.#roots.find(root => root.path === real) ?? this.#rootAt(real, await isLocal(real))
          this.#arrangeRoots()
        }
        if (directory.root !== null) await this.#look(directory.root.top)
      }),
      checkDoubtful: coalesce(async () => {
        await directory.check()
        const { root } = directory
        const doubtful = root === null ? [] : [...root.folders.values()].filter(folder => this.#isDoubtful(root, folder))
        await mapBounded(doubtful, concurrency, async folder => { await this.#look(folder) })
      }),
      checkAll: coalesce(async () => {
        await directory.check()
        await mapBounded([...directory.root?.folders.values() ?? []], concurrency, async folder => { await this.#look(folder) })
      })
    }
    return directory
  }

  /** May there be something in the folder that is not known? */
  #isDoubtful (root: Root, folder: Folder): boolean {
    const { listing } = folder
    if (this.#changed.has(folder)) return true
    if (root.isLocal && listing.isWatched && listing.device === root.top.listing.device) return false
    return !this.#mayWatch || this.#state !== 'started' || listing.ageMs >= doubtfulAfterMs
  }

  #arrangeRoots (): void {
    const before = this.#roots
    this.#roots = [...new Set(this.#directories.map(({ root }) => root).filter(root => root !== null))]
    for (const root of before) {
      if (!this.#roots.includes(root)) for (const folder of [root.top, ...root.folders.values()]) this.#drop(folder)
    }
  }

  async #checkAll (): Promise<void> {
    await Promise.all(this.#directories.map(async ({ checkAll }) => { await checkAll() }))
  }

  /** Waits for the work, 3 s at most; it goes on all the same. Throws the signal's reason. */
  async #inTime (work: Promise<unknown>, signal: AbortSignal): Promise<void> {
    const { promise: timeUp, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(() => {
      this.#isHanging = true
      void work.then(() => { this.#isHanging = false })
      resolve()
    }, this.#isHanging ? hangingLimitMs : lookLimitMs)
    try {
      await abortable(Promise.race([work, timeUp]), signal)
    } finally {
      clearTimeout(timer)
    }
  }

  async #look (folder: Folder): Promise<void> {
    this.#changed.delete(folder)
    await folder.listing.check()
  }

  #rootAt (path: string, isLocal: boolean): Root {
    const root: Root = {
      path,
      isLocal,
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
      this.#watches.retry()
      if (count % readAnewEvery === 0) for (const { listing } of this.#folders()) listing.markDirty()
      void this.#checkAll().then(() => { this.#scheduleRescan(this.#rescanIntervalMs, count + 1) })
    }, Math.min(delayMs, this.#rescanIntervalMs)).unref()
  }

  #watchFolder (folder: Folder, path: string): FolderWatch | null {
    if (this.#state !== 'started') return null
    return this.#watches.open(path, () => { this.#noteChange(folder) }, () => {
      folder.listing.unwatch()
      this.#noteChange(folder)
    })
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

interface Directory {
  /** null: it does not exist. */
  root: Root | null
  readonly check: () => Promise<void>
  /** The first-level folders too that may have changed. */
  readonly checkDoubtful: () => Promise<void>
  /** All first-level folders, too. */
  readonly checkAll: () => Promise<void>
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
  /** Its watches tell of every change. */
  readonly isLocal: boolean
  readonly top: Folder
  readonly folders: Map<string, Folder>
}

async function isLocal (path: string): Promise<boolean> {
  return await statfs(path).then(({ type }) => process.platform === 'linux' && localTypes.has(type), () => false)
}
