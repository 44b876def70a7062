import { abortable, pause } from '../deadline.ts'
import { deadlines } from '../deadlines.ts'
import { CodedError, asCoded } from '../errors.ts'
import { urgencies } from '../pieces/demand.ts'
import { Slots } from '../slots.ts'
import { NothingServes } from '../source-walk.ts'
import { describe } from '../torrent/description.ts'
import { selectFile } from '../torrent/file-selection.ts'
import type { CacheIndex } from '../cache/cache-index.ts'
import type { Log } from '../log.ts'
import type { PieceRange } from '../pieces/demand.ts'
import type { ByteRange, PieceIndex } from '../pieces/geometry.ts'
import type { PieceStore } from '../pieces/piece-store.ts'
import type { SourceChain } from '../source-chain.ts'
import type { StreamRequest } from '../source.ts'
import type { Metadata } from '../torrent/metadata.ts'
import type { Torrents } from '../torrent/torrents.ts'
import type { ClosableFiller } from '../torrent/torrent.ts'

export interface PreloadsOptions {
  readonly sources: Pick<SourceChain, 'open' | 'closing'>
  readonly torrents: Torrents
  readonly cache: Pick<CacheIndex, 'find'>
  /** So many are at work at a time; others wait. */
  readonly maxRunning: number
  /** A filler that receives nothing for so long is left for another. */
  readonly stallTimeoutMs: number
  readonly log: Log
}

/** What to preload: by default the file's head and tail, which are what a player reads before it shows anything. */
export interface PreloadRequest {
  readonly where: Pick<StreamRequest, 'infohash' | 'trackers' | 'hops'>
  /** null: the default file. */
  readonly fileIndex: number | null
  /** null: head and tail. Bytes of the file, cut where it ends. */
  readonly range: ByteRange | null
}

/** A preload as it is now. Bytes. */
export interface Preload {
  readonly infohash: string
  /** null: not known yet. */
  fileIndex: number | null
  readonly range: ByteRange | null
  state: 'waiting' | 'running' | 'done' | 'failed' | 'cancelled'
  /** Of the pieces that hold what was asked for; null: not known yet. */
  wantedBytes: number | null
  loadedBytes: number
  /** Why it failed, or is done with nothing to do. */
  reason: string | null
  readonly startedAt: string
  endedAt: string | null
}

interface Task {
  readonly preload: Preload
  readonly controller: AbortController
}

/** The head that players read first, and the tail where the index of many files is. */
const HEAD_BYTES = 2 << 20
const TAIL_BYTES = 2 << 20
/** Waiting and running ones; and those that have ended, which are told for a while. */
const TASK_LIMIT = 32
const ENDED_LIMIT = 50
const TRIES = 3

/** Brings parts of files in before anybody reads them: each within its time, all within the budget, and after whoever reads. */
export class Preloads {
  readonly #options: PreloadsOptions
  readonly #slots: Slots
  readonly #tasks = new Map<string, Task>()
  readonly #ended: Preload[] = []

  constructor (options: PreloadsOptions) {
    this.#options = options
    this.#slots = new Slots(options.maxRunning)
  }

  /** Begins, and gives what is known now; the same again joins the one that runs. null: too many are waiting. */
  start (request: PreloadRequest): Preload | null {
    const { where: { infohash }, fileIndex, range } = request
    const key = JSON.stringify([infohash, fileIndex, range])
    const running = this.#tasks.get(key)
    if (running !== undefined) return running.preload
    if (this.#tasks.size >= TASK_LIMIT) return null
    const controller = new AbortController()
    const preload: Preload = { infohash, fileIndex, range, state: 'waiting', wantedBytes: null, loadedBytes: 0, reason: null, startedAt: new Date().toISOString(), endedAt: null }
    this.#tasks.set(key, { preload, controller })
    void this.#run(request, preload, controller.signal).finally(() => {
      preload.endedAt = new Date().toISOString()
      this.#tasks.delete(key)
      this.#ended.push(preload)
      if (this.#ended.length > ENDED_LIMIT) this.#ended.shift()
    })
    return preload
  }

