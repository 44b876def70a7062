import { rm, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CodedError } from '../errors.ts'
import { formatBytes } from '../format.ts'
import { listCache } from './cache-list.ts'
import { DiskLedger, answerOf } from './disk-ledger.ts'
import { usageOf } from './disk-usage.ts'
import { fairShares } from './window-shares.ts'
import type { CacheListener } from '../events.ts'
import type { TorrentRoom, WindowClaim } from '../pieces/room.ts'
import type { CacheEntry, CacheKind } from './cache-list.ts'
import type { DiskLedgerOptions } from './disk-ledger.ts'
import type { Accounting } from './disk-usage.ts'
import type { HeldWindow, Holding } from './holding.ts'
import type { LastUse } from './last-use.ts'
import type { StoredFile } from './stored-files.ts'

/** What the budget has to know of torrents that run. */
export interface RunningTorrents {
  /** Somebody is at work with it: a start, a download, a reader that takes bytes. */
  isBusy (infohash: string): boolean
  /**
   * Closes the torrent if it runs and nobody is at work with it, then runs `work`, while no new start gets at its
   * files. false: it is busy, or did not close within `limitMs`; then `work` does not run any more.
   */
  whileClosed (infohash: string, work: () => Promise<void>, limitMs: number): Promise<boolean>
  /** Can the torrent, busy as it may be, let single files go? */
  hasStore (infohash: string): boolean
  /**
   * Lets one file of a running torrent go, then runs `work`, while the torrent stays open. false: somebody reads it, or
   * it was not let go within `limitMs`; then `work` does not run.
   */
  whileUnwanted (infohash: string, fileIndex: number, work: () => Promise<void>, limitMs: number): Promise<boolean>
  /** The pieces of a file that reach into others, with their lengths: each may be kept whole beside it. */
  edgesOf (infohash: string, fileIndex: number): ReadonlyMap<number, number>
  nameOf (infohash: string): Promise<string | null>
}

export interface DiskBudgetOptions extends DiskLedgerOptions {
  readonly limitBytes: number
  /** Nothing is deleted, ever. */
  readonly isReadOnly?: boolean
  readonly onChange?: CacheListener
  readonly lastUse: LastUse
  readonly torrents: RunningTorrents
  /** How long a newcomer waits for windows to shrink. */
  readonly shrinkLimitMs?: number
}

export interface CacheTotals {
  readonly usedBytes: number
  readonly limitBytes: number
  /** null: the file system does not say. */
  readonly freeBytes: number | null
  readonly minFreeBytes: number
  readonly accounting: Accounting
}

export type Removal = { readonly outcome: 'removed', readonly files: number, readonly countedBytes: number } | { readonly outcome: 'unknown' | 'busy' | 'placed' | 'read-only' }

interface Victim {
  readonly kind: CacheKind | 'metadata'
  readonly infohash: string
  /** undefined: any, or nobody knows which. */
  readonly fileIndex: number | undefined
  /** It is one of the list; false: metadata, or what is left over of a torrent whose files are finished. */
  readonly isEntry: boolean
  readonly usedAt: number
  readonly countedBytes: number
  readonly allocatedBytes: number
  /** What others may take of the disk once it is gone: of an open torrent also what that was promised. */
  readonly diskBytes: number
  /** false: it could not go, or need not when its torrent was closed. */
  readonly evict: (isNeeded: () => boolean) => Promise<boolean>
}

interface Excess {
  readonly countedBytes: number
  readonly diskBytes: number
}

/** A full window is smooth with any bit rate: so much is made room for at the cost of what is idle. */
const comfortableWindowBytes = 64 * 1024 * 1024
/** A torrent that takes longer to close is not evicted this time. */
const closeLimitMs = 10_000
const freshMs = 1000
/** A list is asked for again and again by a page that shows it. */
const listFreshMs = 5000
const shrinkPollMs = 25
const complaintMs = 600_000
const noFiles: ReadonlySet<number> = new Set()

/**
 * The one authority over what the server stores in the download directory: finished files, unfinished ones, windows,
 * metadata and records. Open stores count what they may grow to, everything else what it takes. Who asks for room gets
 * it only once it is there: the least recently streamed goes before, never what is being streamed, pinned, or placed by
 * a person (unless told). Questions are answered one after the other.
 */
