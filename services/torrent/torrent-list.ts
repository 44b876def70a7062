import { pause } from '../deadline.ts'
import { CodedError } from '../errors.ts'
import { isVideo } from '../http/content-type.ts'
import { Slots } from '../slots.ts'
import { NothingServes } from '../source-walk.ts'
import { AddedTorrents } from './added-torrents.ts'
import { selectFile } from './file-selection.ts'
import type { CacheIndex } from '../cache/cache-index.ts'
import type { StoredFiles } from '../cache/stored-files.ts'
import type { Log } from '../log.ts'
import type { SourceChain } from '../source-chain.ts'
import type { Metadata } from './metadata.ts'
import type { AddedTorrent } from './added-torrents.ts'
import type { Hints, Torrent } from './torrent.ts'
import type { Torrents } from './torrents.ts'

export interface TorrentListOptions {
  readonly directory: string
  readonly sources: SourceChain
  readonly torrents: Torrents
  readonly cache: CacheIndex
  readonly stored: StoredFiles
  /** So many added torrents are downloaded at a time. */
  readonly maxDownloads: number
  /** What was added before is known and left alone; nothing is written. */
  readonly isReadOnly?: boolean
  readonly log: Log
}

/** `queued`: added, its download has not begun or waits to be tried again. `idle`: known, and nobody asks for it. */
export type TorrentState = 'queued' | 'metadata' | 'downloading' | 'cached' | 'ready' | 'idle'

export interface FileStatus {
  readonly index: number
  readonly name: string
  readonly path: string
  readonly length: number
  readonly downloaded: number
  readonly progress: number
  readonly isVideo: boolean
}

/** What a download from mirrors says of itself, as in its `[Hybrid] Progress` lines. Bytes, bytes per second, seconds. */
export interface HttpStatus {
  readonly downloaded: number
  readonly length: number
  readonly downloadSpeed: number
  /** null: nothing comes. */
  readonly eta: number | null
  /** Those that it is being fetched from. */
  readonly mirrors: readonly string[]
}

/** What the API says of one torrent. Bytes, bytes per second; progress from 0 to 1. */
export interface TorrentStatus {
  readonly infoHash: string
  readonly name: string | null
  readonly status: TorrentState
  /** The default file is in the cache. */
  readonly cached: boolean
  readonly length: number | null
  readonly downloaded: number
  readonly progress: number
  readonly downloadSpeed: number
  readonly peers: number
  readonly source: string | null
  /** null: nothing is being fetched from mirrors. */
  readonly http: HttpStatus | null
  /** What it waits for, in words; null when it waits for nothing. */
  readonly reason: string | null
  readonly fileIndex: number | null
  readonly files: readonly FileStatus[]
  readonly addedAt: string | null
}