  /** Those of a torrent, the latest last: all that wait or run, and those that ended of late. */
  of (infohash: string): Preload[] {
    return [...this.#ended, ...[...this.#tasks.values()].map(({ preload }) => preload)].filter((preload) => preload.infohash === infohash)
  }

  /** Ends those of a torrent, or of one file of it; what they brought stays. Gives how many there were. */
  cancel (infohash: string, fileIndex: number | null = null): number {
    const tasks = [...this.#tasks.values()].filter(({ preload }) => preload.infohash === infohash && (fileIndex === null || preload.fileIndex === fileIndex))
    for (const { preload, controller } of tasks) {
      preload.state = 'cancelled'
      controller.abort(new CodedError('SOURCE_TIMEOUT', 'the preload was cancelled'))
    }
    return tasks.length
  }

  /** Never rejects. */
  async #run (request: PreloadRequest, preload: Preload, cancelled: AbortSignal): Promise<void> {
    const late = new AbortController()
    const timer = setTimeout(() => { late.abort(new CodedError('SOURCE_TIMEOUT', `it was not done within ${deadlines.preloadMs / 1000} s`)) }, deadlines.preloadMs)
    timer.unref()
    const signal = AbortSignal.any([cancelled, late.signal, this.#options.sources.closing])
    try {
      await this.#slots.run(async () => {
        preload.state = 'running'
        await this.#preload(request, preload, signal)
      }, signal)
      if (!cancelled.aborted) preload.state = 'done'
    } catch (error) {
      if (cancelled.aborted) return
      const { infohash, fileIndex } = preload
      preload.state = 'failed'
      preload.reason = error instanceof NothingServes ? error.message : asCoded(error, 'SOURCE_FAILED').message
      this.#options.log.info({ infohash, fileIndex, reason: preload.reason }, 'preload failed')
    } finally {
      clearTimeout(timer)
    }
  }

  async #preload ({ where, fileIndex }: PreloadRequest, preload: Preload, signal: AbortSignal): Promise<void> {
    const { metadata, file } = await describe(where, this.#options, signal)
    if (metadata === null) {
      if (!file.isLocal) throw new CodedError('METADATA_NOT_FOUND', 'there is an unverified copy only, which is not stored')
      preload.reason = 'it is on this machine already'
      return
    }
    const { index } = selectFile(metadata, fileIndex)
    preload.fileIndex = index
    if (await this.#options.cache.find(where.infohash, index, metadata, signal) !== null) {
      preload.reason = 'it is in the cache already'
      return
    }
    await this.#fill(where, metadata, index, preload, signal)
  }

  async #fill (where: PreloadRequest['where'], metadata: Metadata, index: number, preload: Preload, signal: AbortSignal): Promise<void> {
    const { torrents, log } = this.#options
    // As a reader: what is preloaded is not what goes first when room is needed.
    const lease = torrents.read(where.infohash, index)
    try {
      const { torrent, reading } = lease
      await abortable(torrent.load(), signal)
      const store = await torrent.ready(signal)
      await abortable(store.want(index), signal)
      if (store.isWindowed(index)) throw new CodedError('NO_ROOM', 'the file does not fit into the cache')
      const pieces = piecesOf(store, index, preload.range)
      preload.wantedBytes = bytesOf(store, pieces)
      const progress = (): void => {
        preload.loadedBytes = bytesOf(store, pieces.filter((piece) => store.has(piece)))
        reading.touch()
      }
      progress()
      for (let tries = 0; tries < TRIES && !pieces.every((piece) => store.has(piece)); tries++) {
        const filler = await this.#fillerOf(where, torrent, index, offsetOf(store, index, pieces), tries, signal)
        await this.#ask(filler, store, pieces, progress, signal)
      }
      progress()
      const missing = pieces.filter((piece) => !store.has(piece)).length
      if (missing > 0) throw new CodedError('STALLED', `${missing} of ${pieces.length} pieces did not come`)
      log.debug({ infohash: where.infohash, fileIndex: index }, 'preloaded')
    } finally {
      lease.release()
    }
  }