export class DiskBudget implements TorrentRoom {
  readonly #options: DiskBudgetOptions
  readonly #ledger: DiskLedger
  readonly #now: () => number
  /** Questions that wait or are being answered, by torrent: such a torrent cannot be closed, for its store waits for us. */
  readonly #asking = new Map<string, number>()
  /** Whose torrent is being closed: its store must not wait for us. */
  #evicting: string | null = null
  #turn: Promise<unknown> = Promise.resolve()
  #isOverLimit = false
  #writeFailedAt = -Infinity
  /** Files that did not fit, by torrent, in words. */
  readonly #misfits = new Map<string, string>()
  /** Torrents that did not even get a window. */
  readonly #windowless = new Set<string>()
  #isClosed = false

  constructor (options: DiskBudgetOptions) {
    this.#options = options
    this.#ledger = new DiskLedger(options)
    this.#now = options.now ?? (() => performance.now())
  }

  /** Bytes that count now, by the accounting. */
  get usedBytes (): number {
    return this.#ledger.usedBytes
  }

  /** What the disk or the budget keeps from working, in words; empty when all is well. */
  problems (): string[] {
    const { minFreeBytes, limitBytes } = this.#options
    const { freeBytes } = this.#ledger
    const problems = []
    if (freeBytes !== null && freeBytes < minFreeBytes) problems.push(`disk: ${formatBytes(freeBytes)} free, less than the ${formatBytes(minFreeBytes)} that CACHE_MIN_FREE_MB keeps`)
    if (this.#now() - this.#writeFailedAt < complaintMs) problems.push('disk: a write failed for lack of space')
    if (this.#isOverLimit) problems.push(`cache: over its ${formatBytes(limitBytes)}, and all of it is pinned or in use`)
    if (this.#windowless.size > 0) problems.push('cache: no room for the window of a stream')
    return [...problems, ...this.#misfits.values()]
  }

  async takeFile (infohash: string, fileIndex: number, lengthBytes: number): Promise<boolean> {
    return await this.#ask(infohash, async () => {
      const holding = await this.#opened(infohash)
      if (holding.hasClaim(fileIndex)) return true
      // A file that counts in full already takes no more by being opened.
      const isCounted = holding.fileBytes(fileIndex) >= this.#ledger.full(lengthBytes)
      const edges = [...this.#options.torrents.edgesOf(infohash, fileIndex)].map(([piece, length]) => [piece, this.#ledger.full(length)] as const)
      const claimed = holding.claim(fileIndex, this.#ledger.full(lengthBytes), new Map(edges))
      if (await this.#makeFit() || isCounted) {
        this.#misfits.delete(infohash)
        this.#windowless.delete(infohash)
        return true
      }
      claimed.undo()
      const { limitBytes } = this.#options
      this.#misfits.set(infohash, `cache: a file of ${formatBytes(lengthBytes)} does not fit (${formatBytes(limitBytes)} in all), it plays from a window`)
      this.#options.log.info({ infohash, fileIndex, lengthBytes, usedBytes: this.usedBytes }, 'file does not fit into the cache, it plays from a window')
      return false
    })
  }

  async openWindow (infohash: string, leastBytes: number, mostBytes: number): Promise<WindowClaim> {
    return await this.#ask(infohash, async () => {
      const holding = await this.#opened(infohash)
      const window: HeldWindow = { leastBytes, mostBytes: Math.max(leastBytes, mostBytes), grantedBytes: 0, infohash }
      this.#ledger.windows.add(window)
      holding.addWindow(window)
      const fits = await this.#makeFit()
      if (!fits && this.#isDiskFull(leastBytes)) {
        // Nothing of it will be on the disk as long as that is so: its store goes on through memory.
        this.#writeFailedAt = this.#now()
        this.#grant(window)
        return this.#claimOf(window)
      }
      if (fits) {
        // Beyond the least what is idle makes room, but not other windows.
        const comfortableBytes = Math.min(window.mostBytes, Math.max(leastBytes, comfortableWindowBytes))
        await this.#evictFor(() => this.#excess(comfortableBytes), { isPartialEnough: true })
        this.#windowless.delete(infohash)
        this.#grant(window)
        return this.#claimOf(window)
      }
      this.#dropWindow(window)
      this.#windowless.add(infohash)
      throw new CodedError('NO_ROOM', 'what is being streamed takes all the room of the cache: try again when another stream has ended')
    })
  }

  async keepMetadata (infohash: string, lengthBytes: number, write: () => Promise<void>): Promise<boolean> {
    return await this.#ask(infohash, async () => {
      this.#ledger.reservedBytes = this.#ledger.full(lengthBytes)
      try {
        if (!await this.#makeFit()) return false
        await answerOf(write())
        return true
      } finally {
        this.#ledger.reservedBytes = 0
        await this.#ledger.measureTorrent(infohash)
      }
    })
  }

  async makeRoom (bytes: number): Promise<boolean> {
    // A full disk stays full for many writes: it is said once.
    const isNews = this.#now() - this.#writeFailedAt >= complaintMs
    this.#writeFailedAt = this.#now()
    return await this.#inTurn(async () => {
      let freed = 0
      const evicted = await this.#evictFor(() => ({ countedBytes: 0, diskBytes: bytes - freed }), { isPartialEnough: true, onEvicted: (victim) => { freed += victim.allocatedBytes } })
      if (isNews) this.#options.log.warn({ bytes, freedBytes: freed }, 'the disk is full')
      return evicted > 0
    })
  }

  release (infohash: string): void {
    this.#misfits.delete(infohash)
    this.#windowless.delete(infohash)
    // In turn, so that a store that opens next is asked for anew after this.
    this.#inTurn(async () => {
      this.#ledger.holding(infohash).closeStore()
      await this.#ledger.measureTorrent(infohash)
    }).catch(() => { /* only a budget that is closed refuses, and it has nothing to count */ })
  }

  /** Measures what is there and lets go what is too much. Never fails. */
  async cleanUp (): Promise<void> {
    await this.#inTurn(async () => {
      await this.#ledger.measure()
      await this.#evictFor(() => this.#excess(0), { isPartialEnough: true })
      await this.#ledger.refresh()
      const excess = this.#excess(0)
      const isOverLimit = excess.countedBytes > 0
      if (isOverLimit && !this.#isOverLimit) {
        this.#options.log.warn({ usedBytes: this.usedBytes, limitBytes: this.#options.limitBytes }, 'the cache is over its limit, and all of it is pinned or in use')
      }
      this.#isOverLimit = isOverLimit
      const placed = new Set(this.#ledger.placed.map(({ entry }) => entry.infohash))
      this.#options.lastUse.prune((infohash) => this.#ledger.find(infohash) !== undefined || placed.has(infohash))
    }).catch((error: unknown) => {
      if (!this.#isClosed) this.#options.log.warn({ err: error }, 'the cache could not be cleaned up')
    })
  }

  /** Everything in the cache, the least recently streamed first, as it was some seconds ago at most. */
  async list (): Promise<CacheEntry[]> {
    await this.#inTurn(async () => { if (this.#ledger.measureAgeMs > listFreshMs) await this.#ledger.measure() })
    return await listCache(this.#ledger, { ...this.#options, nameOf: this.#options.torrents.nameOf })
  }

  async totals (): Promise<CacheTotals> {
    await this.#ledger.refresh()
    const { limitBytes, minFreeBytes, accounting } = this.#options
    return { usedBytes: this.usedBytes, limitBytes, minFreeBytes, accounting, freeBytes: this.#ledger.freeBytes }
  }

  /** Is anything of this torrent in the cache? */
  async has (infohash: string): Promise<boolean> {
    return (await this.list()).some((entry) => entry.infohash === infohash)
  }

  /** Deletes what is cached of a torrent, pinned or not; `busy`: it is being streamed or downloaded. What a person placed goes only with CACHE_EVICT_PLACED. */
  async remove (infohash: string): Promise<Removal> {
    return await this.#inTurn(async () => {
      await this.#ledger.measure()
      const mine = this.#candidates().filter((victim) => victim.infohash === infohash && victim.kind !== 'metadata')
      if (mine.length === 0) {
        const isPlaced = (await this.#ledger.listPlaced()).some((entry) => entry.infohash === infohash)
        return { outcome: isPlaced ? 'placed' : 'unknown' }
      }
      if (this.#options.isReadOnly === true) return { outcome: 'read-only' }
      if (this.#isAtWork(infohash) || this.#options.lastUse.isStreaming(infohash)) return { outcome: 'busy' }
      const gone = await this.#evictAll(mine)
      if (gone.length < mine.length) return { outcome: 'busy' }
      return { outcome: 'removed', ...totalOf(gone) }
    })
  }

  /** Deletes everything that is neither pinned nor in use; answers with what went and what stayed. */
  async clear (): Promise<{ files: number, countedBytes: number, kept: number }> {
    const candidates = await this.#inTurn(async () => {
      await this.#ledger.measure()
      return this.#candidates()
    })
    const gone: Victim[] = []
    for (const victim of candidates) {
      // A turn each: streams that ask for room do not wait for ten thousand files.
      gone.push(...await this.#inTurn(async () => await this.#evictAll(this.#mayGo(victim) ? [victim] : [])))
    }
    return { ...totalOf(gone), kept: totalOf(candidates).files - totalOf(gone).files }
  }

  /** Ends what is under way; who asks afterwards gets SHUTTING_DOWN. */
  async close (): Promise<void> {
    this.#isClosed = true
    await this.#turn.catch(() => { /* it was told to whoever asked for it */ })
  }

  /** One question of a store, in turn; while it waits the store's torrent is not closed. */
  async #ask<T> (infohash: string, work: () => Promise<T>): Promise<T> {
    // Its store is about to close, and would wait for us while we wait for it.
    if (this.#evicting === infohash) throw new CodedError('STORE_CLOSED', 'the torrent is being let go')
    this.#asking.set(infohash, (this.#asking.get(infohash) ?? 0) + 1)
    try {
      return await this.#inTurn(async () => {
        if (this.#ledger.measureAgeMs === Infinity) await this.#ledger.measure()
        return await work()
      })
    } finally {
      const others = (this.#asking.get(infohash) ?? 1) - 1
      if (others > 0) this.#asking.set(infohash, others)
      else this.#asking.delete(infohash)
    }
  }

  #inTurn<T> (work: () => Promise<T>): Promise<T> {
    const result = this.#turn.catch(() => { /* it was told to whoever asked for it */ }).then(async () => {
      if (this.#isClosed) throw new CodedError('SHUTTING_DOWN', 'the server is shutting down')
      return await work()
    })
    this.#turn = result
    return result
  }

  /** The torrent as it is when its store opens: measured, for what it holds already is not asked for twice. */
  async #opened (infohash: string): Promise<Holding> {
    if (this.#ledger.find(infohash)?.isOpen !== true) await this.#ledger.measureTorrent(infohash)
    return this.#ledger.holding(infohash)
  }

  #claimOf (window: HeldWindow): WindowClaim {
    const grant = (): number => {
      if (this.#ledger.lookAgeMs > freshMs) void this.#ledger.refresh()
      return this.#ledger.windows.has(window) ? this.#grant(window) : 0
    }
    return {
      get bytes () { return grant() },
      release: () => {
        if (!this.#ledger.windows.has(window)) return
        this.#dropWindow(window)
        this.#inTurn(async () => { await this.#ledger.measureTorrent(window.infohash) }).catch(() => { /* only a budget that is closed refuses, and it has nothing to count */ })
      }
    }
  }

  #dropWindow (window: HeldWindow): void {
    this.#ledger.windows.delete(window)
    this.#ledger.find(window.infohash)?.removeWindow(window)
  }

  /** Is it the disk alone that stands in the way, on which not even so much can be written? */
  #isDiskFull (bytes: number): boolean {
    const { freeBytes } = this.#ledger
    return freeBytes !== null && freeBytes < bytes && this.#excess(0).countedBytes <= 0
  }

  /** What the window may hold from now on. Grows only into what the others have given back. */
  #grant (window: HeldWindow): number {
    const windows = [...this.#ledger.windows]
    const roomBytes = this.#roomForWindows()
    const fair = fairShares(roomBytes, windows)[windows.indexOf(window)] ?? window.leastBytes
    const others = windows.reduce((bytes, other) => bytes + (other === window ? 0 : other.grantedBytes), 0)
    window.grantedBytes = Math.max(window.leastBytes, Math.min(fair, roomBytes - others))
    return window.grantedBytes
  }

  #roomForWindows (): number {
    const granted = [...this.#ledger.windows].reduce((bytes, { grantedBytes }) => bytes + grantedBytes, 0)
    return Math.max(0, Math.min(this.#options.limitBytes - this.usedBytes + granted, this.#ledger.openLimitBytes - this.#ledger.openBytes + granted))
  }

  /**
   * How much too much there is, if windows shrink to their least and the one that comes gets `windowBytes`: by the
   * limit, and by what is free on the disk. Nothing too much: both are 0 or less.
   */
  #excess (windowBytes: number): Excess {
    let [granted, needed, newest] = [0, 0, 0]
    for (const window of this.#ledger.windows) {
      granted += window.grantedBytes
      needed += window.leastBytes
      if (window.grantedBytes === 0) newest = window.leastBytes
    }
    const change = needed - granted + Math.max(0, windowBytes - newest)
    return {
      countedBytes: this.usedBytes + change - this.#options.limitBytes,
      diskBytes: this.#ledger.openBytes + change - this.#ledger.openLimitBytes
    }
  }

  /** Makes what was just claimed fit: evicts, and waits until windows have shrunk. false: it does not fit even so. */
  async #makeFit (): Promise<boolean> {
    if (this.#ledger.lookAgeMs > freshMs) await this.#ledger.refresh()
    await this.#evictFor(() => this.#excess(0))
    if (isTooMuch(this.#excess(0))) return false
    const deadline = performance.now() + (this.#options.shrinkLimitMs ?? 3000)
    while (this.#isOvergranted()) {
      if (performance.now() > deadline) return false
      await sleep(shrinkPollMs)
    }
    return true
  }

  /** Do windows hold more now than leaves room for the least of those that came? */
  #isOvergranted (): boolean {
    const holding = [...this.#ledger.windows].reduce((bytes, { grantedBytes, leastBytes }) => bytes + Math.max(grantedBytes, leastBytes), 0)
    return holding > this.#roomForWindows()
  }

  /**
   * Evicts the least recently streamed until nothing is too much. All or nothing: where all that may go is not enough
   * nothing goes, unless `isPartialEnough`. Resolves with how many went.
   */
  async #evictFor (excess: () => Excess, { isPartialEnough = false, onEvicted = () => {} }: { isPartialEnough?: boolean, onEvicted?: (victim: Victim) => void } = {}): Promise<number> {
    if (!isTooMuch(excess())) return 0
    // What open stores have written since is on the disk and still promised: count it once before anything goes.
    await this.#ledger.refresh()
    const victims = this.#candidates().filter((victim) => this.#mayGo(victim)).sort((a, b) => a.usedAt - b.usedAt)
    const { countedBytes, diskBytes } = excess()
    const isEnough = total(victims, 'countedBytes') >= countedBytes && total(victims, 'diskBytes') >= diskBytes
    if (!isEnough && !isPartialEnough) return 0
    let evicted = 0
    for (const victim of victims) {
      if (!isTooMuch(excess())) break
      if (!this.#mayGo(victim) || !await this.#evict(victim, () => isTooMuch(excess()))) continue
      evicted++
      onEvicted(victim)
    }
    return evicted
  }

  async #evictAll (victims: readonly Victim[]): Promise<Victim[]> {
    const gone = []
    for (const victim of victims) if (await this.#evict(victim, () => true)) gone.push(victim)
    return gone
  }

  async #evict (victim: Victim, isNeeded: () => boolean): Promise<boolean> {
    const { infohash, kind, countedBytes } = victim
    try {
      if (!await victim.evict(isNeeded)) return false
      // Of a stored file the record says so.
      if (kind === 'partial' || kind === 'placed') this.#options.onChange?.(infohash, victim.fileIndex ?? null, 'removed')
      this.#options.log.info({ infohash, kind, countedBytes }, `evicted ${formatBytes(countedBytes)} from the cache`)
      return true
    } catch (error) {
      this.#options.log.warn({ infohash, kind, err: error }, 'this could not be evicted from the cache')
      return false
    }
  }

  #mayGo (victim: Victim): boolean {
    return this.#options.isReadOnly !== true && !this.#options.lastUse.isPinned(victim.infohash) && !this.#isInUse(victim)
  }

  #isInUse ({ kind, infohash, fileIndex }: Victim): boolean {
    const { lastUse, torrents } = this.#options
    if (fileIndex !== undefined) return lastUse.isStreaming(infohash, fileIndex) || (this.#isAtWork(infohash) && !torrents.hasStore(infohash))
    // Who streams a finished file does not need the folder of unfinished ones; who does keeps the torrent busy.
    return (kind !== 'partial' && lastUse.isStreaming(infohash)) || this.#isAtWork(infohash)
  }

  /** Must the torrent stay open? */
  #isAtWork (infohash: string): boolean {
    return this.#asking.has(infohash) || this.#options.torrents.isBusy(infohash)
  }

  /**
   * Everything that could be evicted if nobody used it: each stored file, each unfinished torrent (of one that is at work
   * each of its files), placed files if told, and the metadata of torrents that have nothing else then.
   */
  #candidates (): Victim[] {
    const { stored, lastUse, canEvictPlaced } = this.#options
    const victims: Victim[] = []
    for (const entry of stored.list()) {
      const { infohash, fileIndex } = entry
      const usage = this.#ledger.find(infohash)?.storedUsage(fileIndex)
      if (usage === undefined) continue
      victims.push({
        kind: 'stored',
        infohash,
        fileIndex,
        isEntry: true,
        usedAt: lastUse.at(infohash, fileIndex) ?? Date.parse(entry.storedAt),
        countedBytes: usage.countedBytes,
        allocatedBytes: usage.allocatedBytes,
        diskBytes: usage.allocatedBytes,
        evict: async (isNeeded) => this.#isAtWork(infohash)
          ? await this.#whileUnwanted(infohash, fileIndex, async () => await this.#unlinkStored(entry))
          : await this.#whileClosed(infohash, isNeeded, async () => await this.#evictStored(entry))
      })
    }
    const files = this.#ledger.storedIndexes()
    for (const [infohash, holding] of this.#ledger.holdings()) {
      if (!holding.hasFolder) continue
      const finished = files.get(infohash) ?? noFiles
      for (const fileIndex of this.#isAtWork(infohash) ? holding.parts : []) {
        const countedBytes = holding.fileBytes(fileIndex)
        victims.push({
          kind: 'partial',
          infohash,
          fileIndex,
          isEntry: false,
          usedAt: lastUse.at(infohash, fileIndex) ?? holding.folder.mtimeMs,
          countedBytes,
          allocatedBytes: holding.partUsage(fileIndex).allocatedBytes,
          diskBytes: countedBytes,
          evict: async () => await this.#whileUnwanted(infohash, fileIndex, async () => true)
        })
      }
      const countedBytes = holding.partialBytes(finished)
      victims.push({
        kind: 'partial',
        infohash,
        fileIndex: undefined,
        isEntry: holding.isPartial(finished),
        usedAt: lastUse.at(infohash) ?? holding.folder.mtimeMs,
        countedBytes,
        allocatedBytes: holding.folder.allocatedBytes,
        diskBytes: holding.isOpen ? Math.max(countedBytes, holding.folder.allocatedBytes) : holding.folder.allocatedBytes,
        evict: async (isNeeded) => await this.#whileClosed(infohash, isNeeded, async () => {
          await answerOf(rm(this.#ledger.partialFolder(infohash), { recursive: true, force: true }))
          return true
        })
      })
    }
    for (const { entry, usage } of canEvictPlaced ? this.#ledger.placed : []) {
      const { infohash, path } = entry
      victims.push({
        kind: 'placed',
        infohash,
        fileIndex: undefined,
        isEntry: true,
        usedAt: lastUse.at(infohash) ?? usage.mtimeMs,
        countedBytes: usage.countedBytes,
        allocatedBytes: usage.allocatedBytes,
        diskBytes: usage.allocatedBytes,
        evict: async () => await this.#evictPlaced(path, infohash)
      })
    }
    const used = Map.groupBy(victims, ({ infohash }) => infohash)
    for (const [infohash, { metadata }] of this.#ledger.holdings()) {
      const { mtimeMs, countedBytes, allocatedBytes } = metadata
      if (mtimeMs === 0 || this.#ledger.hasPlaced(infohash)) continue
      victims.push({
        kind: 'metadata',
        infohash,
        fileIndex: undefined,
        isEntry: false,
        // After what it is the metadata of.
        usedAt: Math.max(lastUse.at(infohash) ?? mtimeMs, ...(used.get(infohash) ?? []).map(({ usedAt }) => usedAt)),
        countedBytes,
        allocatedBytes,
        diskBytes: allocatedBytes,
        evict: async (isNeeded) => await this.#whileClosed(infohash, isNeeded, async () => await this.#evictMetadata(infohash))
      })
    }
    return victims
  }

  /** Deletes something of a torrent that does not run then. */
  async #whileClosed (infohash: string, isNeeded: () => boolean, remove: () => Promise<boolean>): Promise<boolean> {
    let isGone = false
    this.#evicting = infohash
    await this.#options.torrents.whileClosed(infohash, async () => {
      const wasOpen = this.#ledger.find(infohash)?.isOpen === true
      this.#ledger.holding(infohash).closeStore()
      await this.#ledger.measureTorrent(infohash)
      if (wasOpen) await this.#ledger.refresh()
      // Closed it counts what it takes, and not what it might grow to: that may do.
      if (!isNeeded()) return
      const before = this.#ledger.find(infohash)?.allocatedBytes ?? 0
      isGone = await remove()
      await this.#ledger.measureTorrent(infohash)
      this.#ledger.freed(Math.max(0, before - (this.#ledger.find(infohash)?.allocatedBytes ?? 0)))
    }, closeLimitMs).finally(() => { this.#evicting = null })
    return isGone
  }

  /** Deletes one file of a torrent that runs on. */
  async #whileUnwanted (infohash: string, fileIndex: number, remove: () => Promise<boolean>): Promise<boolean> {
    const { torrents } = this.#options
    let isGone = false
    await torrents.whileUnwanted(infohash, fileIndex, async () => {
      const holding = this.#ledger.holding(infohash)
      const wasOpen = holding.isOpen
      holding.unclaim(fileIndex, (other) => torrents.edgesOf(infohash, other))
      await this.#ledger.measureTorrent(infohash)
      if (wasOpen && !holding.isOpen) await this.#ledger.refresh()
      const before = holding.allocatedBytes
      isGone = await remove()
      await this.#ledger.measureTorrent(infohash)
      // Of an open one it is counted among what that holds already.
      if (!holding.isOpen) this.#ledger.freed(Math.max(0, before - holding.allocatedBytes))
    }, closeLimitMs)
    return isGone
  }

  async #evictStored (entry: StoredFile): Promise<boolean> {
    const { stored } = this.#options
    const { infohash, fileIndex } = entry
    if (!await this.#unlinkStored(entry)) return false
    // The bitmap of a torrent that has nothing any more.
    const isLast = this.#ledger.find(infohash)?.isPartial(new Set([fileIndex])) !== true && !stored.list().some((other) => other.infohash === infohash)
    if (isLast) await answerOf(rm(this.#ledger.partialFolder(infohash), { recursive: true, force: true }))
    return true
  }

  async #unlinkStored (entry: StoredFile): Promise<boolean> {
    const { stored, directory, lastUse } = this.#options
    const { infohash, fileIndex, path } = entry
    // Only while it is the file that we stored, never what a person put in its place.
    if (await answerOf(stored.check(entry)) !== null) {
      if (lastUse.isStreaming(infohash, fileIndex)) return false
      await answerOf(unlink(join(directory, path)))
    }
    // The record is told after the disk: the other way round a crash would leave a file that nobody may evict.
    return await answerOf(stored.check(entry)) === null
  }

  /** Only of a torrent of which nothing is left: what can be looked up again, while an import's own cannot. */
  async #evictMetadata (infohash: string): Promise<boolean> {
    const hasMore = this.#ledger.find(infohash)?.hasFolder === true || this.#options.stored.list().some((entry) => entry.infohash === infohash)
    if (hasMore || (await answerOf(this.#ledger.listPlaced())).some((entry) => entry.infohash === infohash)) return false
    await answerOf(unlink(this.#ledger.metadataPath(infohash)))
    return true
  }

  async #evictPlaced (path: string, infohash: string): Promise<boolean> {
    if (this.#options.lastUse.isStreaming(infohash)) return false
    const { allocatedBytes } = await usageOf(path, this.#options.accounting)
    await answerOf(unlink(path))
    this.#ledger.freed(allocatedBytes)
    this.#ledger.placed = this.#ledger.placed.filter(({ entry }) => entry.path !== path)
    return true
  }
}

function isTooMuch ({ countedBytes, diskBytes }: Excess): boolean {
  return countedBytes > 0 || diskBytes > 0
}

function total (victims: readonly Victim[], what: 'countedBytes' | 'diskBytes'): number {
  return victims.reduce((bytes, victim) => bytes + victim[what], 0)
}

function totalOf (victims: readonly Victim[]): { files: number, countedBytes: number } {
  return { files: victims.filter(({ isEntry }) => isEntry).length, countedBytes: victims.reduce((bytes, { countedBytes }) => bytes + countedBytes, 0) }
}
