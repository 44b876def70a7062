import { EventEmitter } from 'node:events'
import { abortable, race } from '../deadline.ts'
import { asCoded, CodedError } from '../errors.ts'
import type { Filler } from '../pieces/filler.ts'
import type { PieceStore } from '../pieces/piece-store.ts'
import type { Metadata } from './metadata.ts'

/** A filler as its torrent keeps it: closed with the torrent. */
export interface ClosableFiller extends Filler {
  close (): Promise<void> | void
  /** A reader is about to come: what failed a while ago may be tried before its time. */
  hurry? (): void
  /** Forgets what failed, and tries it anew. */
  retry? (): void
}

/** What may help to find a torrent; none of it is trusted. */
export interface Hints {
  readonly name?: string | null
  readonly trackers?: readonly string[]
  readonly webSeeds?: readonly string[]
  readonly acceptableSources?: readonly string[]
  readonly exactSources?: readonly string[]
  readonly peers?: readonly string[]
  /** The files to download when it is added, ascending; absent or empty: the default one. */
  readonly selectOnly?: readonly number[]
  /** Servers that wait for this torrent, as in StreamRequest. */
  readonly hops?: readonly string[]
}

export interface TorrentOptions {
  readonly infohash: string
  /** Finds metadata that is already on disk. Never rejects. */
  readonly loadMetadata: () => Promise<Metadata | null>
  /** Asks whoever may know the `.torrent` beside the fillers; null where nobody is to be asked. */
  readonly findMetadata: ((wanted: { readonly infohash: string, readonly exactSources: readonly string[] }, signal: AbortSignal) => Promise<Metadata>) | null
  /** Keeps the metadata and opens its piece store. Called until it has worked once, with metadata that was checked. */
  readonly openStore: (metadata: Metadata) => Promise<PieceStore>
  /** Takes leave of the store, and closes it. */
  readonly closeStore: (store: PieceStore) => Promise<void>
}

const HINT_LIMIT = 40

/**
 * A torrent while somebody needs it: its metadata once any source has brought it, the one piece store that all
 * fillers fill, and the fillers. Sources that start for the same infohash meet here.
 */
export class Torrent extends EventEmitter<{ hints: [], filler: [ClosableFiller] }> {
  readonly infohash: string
  /** When the start began, on the clock of performance.now(): limits of a start count from here, for every requester. */
  readonly startedAt = performance.now()
  readonly hints = { trackers: new Set<string>(), webSeeds: new Set<string>(), acceptableSources: new Set<string>(), exactSources: new Set<string>(), peers: new Set<string>(), hops: new Set<string>() }
  name: string | null = null
  #metadata: Metadata | null = null
  #store: PieceStore | null = null
  #opening: Promise<PieceStore> | null = null
  readonly #ready = Promise.withResolvers<PieceStore>()
  #lookup: Promise<Metadata> | null = null
  #lookupFailure: CodedError | null = null
  #reasonsToLook = 0
  readonly #fillers = new Map<string, Promise<ClosableFiller>>()
  readonly #liveFillers = new Set<ClosableFiller>()
  readonly #closing = new AbortController()
  readonly #options: TorrentOptions
  readonly #onDisk: Promise<Metadata | null>

  constructor (options: TorrentOptions) {
    super()
    this.setMaxListeners(0)
    this.infohash = options.infohash
    this.#options = options
    this.#ready.promise.catch(() => {})
    this.#onDisk = options.loadMetadata()
  }