  /** Somebody who delivers: who does already, another one at each try; else the chain finds one. */
  async #fillerOf ({ infohash, trackers, hops = [] }: PreloadRequest['where'], torrent: { readonly fillers: readonly ClosableFiller[] }, index: number, start: number, tries: number, signal: AbortSignal): Promise<ClosableFiller> {
    const hopeful = (): ClosableFiller[] => torrent.fillers.filter(({ isHopeful, failure }) => isHopeful && failure === null).sort((a, b) => b.receivedBytes - a.receivedBytes)
    if (hopeful().length === 0) await this.#options.sources.open({ infohash, fileIndex: index, trackers, hops, head: { start } }, signal)
    const fillers = hopeful()
    const filler = fillers[tries % Math.max(1, fillers.length)]
    if (filler === undefined) throw new CodedError('SOURCE_FAILED', 'nobody delivers')
    return filler
  }

  /** Resolves when the pieces are there, or the filler receives nothing for a while. */
  async #ask (filler: ClosableFiller, store: PieceStore, pieces: readonly PieceIndex[], progress: () => void, signal: AbortSignal): Promise<void> {
    const want = filler.demand.open()
    const stop = new AbortController()
    const both = AbortSignal.any([signal, stop.signal])
    const arrived = Promise.all(pieces.map(async (piece) => { await store.waitFor(piece, both) })).then(() => true)
    arrived.catch(() => {})
    try {
      want.set(rangesOf(pieces))
      for (let received = -1, idle = 0; idle < 2;) {
        const isHere = await Promise.race([arrived, pause(this.#options.stallTimeoutMs, both).then(() => false)])
        progress()
        if (isHere) return
        idle = filler.receivedBytes > received ? 0 : idle + 1
        received = filler.receivedBytes
      }
    } finally {
      want.release()
      stop.abort()
    }
  }
}

function piecesOf (store: PieceStore, index: number, range: ByteRange | null): PieceIndex[] {
  const { geometry } = store
  const file = geometry.rangeOfFile(index)
  if (file === null) return []
  const last = file.end - file.start
  const ranges = range === null
    ? [{ start: 0, end: Math.min(HEAD_BYTES - 1, last) }, { start: Math.max(0, last - TAIL_BYTES + 1), end: last }]
    : range.start > last ? [] : [{ start: range.start, end: Math.min(range.end, last) }]
  const pieces = new Set<PieceIndex>()
  for (const each of ranges) {
    const { first, last } = geometry.piecesOf(geometry.toTorrent(index, each))
    for (let piece: number = first; piece <= last; piece++) pieces.add(geometry.piece(piece))
  }
  return [...pieces]
}

/** The first byte of the file in the first piece that is missing. */
function offsetOf (store: PieceStore, index: number, pieces: readonly PieceIndex[]): number {
  const { geometry } = store
  const file = geometry.rangeOfFile(index)
  const missing = pieces.find((piece) => !store.has(piece))
  return file === null || missing === undefined ? 0 : Math.max(0, geometry.offsetOf(missing) - file.start)
}

function bytesOf ({ geometry }: PieceStore, pieces: readonly PieceIndex[]): number {
  return pieces.reduce((sum, piece) => sum + geometry.lengthOf(piece), 0)
}

/** Behind what readers wait for and read ahead, before the rest of what they read. */
function rangesOf (pieces: readonly PieceIndex[]): PieceRange[] {
  return pieces.map((piece) => ({ first: piece, last: piece, urgency: urgencies.headAndTail }))
}
