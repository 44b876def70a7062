import { pause } from '../deadline.ts'
import { CodedError } from '../errors.ts'
import { Slots } from '../slots.ts'
import { NothingServes } from '../source-walk.ts'
import { noShares, ratioOf } from '../swarm/seeding.ts'
import { AddedTorrents } from './added-torrents.ts'
import { describe } from './description.ts'
import { pieceMapOf } from './piece-map.ts'
import { fileStatusOf, httpStatusOf, isDefaultFile, mainFile, offeredFiles, reasonOf, selectedFiles, stateOf } from './torrent-status.ts'
import type { CacheIndex } from '../cache/cache-index.ts'
import type { StoredFiles } from '../cache/stored-files.ts'
import type { EventBus } from '../events.ts'
import type { Log } from '../log.ts'
import type { SourceChain } from '../source-chain.ts'
import type { Shares } from '../swarm/seeding.ts'
import type { Addition } from './addition.ts'
import type { AddedTorrent } from './added-torrents.ts'
import type { PieceMap } from './piece-map.ts'
import type { DownloadState, FileStatus, TorrentStatus } from './torrent-status.ts'
import type { Hints } from './torrent.ts'
import type { Torrents } from './torrents.ts'

export interface TorrentListOptions {
  readonly directory: string
  readonly sources: SourceChain
  readonly torrents: Torrents
  readonly cache: CacheIndex
  readonly stored: StoredFiles
  /** What a torrent has given to peers; default: nothing. */
  readonly sharesOf?: (infohash: string) => Shares
  /** So many added torrents are downloaded at a time. */
  readonly maxDownloads: number
  /** What was added before is known and left alone; nothing is written. */
  readonly isReadOnly?: boolean
  /** Is told what is added and removed. */
  readonly events: EventBus
  readonly log: Log
}

/** A stretch of a list: `limit` entries from `offset` on. */
export interface Page {
  readonly offset: number
  readonly limit: number
}

type Download = { -readonly [Key in keyof DownloadState]: DownloadState[Key] } & { readonly controller: AbortController }

const RETRY_PAUSE_MS = { first: 5_000, longest: 300_000 }
const ADDED_LIMIT = 10_000
const SPEED_INTERVAL_MS = 1000

/**
 * The torrents that people added, and what is known of any. An added torrent is downloaded to the end with no reader
 * at all: the download is a reader of the chain that throws the bytes away, so it has every source and survives the
 * death of each as a player's response does.
 */
export class TorrentList {
  readonly #options: TorrentListOptions
  readonly #added: AddedTorrents
  readonly #slots: Slots
  readonly #downloads = new Map<string, Download>()
  readonly #speeds = new Map<string, { receivedBytes: number, bytesPerSecond: number }>()
  readonly #timer: NodeJS.Timeout
  readonly #tasks = new Set<Promise<void>>()
  readonly #changed = new Set<string>()
  #isClosed = false

  private constructor (options: TorrentListOptions, added: AddedTorrents) {
    this.#options = options
    this.#added = added
    this.#slots = new Slots(options.maxDownloads)
    this.#timer = setInterval(() => { this.#measureSpeeds() }, SPEED_INTERVAL_MS)
    this.#timer.unref()
  }

  /** Reads what was added before and goes on with what was not done. */
  static async open (options: TorrentListOptions): Promise<TorrentList> {
    const { isReadOnly = false } = options
    const added = await AddedTorrents.open(options.directory, options.log, { isReadOnly })
    const list = new TorrentList(options, added)
    for (const entry of added.list()) {
      options.torrents.remember(entry.infohash, entry.hints)
      if (!isReadOnly && !entry.isDone) list.#start(entry)
    }
    return list
  }