  get metadata (): Metadata | null { return this.#metadata }
  get store (): PieceStore | null { return this.#store }
  get fillers (): readonly ClosableFiller[] { return [...this.#liveFillers] }
  get receivedBytes (): number { return this.fillers.reduce((sum, filler) => sum + filler.receivedBytes, 0) }
  get peersConnected (): number { return this.fillers.reduce((sum, filler) => sum + filler.peersConnected, 0) }
  /** Why the last lookup of the `.torrent` found nothing; null when none has failed. */
  get lookupFailure (): CodedError | null { return this.#lookupFailure }
  /** Grows when looking for the `.torrent` once more may help: a source was named, or somebody added the torrent again. */
  get reasonsToLook (): number { return this.#reasonsToLook }
  /** Aborts when the torrent closes. */
  get closing (): AbortSignal { return this.#closing.signal }

  /** Adds what may help to find the torrent; a bounded number of each kind. */
  addHints (hints: Hints): void {
    this.name ??= hints.name ?? null
    let isNew = false
    for (const kind of ['trackers', 'webSeeds', 'acceptableSources', 'exactSources', 'peers', 'hops'] as const) {
      for (const hint of hints[kind] ?? []) {
        if (this.hints[kind].size >= HINT_LIMIT || this.hints[kind].has(hint)) continue
        this.hints[kind].add(hint)
        isNew = true
        if (kind === 'exactSources') this.#reasonsToLook++
      }
    }
    if (isNew) this.emit('hints')
  }

  /** Somebody asks anew: whatever failed is worth another try. */
  askAgain (): void {
    this.#reasonsToLook++
    for (const filler of this.#liveFillers) filler.retry?.()
  }

  /** Opens the store where metadata is on disk already. Throws STORE_FAILED; then the next caller tries again. */
  async load (): Promise<void> {
    const metadata = await this.#onDisk
    if (metadata !== null && this.#store === null) await this.provide(metadata)
  }

  /** Metadata that somebody found and checked against the infohash. The first one counts; the store opens once. */
  async provide (metadata: Metadata): Promise<PieceStore> {
    if (metadata.infohash !== this.infohash) throw new CodedError('METADATA_MISMATCH', `metadata of ${metadata.infohash} given to ${this.infohash}`)
    this.#closing.signal.throwIfAborted()
    this.#opening ??= this.#open(metadata)
    return await this.#opening
  }

  /**
   * Looks for the `.torrent`: once for all who ask, until the first of them or a filler has it. It is up to the callers to
   * provide() it. Rejects with METADATA_NOT_FOUND, METADATA_V2_ONLY, or when the torrent closes; then the next caller
   * tries again.
   */
  async lookUp (): Promise<Metadata> {
    if (this.#metadata !== null) return this.#metadata
    if (this.#lookup === null) {
      const lookup = this.#lookUp()
      this.#lookup = lookup
      lookup.catch((error: unknown) => {
        this.#lookup = null
        this.#lookupFailure = asCoded(error, 'METADATA_NOT_FOUND')
      })
    }
    return await this.#lookup
  }

  /** The store, as soon as metadata is there. Rejects with the signal's reason, or when the torrent closes. */
  async ready (signal: AbortSignal): Promise<PieceStore> {
    return await abortable(this.#ready.promise, signal)
  }

  /** The filler with this name; the first caller's `create` makes it, a failed creation is forgotten. */
  async fill<F extends ClosableFiller> (name: string, create: () => Promise<F>): Promise<ClosableFiller> {
    this.#closing.signal.throwIfAborted()
    const existing = this.#fillers.get(name)
    if (existing !== undefined) return await existing
    const promise = this.#create(create)
    this.#fillers.set(name, promise)
    promise.catch(() => { this.#fillers.delete(name) })
    return await promise
  }

  /** Ends the fillers, then the store, whose bits are on disk afterwards. Waiting readers get the reason. */
  async close (reason: CodedError): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort(reason)
    this.#ready.reject(reason)
    await Promise.allSettled(this.#fillers.values())
    await Promise.allSettled([...this.#liveFillers].map(async (filler) => { await filler.close() }))
    const store = await this.#opening?.catch(() => null)
    if (store != null) await this.#options.closeStore(store)
  }

  async #lookUp (): Promise<Metadata> {
    const { findMetadata } = this.#options
    if (findMetadata === null) throw new CodedError('METADATA_NOT_FOUND', 'nobody is asked for .torrent files over HTTP')
    return await race(this.closing,
      async (signal) => await findMetadata({ infohash: this.infohash, exactSources: [...this.hints.exactSources] }, signal),
      async (signal) => (await this.ready(signal)).metadata
    )
  }

  async #open (metadata: Metadata): Promise<PieceStore> {
    try {
      const store = await this.#options.openStore(metadata)
      this.#metadata = metadata
      this.name = metadata.name
      this.#store = store
      this.#ready.resolve(store)
      return store
    } catch (error) {
      this.#opening = null
      throw error
    }
  }

  async #create<F extends ClosableFiller> (create: () => Promise<F>): Promise<ClosableFiller> {
    const filler = await create()
    this.#liveFillers.add(filler)
    if (this.#closing.signal.aborted) await filler.close()
    this.emit('filler', filler)
    return filler
  }
}
