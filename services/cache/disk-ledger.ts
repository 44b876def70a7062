import { realpath, statfs } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { coalesce } from '../coalesce.ts'
import { mapBounded } from '../map-bounded.ts'
import { entriesOf, fullUsage, lookConcurrency, nothing, sum, usageBelow, usageOf } from './disk-usage.ts'
import { Holding } from './holding.ts'
import { stateFolder } from './stored-files.ts'
import type { Log } from '../log.ts'
import type { Accounting, Usage } from './disk-usage.ts'
import type { HeldWindow } from './holding.ts'
import type { StoredFiles } from './stored-files.ts'

/** A file that a person placed, as the cache index lists it. */
export interface PlacedEntry {
  readonly infohash: string
  /** Absolute, links resolved. */
  readonly path: string
  readonly name: string
  readonly fileIndex: number | null
  readonly isVerified: boolean
  /** Its bytes are not those of the torrent that it is named by. */
  readonly isMismatch?: boolean
  readonly isStored: boolean
}

export interface DiskLedgerOptions {
  /** The download directory. */
  readonly directory: string
  /** So much free disk is left to others. */
  readonly minFreeBytes: number
  readonly accounting: Accounting
  /** Placed files count, and may go. Else they do neither. */
  readonly canEvictPlaced: boolean
  readonly stored: StoredFiles
  /** Everything that is cached. */
  readonly placed: () => Promise<readonly PlacedEntry[]>
  readonly log: Log
  /** Free bytes of the directory's file system that this user may take. */
  readonly freeBytes?: (directory: string) => Promise<number>
  /** Milliseconds on a clock that never goes back. */
  readonly now?: () => number
}

/** A file system that does not answer must not hold up every stream. */
const answerLimitMs = 5000
/** What each open store writes beside its files: the bitmap, and its next version. */
const storeOverheadBytes = 64 * 1024

/**
 * What there is of the cache: measured for everything that nobody writes, promised for open stores and windows, and what
 * the disk has left. Decides nothing.
 */
export class DiskLedger {
  readonly windows = new Set<HeldWindow>()
  /** The placed files that count. */
  placed: ReadonlyArray<{ readonly entry: PlacedEntry, readonly usage: Usage }> = []
  /** What is about to be written beside stores and windows. */
  reservedBytes = 0
  readonly #options: DiskLedgerOptions
  readonly #state: string
  readonly #now: () => number
  readonly #holdings = new Map<string, Holding>()
  #placedNames: ReadonlySet<string> = new Set()
  /** Records and whatever else lies beside the torrents' own folders. */
  #records: Usage = nothing
  #measuredAt = -Infinity
  #lookedAt = -Infinity
  #freeBytes: number | null = null
  #openLimitBytes = Infinity
  #hasComplained = false

  constructor (options: DiskLedgerOptions) {
    this.#options = options
    this.#state = join(options.directory, stateFolder)
    this.#now = options.now ?? (() => performance.now())
  }