interface Download {
  readonly controller: AbortController
  source: string | null
  reason: string | null
  isDone: boolean
}

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
   * Adds a torrent, or asks for it again; its download runs from now on by itself. Returns false when the list is full.
   * Throws STORE_FAILED when the list cannot be written; then nothing was added.
   */
  async add (infohash: string, hints: Hints): Promise<boolean> {
    const before = this.#added.get(infohash)
    if (before === undefined && this.#added.size >= ADDED_LIMIT) return false
    const entry = { infohash, hints, addedAt: before?.addedAt ?? new Date().toISOString(), isDone: false }
    await this.#added.add(entry)
    // Removed, or added once more, while it was written: that counts.
    if (this.#added.get(infohash) !== entry) return true
    // Adding again is asking again, whatever failed before.
    this.#options.sources.forgetFailures(infohash)
    this.#options.torrents.remember(infohash, hints)
    this.#stop(infohash)
    this.#start(entry)
    return true
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
    return true
  }

  /** Every torrent that was added, runs, or has a file in the cache; what was added last comes first. */
  async list (): Promise<TorrentStatus[]> {
    const { torrents, cache } = this.#options
    const cached = await cache.list()
    const infohashes = new Set([
      ...this.#added.list().map(({ infohash }) => infohash).reverse(),
      ...torrents.list().map(({ infohash }) => infohash),
      ...cached.map(({ infohash }) => infohash)
    ])
    const statuses = await Promise.all([...infohashes].map(async (infohash) => await this.status(infohash)))
    return statuses.filter((status) => status !== null)
  }

  /** What is known of this torrent; null when it was never heard of. Starts nothing. */
  async status (infohash: string): Promise<TorrentStatus | null> {
    const { torrents, cache } = this.#options
    const added = this.#added.get(infohash)
    const download = this.#downloads.get(infohash)
    const torrent = torrents.get(infohash)
    const metadata = await torrents.knownMetadata(infohash)
    const cached = await cache.find(infohash, null, metadata)
    if (added === undefined && torrent === null && metadata === null && cached === null) return null
    const file = metadata === null ? null : selectFile(metadata, null)
    const length = file?.lengthBytes ?? cached?.lengthBytes ?? null
    const downloaded = cached !== null ? cached.lengthBytes : file === null ? 0 : torrent?.store?.verifiedBytesOf(file.index) ?? 0
    return {
      infoHash: infohash,
      name: metadata?.name ?? torrent?.name ?? added?.hints.name ?? cached?.name ?? null,
      status: stateOf({ isCached: cached !== null, download, torrent }),
      cached: cached !== null,
      length,
      downloaded,
      progress: cached !== null || length === 0 ? 1 : length === null ? 0 : downloaded / length,
      downloadSpeed: Math.round(this.#speeds.get(infohash)?.bytesPerSecond ?? 0),
      peers: torrent?.peersConnected ?? 0,
      source: download?.source ?? null,
      http: httpStatusOf(torrent),
      reason: cached !== null ? null : reasonOf(download, torrent),
      fileIndex: file?.index ?? cached?.fileIndex ?? null,
      files: this.#files(infohash, metadata, torrent),
      addedAt: added?.addedAt ?? null
    }
  }

  /** Stops all downloads; what was added stays added. */
  async close (): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#timer)
    for (const infohash of this.#downloads.keys()) this.#stop(infohash)
    await Promise.all(this.#tasks)
  }

  #files (infohash: string, metadata: Metadata | null, torrent: Torrent | null): FileStatus[] {
    const stored = new Set(this.#options.stored.list().filter((file) => file.infohash === infohash).map(({ fileIndex }) => fileIndex))
    const files = (metadata?.files ?? []).filter(({ isPadding }) => !isPadding)
    return files.map(({ index, name, path, lengthBytes }) => {
      const downloaded = stored.has(index) ? lengthBytes : torrent?.store?.verifiedBytesOf(index) ?? 0
      return { index, name, path, length: lengthBytes, downloaded, progress: lengthBytes === 0 ? 1 : downloaded / lengthBytes, isVideo: isVideo(name) }
    })
  }

  #start (added: AddedTorrent): void {
    if (this.#isClosed) return
    const download: Download = { controller: new AbortController(), source: null, reason: null, isDone: false }
    this.#downloads.set(added.infohash, download)
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
        await this.#noteDone(added)
        return
      } catch (error) {
        if (signal.aborted) return
        download.source = null
        download.reason = error instanceof NothingServes
          ? error.refusals.map(({ source, message }) => `${source}: ${message}`).join('; ') || 'no source has it'
          : String(error instanceof Error ? error.message : error)
        this.#options.log.warn({ infohash, reason: download.reason }, `download failed, next try in ${pauseMs / 1000} s`)
      }
      await pause(pauseMs, signal).catch(() => {})
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
    const request = { infohash, fileIndex: null, trackers: [...hints.trackers ?? []], head: { start: 0 } }
    const { file } = await this.#options.sources.open(request, signal)
    download.source = file.source
    download.reason = null
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

function stateOf ({ isCached, download, torrent }: { isCached: boolean, download: Download | undefined, torrent: Torrent | null }): TorrentState {
  if (isCached) return 'cached'
  if (download?.isDone === true) return 'ready'
  if (torrent !== null) return torrent.metadata === null ? 'metadata' : 'downloading'
  return download === undefined ? 'idle' : 'queued'
}

function httpStatusOf (torrent: Torrent | null): HttpStatus | null {
  const progress = torrent?.fillers.find(({ progress }) => progress !== undefined)?.progress
  if (progress === undefined) return null
  const { verifiedBytes, totalBytes, bytesPerSecond, secondsLeft, mirrors } = progress
  return { downloaded: verifiedBytes, length: totalBytes, downloadSpeed: Math.round(bytesPerSecond), eta: secondsLeft, mirrors }
}

function reasonOf (download: Download | undefined, torrent: Torrent | null): string | null {
  if (download?.isDone === true) return null
  const fillers = torrent?.fillers.map(({ name, state }) => `${name}: ${state}`) ?? []
  if (download?.source == null && download?.reason != null) return download.reason
  if (torrent !== null && torrent.metadata === null) {
    const lookup = torrent.lookupFailure
    return ['waiting for metadata', ...lookup === null ? [] : [lookup.message], ...fillers].join('; ')
  }
  return fillers.length > 0 ? fillers.join('; ') : null
}