  /**
   * Adds a torrent, or asks for it again; its download runs from now on by itself. Returns what is refused and why, or
   * null when it was added. Throws STORE_FAILED when the list cannot be written; then nothing was added.
   */
  async add ({ infohash, hints, metadata }: Addition): Promise<'full' | 'read-only' | null> {
    const { events, isReadOnly = false, sources, torrents } = this.#options
    if (isReadOnly) return 'read-only'
    const before = this.#added.get(infohash)
    if (before === undefined && this.#added.size >= ADDED_LIMIT) return 'full'
    if (metadata !== null) await torrents.keep(metadata)
    const entry = { infohash, hints, addedAt: before?.addedAt ?? new Date().toISOString(), isDone: false }
    await this.#added.add(entry)
    // Removed, or added once more, while it was written: that counts.
    if (this.#added.get(infohash) !== entry) return null
    // Adding again is asking again, whatever failed before.
    sources.forgetFailures(infohash)
    torrents.remember(infohash, hints)
    this.#stop(infohash)
    this.#start(entry)
    events.emit({ type: 'added', infohash })
    return null
  }

  /** Stops a torrent and forgets it; with `deleteFiles` what the server stored of it goes too. Returns false when it is unknown. */
  async remove (infohash: string, { deleteFiles }: { deleteFiles: boolean }): Promise<boolean> {
    if (await this.status(infohash) === null) return false
    this.#stop(infohash)
    this.#options.torrents.forget(infohash)
    this.#options.sources.forgetFailures(infohash)
    const forgotten = this.#added.remove(infohash)
    await this.#options.torrents.remove(infohash, { deleteFiles })
    await forgotten
    this.#options.events.emit({ type: 'removed', infohash })
    return true
  }

  /** The torrents that were added, run, or have a file in the cache; what was added last comes first. */
  async infohashes (): Promise<string[]> {
    const { torrents, cache } = this.#options
    const cached = await cache.list()
    return [...new Set([
      ...this.#added.list().map(({ infohash }) => infohash).reverse(),
      ...torrents.list().map(({ infohash }) => infohash),
      ...cached.map(({ infohash }) => infohash)
    ])]
  }

  /** A page of `infohashes`, with what is known of each. `total`: how many there are. */
  async list ({ offset, limit }: Page): Promise<{ total: number, entries: TorrentStatus[] }> {
    const infohashes = await this.infohashes()
    const entries = []
    // One after the other: each may read its metadata from the disk.
    for (const infohash of infohashes.slice(offset, offset + limit)) {
      const status = await this.status(infohash)
      if (status !== null) entries.push(status)
    }
    return { total: infohashes.length, entries }
  }

  /** What is known of this torrent; null when it was never heard of. Starts nothing. */
  async status (infohash: string): Promise<TorrentStatus | null> {
    const { torrents, cache } = this.#options
    const added = this.#added.get(infohash)
    const download = this.#downloads.get(infohash)
    const torrent = torrents.get(infohash)
    const metadata = await torrents.knownMetadata(infohash)
    const selected = metadata === null ? [] : selectedFiles(metadata, added?.hints.selectOnly)
    const file = metadata === null ? null : mainFile(metadata, selected)
    const wanted = metadata === null || file === null || isDefaultFile(metadata, file) ? null : file.index
    const cached = await cache.find(infohash, wanted, metadata)
    if (added === undefined && torrent === null && metadata === null && cached === null) return null
    const others = selected.filter((other) => other !== file)
    const stored = this.#storedIndexes(infohash)
    const isCached = cached !== null && others.every(({ index }) => stored.has(index))
    const bytesOf = (index: number): number => torrent?.store?.verifiedBytesOf(index) ?? 0
    const length = file === null ? cached?.lengthBytes ?? null : selected.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)
    const main = cached !== null ? (file ?? cached).lengthBytes : file === null ? 0 : bytesOf(file.index)
    const downloaded = main + others.reduce((sum, { index, lengthBytes }) => sum + (stored.has(index) ? lengthBytes : bytesOf(index)), 0)
    const shares = this.#options.sharesOf?.(infohash) ?? noShares
    return {
      infoHash: infohash,
      name: metadata?.name ?? torrent?.name ?? added?.hints.name ?? cached?.name ?? null,
      status: stateOf({ isCached, download, torrent, isBusy: torrents.isBusy(infohash) }),
      cached: isCached,
      length,
      downloaded,
      progress: isCached || length === 0 ? 1 : length === null ? 0 : downloaded / length,
      downloadSpeed: Math.round(this.#speeds.get(infohash)?.bytesPerSecond ?? 0),
      uploaded: shares.uploadedBytes,
      ratio: Math.round(ratioOf(shares) * 1000) / 1000,
      peers: torrent?.peersConnected ?? 0,
      source: download?.source ?? null,
      http: httpStatusOf(torrent),
      reason: isCached ? null : reasonOf(download, torrent),
      fileIndex: file?.index ?? cached?.fileIndex ?? null,
      isDefaultFile: wanted === null,
      fileCount: metadata === null ? null : offeredFiles(metadata).length,
      addedAt: added?.addedAt ?? null
    }
  }

  /** The files of a torrent whose metadata is known, in its order; of any other none. `total`: how many there are. */
  async files (infohash: string, { offset, limit }: Page): Promise<{ total: number, entries: FileStatus[] }> {
    const metadata = await this.#options.torrents.knownMetadata(infohash)
    if (metadata === null) return { total: 0, entries: [] }
    const offered = offeredFiles(metadata)
    const selected = new Set(selectedFiles(metadata, this.#added.get(infohash)?.hints.selectOnly))
    const stored = this.#storedIndexes(infohash)
    const store = this.#options.torrents.get(infohash)?.store
    const entries = offered.slice(offset, offset + limit).map((file) =>
      fileStatusOf(file, stored.has(file.index) ? file.lengthBytes : store?.verifiedBytesOf(file.index) ?? 0, selected.has(file)))
    return { total: offered.length, entries }
  }

  /** Which of its pieces are here; null: its metadata is not known. */
  async pieces (infohash: string): Promise<PieceMap | null> {
    const { torrents } = this.#options
    const metadata = await torrents.knownMetadata(infohash)
    return metadata === null ? null : pieceMapOf(metadata, torrents.get(infohash)?.store ?? null, this.#storedIndexes(infohash))
  }

  isAdded (infohash: string): boolean {
    return this.#added.get(infohash) !== undefined
  }

  /** Would `list` name it? */
  isListed ({ infoHash, cached, addedAt }: TorrentStatus): boolean {
    return addedAt !== null || cached || this.#options.torrents.get(infoHash) !== null
  }

  /** The torrents whose download went on, failed or ended since this was asked last; those that run are not told apart. */
  takeChanged (): Set<string> {
    const changed = new Set(this.#changed)
    this.#changed.clear()
    return changed
  }

  /** Stops all downloads; what was added stays added. */
  async close (): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#timer)
    for (const infohash of this.#downloads.keys()) this.#stop(infohash)
    await Promise.all(this.#tasks)
  }

  #storedIndexes (infohash: string): Set<number> {
    return new Set(this.#options.stored.list().flatMap((file) => file.infohash === infohash ? [file.fileIndex] : []))
  }

  #start (added: AddedTorrent): void {
    if (this.#isClosed) return
    const download: Download = { controller: new AbortController(), source: null, reason: null, isDone: false }
    this.#downloads.set(added.infohash, download)
    this.#changed.add(added.infohash)
    const task = this.#run(added, download).finally(() => { this.#tasks.delete(task) })
    this.#tasks.add(task)
  }

  #stop (infohash: string): void {
    this.#downloads.get(infohash)?.controller.abort()
    this.#downloads.delete(infohash)
  }

  /** Tries until the file is there, with growing pauses; never rejects. */
  async #run (added: AddedTorrent, download: Download): Promise<void> {
    const { infohash, hints } = added
    const { signal } = download.controller
    let pauseMs = RETRY_PAUSE_MS.first
    while (!signal.aborted) {
      try {
        await this.#slots.run(async () => { await this.#downloadOnce(infohash, hints, download, signal) }, signal)
        download.isDone = true
        download.reason = null
        this.#changed.add(infohash)
        await this.#noteDone(added)
        return
      } catch (error) {
        if (signal.aborted) return
        download.source = null
        download.reason = error instanceof NothingServes
          ? error.refusals.map(({ source, message }) => `${source}: ${message}`).join('; ') || 'no source has it'
          : String(error instanceof Error ? error.message : error)
        this.#changed.add(infohash)
        this.#options.log.warn({ infohash, reason: download.reason }, `download failed, next try in about ${pauseMs / 1000} s`)
      }
      // Not all at once: hundreds may have been added, and failed, together.
      await pause(pauseMs * (0.75 + Math.random() / 2), signal).catch(() => {})
      pauseMs = Math.min(pauseMs * 2, RETRY_PAUSE_MS.longest)
    }
  }

  /** Never rejects: what is not noted a restart finds out again. */
  async #noteDone (added: AddedTorrent): Promise<void> {
    const { torrents, log } = this.#options
    try {
      await torrents.get(added.infohash)?.store?.flush()
      await this.#added.finish(added)
    } catch (error) {
      log.warn({ infohash: added.infohash, err: error }, 'it cannot be noted that a download is done')
    }
  }

  async #downloadOnce (infohash: string, hints: Hints, download: Download, signal: AbortSignal): Promise<void> {
    const { sources, torrents } = this.#options
    const { trackers = [], selectOnly = [] } = hints
    const { metadata } = selectOnly.length > 0 ? await describe({ infohash, trackers }, { sources, torrents }, signal) : { metadata: null }
    const indexes = metadata === null ? [null] : selectedFiles(metadata, selectOnly).map(({ index }) => index)
    for (const index of indexes) await this.#downloadFile(infohash, hints, index, download, signal)
  }

  async #downloadFile (infohash: string, hints: Hints, fileIndex: number | null, download: Download, signal: AbortSignal): Promise<void> {
    const request = { infohash, fileIndex, trackers: [...hints.trackers ?? []], head: { start: 0 }, isBackground: true }
    const { file } = await this.#options.sources.open(request, signal)
    download.source = file.source
    download.reason = null
    this.#changed.add(infohash)
    if (!file.isLocal && !file.isVerified) throw new CodedError('METADATA_NOT_FOUND', 'there is an unverified copy only, which can be streamed, and is not stored')
    if (file.isLocal || file.lengthBytes === 0) return
    const bytes = file.read({ start: 0, end: file.lengthBytes - 1 }, signal)[Symbol.asyncIterator]()
    while ((await bytes.next()).done !== true);
  }

  #measureSpeeds (): void {
    const running = new Set<string>()
    for (const { infohash, receivedBytes } of this.#options.torrents.list()) {
      running.add(infohash)
      const before = this.#speeds.get(infohash) ?? { receivedBytes, bytesPerSecond: 0 }
      const now = Math.max(0, receivedBytes - before.receivedBytes) / (SPEED_INTERVAL_MS / 1000)
      this.#speeds.set(infohash, { receivedBytes, bytesPerSecond: before.bytesPerSecond * 0.6 + now * 0.4 })
    }
    for (const infohash of this.#speeds.keys()) if (!running.has(infohash)) this.#speeds.delete(infohash)
  }
}