  /** Bytes that count now, by the accounting. */
  get usedBytes (): number {
    let bytes = this.#records.countedBytes + this.reservedBytes
    for (const { fixedBytes } of this.#holdings.values()) bytes += fixedBytes
    for (const { grantedBytes } of this.windows) bytes += grantedBytes
    for (const { usage } of this.placed) bytes += usage.countedBytes
    return bytes
  }

  /** What open stores have been promised, windows and what is about to be written included. */
  get openBytes (): number {
    let bytes = this.reservedBytes
    for (const holding of this.#holdings.values()) if (holding.isOpen) bytes += holding.fixedBytes
    for (const { grantedBytes } of this.windows) bytes += grantedBytes
    return bytes
  }

  /** What open stores may take of the disk in all, as of the last look: what is free, less the reserve, and what they hold. */
  get openLimitBytes (): number {
    return this.#openLimitBytes
  }

  /** As of the last look; null: the file system does not say. */
  get freeBytes (): number | null {
    return this.#freeBytes
  }

  /** How old the last look at the disk is. */
  get lookAgeMs (): number {
    return this.#now() - this.#lookedAt
  }

  /** How old the last measurement of everything is; Infinity: there was none. */
  get measureAgeMs (): number {
    return this.#now() - this.#measuredAt
  }

  /** The torrents that hold something. */
  holdings (): IterableIterator<[infohash: string, holding: Holding]> {
    return this.#holdings.entries()
  }

  find (infohash: string): Holding | undefined {
    return this.#holdings.get(infohash)
  }

  holding (infohash: string): Holding {
    const holding = this.#holdings.get(infohash) ?? new Holding(this.full(storeOverheadBytes))
    this.#holdings.set(infohash, holding)
    return holding
  }

  /** What a file of this length counts once it is full. */
  full (bytes: number): number {
    return fullUsage(bytes, this.#options.accounting)
  }

  /** The indexes of the finished files of each torrent, by the record. */
  storedIndexes (): Map<string, Set<number>> {
    const groups = Map.groupBy(this.#options.stored.list(), ({ infohash }) => infohash)
    return new Map([...groups].map(([infohash, files]) => [infohash, new Set(files.map(({ fileIndex }) => fileIndex))]))
  }

  partialFolder (infohash: string): string {
    return join(this.#state, 'partial', infohash)
  }

  /** Placed files, wherever they lie. */
  async listPlaced (): Promise<PlacedEntry[]> {
    return (await this.#options.placed()).filter(({ isStored }) => !isStored)
  }

  /** Did a person place a file of this torrent, as of the last measurement? Its metadata says which file that is. */
  hasPlaced (infohash: string): boolean {
    return this.#placedNames.has(infohash)
  }

  metadataPath (infohash: string): string {
    return join(this.#state, 'torrents', `${infohash}.torrent`)
  }

  /** So much was deleted. Reckoned, for some file systems free blocks later than they say: by a look now one more might have to go. */
  freed (bytes: number): void {
    this.#openLimitBytes += bytes
  }

  /** Looks at everything. What cannot be looked at counts as it did before. */
  async measure (): Promise<void> {
    const { stored, accounting, canEvictPlaced } = this.#options
    const partial = await this.#names(join(this.#state, 'partial'))
    const metadata = (await this.#names(join(this.#state, 'torrents'))).map((name) => name.replace(/\.torrent$/, ''))
    const files = Map.groupBy(stored.list(), ({ infohash }) => infohash)
    const infohashes = new Set([...this.#holdings.keys(), ...partial, ...metadata, ...files.keys()])
    await mapBounded([...infohashes], lookConcurrency, async (infohash) => { await this.measureTorrent(infohash, files.get(infohash) ?? []) })
    this.#records = await this.#look(this.#measureRecords(), this.#records)
    const placed = await this.#look(this.listPlaced(), [])
    this.#placedNames = new Set(placed.map(({ infohash }) => infohash))
    this.placed = canEvictPlaced
      ? await mapBounded(await this.#inside(placed), lookConcurrency, async (entry) => ({ entry, usage: await this.#look(usageOf(entry.path, accounting), nothing) }))
      : []
    await this.refresh()
    this.#measuredAt = this.#now()
  }

  /** Looks at what one torrent has; `files` are its finished ones. */
  async measureTorrent (infohash: string, files = this.#options.stored.list().filter((entry) => entry.infohash === infohash)): Promise<void> {
    const { directory, accounting } = this.#options
    const holding = this.holding(infohash)
    try {
      const stored = await mapBounded(files, lookConcurrency, async ({ fileIndex, path }) => [fileIndex, await usageOf(join(directory, path), accounting)] as const)
      const metadata = await usageOf(this.metadataPath(infohash), accounting)
      const parts = new Map<number, Usage>()
      const rest: Usage[] = []
      const folder = this.partialFolder(infohash)
      await mapBounded(await entriesOf(folder), lookConcurrency, async (entry) => {
        const path = join(folder, entry.name)
        // One that is being made has its full length already, under another name.
        const index = /^(\d+)\.part(?:\.tmp)?$/.exec(entry.name)?.[1]
        const usage = entry.isDirectory() ? await usageBelow(path, accounting) : await usageOf(path, accounting)
        if (index === undefined) rest.push(usage)
        else parts.set(Number(index), sum([parts.get(Number(index)) ?? nothing, usage]))
      })
      holding.measured({ stored: new Map(stored), parts, rest: sum(rest), metadata })
    } catch (error) {
      this.#complain(error)
    }
    if (holding.isEmpty) this.#holdings.delete(infohash)
  }

  /** Looks at how much of the disk is free, and what open stores hold of it, at the same moment. */
  readonly refresh = coalesce(async () => {
    const { directory, minFreeBytes, freeBytes = freeBytesOf } = this.#options
    const open = [...this.#holdings].filter(([, holding]) => holding.isOpen)
    await mapBounded(open, lookConcurrency, async ([infohash]) => { await this.measureTorrent(infohash) })
    const free = await this.#look<number | null>(freeBytes(directory), null)
    const held = open.reduce((bytes, [, holding]) => bytes + holding.allocatedBytes, 0)
    this.#freeBytes = free
    this.#openLimitBytes = free === null ? Infinity : free - minFreeBytes + held
    this.#lookedAt = this.#now()
  })

  /** Twice what they take: each is written anew beside itself, and then takes its own place. */
  async #measureRecords (): Promise<Usage> {
    const { accounting } = this.#options
    const usages = await mapBounded(await entriesOf(this.#state), lookConcurrency, async (entry) => {
      if (entry.name === 'partial' || entry.name === 'torrents') return nothing
      const path = join(this.#state, entry.name)
      return entry.isDirectory() ? await usageBelow(path, accounting) : await usageOf(path, accounting)
    })
    const { countedBytes, ...rest } = sum(usages)
    return { ...rest, countedBytes: 2 * countedBytes }
  }

  async #names (directory: string): Promise<string[]> {
    const entries = await this.#look(entriesOf(directory), [])
    return entries.map(({ name }) => name).filter((name) => /^[0-9a-f]{40}(?:\.torrent)?$/.test(name))
  }

  /** Placed files of other directories are never cleaned. */
  async #inside (placed: readonly PlacedEntry[]): Promise<PlacedEntry[]> {
    const root = await realpath(this.#options.directory).catch(() => this.#options.directory)
    return placed.filter(({ path }) => path.startsWith(root + sep))
  }

  async #look<T> (looking: Promise<T>, otherwise: T): Promise<T> {
    try {
      return await answerOf(looking)
    } catch (error) {
      this.#complain(error)
      return otherwise
    }
  }

  #complain (error: unknown): void {
    if (this.#hasComplained) return
    this.#hasComplained = true
    this.#options.log.warn({ err: error }, 'the download directory cannot be measured completely')
  }
}

/** Settles as a call of the file system does, or rejects after some seconds; the call itself goes on, and nobody hears of it. */
export async function answerOf<T> (call: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => { late.reject(new Error(`the file system did not answer within ${answerLimitMs} ms`)) }, answerLimitMs)
  try {
    return await Promise.race([call, late.promise])
  } finally {
    clearTimeout(timer)
  }
}

async function freeBytesOf (directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}
