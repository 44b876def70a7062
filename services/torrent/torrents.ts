import { lstat, readFile, readdir, rm } from 'node:fs/promises'
import { join, parse } from 'node:path'
import { untracked } from '../cache/last-use.ts'
import { stateFolder } from '../cache/stored-files.ts'
import { abortable } from '../deadline.ts'
import { deadlines } from '../deadlines.ts'
import { asCoded, CodedError } from '../errors.ts'
import { Geometry } from '../pieces/geometry.ts'
import { isNoSpace } from '../pieces/piece-files.ts'
import { PieceStore } from '../pieces/piece-store.ts'
import { unlimitedRoom } from '../pieces/room.ts'
import { formatBytes } from '../format.ts'
import { writeFileAtomically } from '../write-file.ts'
import { selectFile } from './file-selection.ts'
import { parseMetadata } from './metadata.ts'
import { storedFileName } from './safe-file-name.ts'
import { Torrent } from './torrent.ts'
import type { Reading, StreamUse } from '../cache/last-use.ts'
import type { StoredFiles } from '../cache/stored-files.ts'
import type { Log } from '../log.ts'
import type { TorrentRoom } from '../pieces/room.ts'
import type { Hints } from './torrent.ts'
import type { Metadata } from './metadata.ts'

export interface TorrentsOptions {
  /** The download directory: finished files go here, everything else below `.self-streme`. */
  readonly directory: string
  readonly stored: StoredFiles
  /** What stores may take of the disk; default: all. */
  readonly room?: TorrentRoom
  /** Is told what is streamed. */
  readonly use?: StreamUse
  /** Finds `.torrent` files; without it only fillers and the disk bring metadata. */
  readonly resolver?: Resolver | null
  /** A torrent that nobody needs lives on so long. */
  readonly lingerMs: number
  /** How often it is looked whether one that nobody needs is still worth seeding; default: that of the deadlines. */
  readonly seedCheckMs?: number
  /** So many run at once. */
  readonly maxTorrents: number
  readonly log: Log
}

/** Who finds the `.torrent` of an infohash, and remembers for a while who does not have it. */
export interface Resolver {
  /** Throws METADATA_NOT_FOUND, METADATA_V2_ONLY, or the signal's reason. */
  resolve (wanted: { readonly infohash: string, readonly exactSources: readonly string[] }, signal: AbortSignal): Promise<Metadata>
  /** Makes the next resolve() ask everybody again. */
  forget (infohash: string): void
}

/** A claim on a torrent: while one is held it stays open. Releasing twice does nothing more. */
export interface Lease {
  readonly torrent: Torrent
  release (): void
}

/** The lease of one reader, which has no claim on the torrent any more while it takes no bytes. */
export interface ReaderLease extends Lease {
  readonly reading: Reading
}

type Claim = Pick<Reading, 'isStalled'>

interface Entry {
  readonly torrent: Torrent
  readonly claims: Set<Claim>
  idleSince: number
  linger: NodeJS.Timeout | undefined
}

/** Parsed metadata kept in memory: a cache lookup must not parse a `.torrent` each time. */
const METADATA_LIMIT = 100

/** A start that finds its torrent let go begins so often, in all. */
const MOST_BEGINNINGS = 3

/** The torrents that run, at most `maxTorrents`; keeps their metadata and puts what is finished into the cache. */
export class Torrents {
  readonly #entries = new Map<string, Entry>()
  readonly #closing = new Map<string, Promise<void>>()
  readonly #metadata = new Map<string, Metadata>()
  readonly #hints = new Map<string, Hints>()
  readonly #options: TorrentsOptions
  readonly #room: TorrentRoom
  readonly #use: StreamUse
  #isClosed = false
  #verifiedPieces = 0

  constructor (options: TorrentsOptions) {
    this.#options = options
    this.#room = options.room ?? unlimitedRoom
    this.#use = options.use ?? untracked
  }

  /** The running torrents. */
  list (): Torrent[] {
    return [...this.#entries.values()].map(({ torrent }) => torrent)
  }

  /** Pieces that came in verified, over all torrents since the start of the server. */
  get verifiedPieces (): number { return this.#verifiedPieces }

  get (infohash: string): Torrent | null {
    return this.#entries.get(infohash)?.torrent ?? null
  }

  /** Remembers what may help to find this torrent, for whenever it starts; who did not have it is asked again. */
  remember (infohash: string, hints: Hints): void {
    this.#hints.set(infohash, hints)
    this.#options.resolver?.forget(infohash)
    const torrent = this.get(infohash)
    torrent?.addHints(hints)
    torrent?.askAgain()
  }

  /** Keeps metadata that somebody brought, for whoever runs the torrent now or later; what is known already stays as it is. Throws STORE_FAILED. */
  async keep (metadata: Metadata): Promise<void> {
    const { infohash } = metadata
    await this.#closing.get(infohash)
    if (await this.knownMetadata(infohash) === null) await this.#keepMetadata(metadata)
    await this.get(infohash)?.provide(metadata)
  }

  forget (infohash: string): void {
    this.#hints.delete(infohash)
  }

  /**
   * A lease on the torrent, which starts when it does not run yet. Throws TOO_MANY_TORRENTS when so many run that none
   * is idle, SHUTTING_DOWN after close().
   */
  join (infohash: string, hints: Hints = {}): Lease {
    if (this.#isClosed) throw new CodedError('SHUTTING_DOWN', 'the server is shutting down')
    let entry = this.#entries.get(infohash)
    if (entry === undefined) {
      this.#makeRoom()
      entry = { torrent: this.#create(infohash), claims: new Set(), idleSince: 0, linger: undefined }
      entry.torrent.addHints(this.#hints.get(infohash) ?? {})
      this.#entries.set(infohash, entry)
    }
    entry.torrent.addHints(hints)
    return this.#lease(entry, { isStalled: false })
  }

  /**
   * Does this with the torrent, which stays open meanwhile. Where it was let go all the same, without anybody having deleted
   * it (a file of it turned out to be another one), it is done with the torrent that begins anew. Throws as `join`, and what the work throws.
   */
  async whileJoined<T> (infohash: string, hints: Hints, work: (torrent: Torrent) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const { torrent, release } = this.join(infohash, hints)
      try {
        return await work(torrent)
      } catch (error) {
        if (tries === MOST_BEGINNINGS || this.#isClosed || !beginsAnew(torrent)) throw error
      } finally {
        release()
      }
    }
  }

  /** As `join`, for a reader of this file; says that it streams until it is released. */
  read (infohash: string, fileIndex: number): ReaderLease {
    const { torrent, release } = this.join(infohash)
    const entry = this.#entries.get(infohash)
    if (entry === undefined) throw new CodedError('STORE_CLOSED', `torrent ${infohash} was let go`)
    const reading = this.#use.begin(infohash, fileIndex)
    const lease = this.#lease(entry, reading)
    release()
    return {
      torrent,
      reading,
      release: () => {
        reading.end()
        lease.release()
      }
    }
  }

  /** Is somebody at work with it: a start, a download, a reader that takes bytes? */
  isBusy (infohash: string): boolean {
    const claims = this.#entries.get(infohash)?.claims ?? []
    for (const { isStalled } of claims) if (!isStalled) return true
    return false
  }

  /**
   * Closes the torrent if it runs and is not busy, then does this, while nothing of it starts anew. false: it is busy,
   * or did not close within `limitMs`; then the work is not begun any more.
   */
  async whileClosed (infohash: string, work: () => Promise<void>, limitMs: number): Promise<boolean> {
    if (this.isBusy(infohash)) return false
    const entry = this.#entries.get(infohash)
    if (entry !== undefined) this.#close(entry, letGo(entry.torrent))
    const closed = this.#closing.get(infohash)
    const begun = Promise.withResolvers<boolean>()
    const timer = setTimeout(() => { begun.resolve(false) }, limitMs)
    const done = this.#whileClosing(infohash, async () => {
      await closed
      begun.resolve(true)
      if (await begun.promise) await work()
    })
    try {
      if (await begun.promise) {
        await done
        return true
      }
      done.catch(() => { /* its work was never begun */ })
      return false
    } finally {
      clearTimeout(timer)
    }
  }

  /** Does it run, so far that it can let single files go? */
  hasStore (infohash: string): boolean {
    return this.get(infohash)?.store != null
  }

  /**
   * Lets one file of a torrent go that runs and goes on, then does this, while the torrent stays open. false: somebody
   * reads the file, or it was not let go within `limitMs`; then the work is not done.
   */
  async whileUnwanted (infohash: string, fileIndex: number, work: () => Promise<void>, limitMs: number): Promise<boolean> {
    const entry = this.#entries.get(infohash)
    const store = entry?.torrent.store
    if (entry === undefined || store == null) return false
    const lease = this.#lease(entry, { isStalled: true })
    const signal = AbortSignal.timeout(limitMs)
    try {
      if (!await abortable(store.unwant(fileIndex, signal), signal)) return false
      await work()
      return true
    } catch (error) {
      if (signal.aborted || entry.torrent.closing.aborted) return false
      throw error
    } finally {
      lease.release()
    }
  }

  /** The pieces of a file that reach into others, with their lengths: while those are not wanted, each is kept whole beside it. */
  edgesOf (infohash: string, fileIndex: number): Map<number, number> {
    const metadata = this.#metadata.get(infohash)
    if (metadata == null) return new Map()
    const geometry = this.get(infohash)?.store?.geometry ?? new Geometry(metadata)
    const range = geometry.rangeOfFile(fileIndex)
    if (range === null) return new Map()
    const { first, last } = geometry.piecesOf(range)
    const isEdge = (piece: typeof first): boolean => geometry.spansOf(piece).some((span) => span.fileIndex !== fileIndex && metadata.files[span.fileIndex]?.isPadding !== true)
    return new Map([first, last].filter(isEdge).map((piece) => [piece, geometry.lengthOf(piece)]))
  }

  /** The torrent's name, where its metadata is known. */
  async nameOf (infohash: string): Promise<string | null> {
    return (await this.knownMetadata(infohash))?.name ?? null
  }

  /** Metadata of a torrent that runs or is kept on disk; null when there is none. Never touches the network. */
  async knownMetadata (infohash: string): Promise<Metadata | null> {
    const running = this.get(infohash)?.metadata
    if (running != null) return running
    const known = this.#metadata.get(infohash)
    if (known !== undefined) return known
    const metadata = this.#metadata.get(infohash) ?? await this.#readMetadata(infohash)
    // That there is none is not remembered: an import, in a process of its own, may bring it at any time.
    if (metadata === null) return null
    // Found elsewhere and kept while the disk was read: that counts.
    if (!this.#metadata.has(infohash)) this.#metadata.set(infohash, metadata)
    const [oldest] = this.#metadata.keys()
    if (oldest !== undefined && this.#metadata.size > METADATA_LIMIT) this.#metadata.delete(oldest)
    return metadata
  }

  /**
   * Lets a torrent go at once: its readers get DELETED; with `deleteFiles` everything the server stored of it goes too.
   * Whoever joins it meanwhile waits until it is gone.
   */
  async remove (infohash: string, { deleteFiles }: { deleteFiles: boolean }): Promise<void> {
    const entry = this.#entries.get(infohash)
    if (entry !== undefined) this.#close(entry, new CodedError('DELETED', `torrent ${infohash} was deleted`))
    const closed = this.#closing.get(infohash)
    await this.#whileClosing(infohash, async () => {
      await closed
      if (deleteFiles) await this.#deleteFiles(infohash)
      this.#room.release(infohash)
    })
  }

  /** Closes all torrents; their bits are on disk afterwards. */
  async close (): Promise<void> {
    this.#isClosed = true
    for (const entry of this.#entries.values()) this.#close(entry, letGo(entry.torrent))
    await Promise.all(this.#closing.values())
  }

  #lease (entry: Entry, reading: Claim): Lease {
    clearTimeout(entry.linger)
    // One object for each lease: the same reading might come twice.
    const claim: Claim = { get isStalled () { return reading.isStalled } }
    entry.claims.add(claim)
    let isReleased = false
    return {
      torrent: entry.torrent,
      release: () => {
        if (isReleased) return
        isReleased = true
        entry.claims.delete(claim)
        if (entry.claims.size > 0) return
        entry.idleSince = performance.now()
        this.#linger(entry, this.#options.lingerMs)
      }
    }
  }

  /** One that gives to others goes on until it has given enough, or its place is needed. */
  #linger (entry: Entry, ms: number): void {
    entry.linger = setTimeout(() => {
      if (isSeeding(entry.torrent)) this.#linger(entry, this.#options.seedCheckMs ?? deadlines.seedCheckMs)
      else this.#close(entry, letGo(entry.torrent))
    }, ms)
    entry.linger.unref()
  }

  #makeRoom (): void {
    if (this.#entries.size < this.#options.maxTorrents) return
    const idle = [...this.#entries.values()].filter(({ claims }) => claims.size === 0).sort((a, b) => a.idleSince - b.idleSince)[0]
    if (idle === undefined) {
      throw new CodedError('TOO_MANY_TORRENTS', `${this.#entries.size} torrents are being streamed or downloaded, more than MAX_TORRENTS allows`)
    }
    this.#close(idle, letGo(idle.torrent))
  }

  #close (entry: Entry, reason: CodedError): void {
    const { torrent } = entry
    if (this.#entries.get(torrent.infohash) !== entry) return
    clearTimeout(entry.linger)
    this.#entries.delete(torrent.infohash)
    this.#whileClosing(torrent.infohash, async () => {
      try {
        await torrent.close(reason)
      } finally {
        this.#room.release(torrent.infohash)
      }
    }).catch((error: unknown) => {
      this.#options.log.error({ infohash: torrent.infohash, err: error }, 'torrent did not close cleanly')
    })
  }

  /** Does this at once; a torrent that starts anew waits for the end of it, and of all that was being closed before. */
  async #whileClosing (infohash: string, work: () => Promise<void>): Promise<void> {
    const before = this.#closing.get(infohash)
    const done = work()
    const settled: Promise<void> = Promise.allSettled([before, done]).then(() => {
      if (this.#closing.get(infohash) === settled) this.#closing.delete(infohash)
    })
    this.#closing.set(infohash, settled)
    await done
  }

  /** Only what the record vouches for: a file that a person put into the place of a stored one stays. */
  async #deleteFiles (infohash: string): Promise<void> {
    const { directory, stored } = this.#options
    for (const entry of stored.list().filter((entry) => entry.infohash === infohash)) {
      if (await stored.check(entry) !== null) await rm(join(directory, entry.path), { force: true })
    }
    await stored.remove(infohash)
    await rm(this.#partialDirectory(infohash), { recursive: true, force: true })
    await rm(this.#metadataPath(infohash), { force: true })
    this.#metadata.delete(infohash)
  }

  #create (infohash: string): Torrent {
    const before = this.#closing.get(infohash) ?? Promise.resolve()
    const promotions = new Set<Promise<void>>()
    const { resolver = null } = this.#options
    return new Torrent({
      infohash,
      findMetadata: resolver === null ? null : async (wanted, signal) => await resolver.resolve(wanted, signal),
      loadMetadata: async () => {
        await before
        return await this.knownMetadata(infohash)
      },
      openStore: async (metadata) => {
        await before
        await this.#keepMetadata(metadata)
        await this.#giveUpWhatDoesNotFit(metadata)
        const promoted = await this.#promotedOf(infohash)
        const store = await PieceStore.open({ metadata, directory: this.#partialDirectory(infohash), promoted, room: this.#room, log: this.#options.log })
        store.on('verified', () => { this.#verifiedPieces++ })
        store.on('finished', (fileIndex) => {
          const promotion = this.#promote(store, metadata, fileIndex).catch((error: unknown) => {
            this.#options.log.error({ infohash, fileIndex, err: error }, 'finished file could not be moved into the cache; it stays with the unfinished ones')
          }).finally(() => { promotions.delete(promotion) })
          promotions.add(promotion)
        })
        store.on('changed', (fileIndex) => {
          this.#options.log.warn({ infohash, fileIndex }, 'a stored file is gone, or was written to: the torrent begins anew without it')
          const entry = this.#entries.get(infohash)
          if (entry?.torrent.store === store) this.#close(entry, new CodedError('FILE_CHANGED', 'a stored file is gone, or was written to'))
        })
        // A file that was whole when the server stopped is said to be finished now.
        for (const [fileIndex] of store.layout.files) await store.want(fileIndex)
        return store
      },
      closeStore: async (store) => {
        // What is whole is said to be finished once it is on the disk, and moved into the cache before the store closes.
        await store.flush().catch(() => {})
        await Promise.all(promotions)
        await store.close()
      }
    })
  }

  /**
   * Unfinished files that may not grow to their length any more, since others took the room: a store that has them would
   * fill them regardless. They go, and play from a window like files that never fitted.
   */
  async #giveUpWhatDoesNotFit (metadata: Metadata): Promise<void> {
    const { infohash, files } = metadata
    const directory = this.#partialDirectory(infohash)
    for (const name of await readdir(directory).catch(() => [])) {
      const index = /^(\d+)\.part$/.exec(name)?.[1]
      const file = index === undefined ? undefined : files[Number(index)]
      if (file === undefined || await this.#room.takeFile(infohash, file.index, file.lengthBytes)) continue
      this.#options.log.warn({ infohash, fileIndex: file.index }, `what was downloaded of ${file.name} is deleted: the whole of it does not fit into the cache any more`)
      await rm(join(directory, name), { force: true })
    }
  }

  /** The stored files of a torrent that are what the record says of them: their pieces need not be checked again. */
  async #promotedOf (infohash: string): Promise<Map<number, string>> {
    const { directory, stored } = this.#options
    const promoted = new Map<number, string>()
    for (const entry of stored.list()) {
      if (entry.infohash === infohash && await stored.check(entry) !== null) promoted.set(entry.fileIndex, join(directory, entry.path))
    }
    return promoted
  }

  /** Moves a finished file to its name in the download directory and records it. A name that is taken is never replaced. */
  async #promote (store: PieceStore, metadata: Metadata, fileIndex: number): Promise<void> {
    const { directory, stored, log } = this.#options
    const file = metadata.files[fileIndex]
    if (file === undefined || (await stored.find(metadata.infohash, fileIndex)) !== null) return
    log.info({ infohash: metadata.infohash }, '[Hybrid] Step 5: Adding to cache...')
    const name = storedFileName(metadata.infohash, file, metadata)
    const path = await this.#freeName(name)
    const from = store.layout.files.find(([index]) => index === fileIndex)?.[1]
    if (from === undefined) throw new CodedError('STORE_FAILED', `file ${fileIndex} is finished and has no place`)
    const move = () => store.promote(fileIndex, join(directory, path))
    await stored.place({ infohash: metadata.infohash, fileIndex, path, lengthBytes: file.lengthBytes, name: file.name, isDefault: selectFile(metadata, null).index === fileIndex }, from, move)
    log.info({ infohash: metadata.infohash, path }, `stored ${file.name} (${formatBytes(file.lengthBytes)})`)
  }

  async #freeName (name: string): Promise<string> {
    const { name: stem, ext } = parse(name)
    for (let i = 0; i < 1000; i++) {
      const candidate = i === 0 ? name : `${stem} [${i}]${ext}`
      const isTaken = await lstat(join(this.#options.directory, candidate)).then(() => true, () => false)
      if (!isTaken) return candidate
    }
    throw new CodedError('STORE_FAILED', `every name like ${name} is taken in ${this.#options.directory}`)
  }

  async #readMetadata (infohash: string): Promise<Metadata | null> {
    const path = this.#metadataPath(infohash)
    try {
      return parseMetadata(await readFile(path), infohash)
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
      this.#options.log.warn({ infohash, path, err: error }, 'kept metadata cannot be used, it is looked up again')
      return null
    }
  }

  async #keepMetadata (metadata: Metadata): Promise<void> {
    const { infohash, torrent } = metadata
    const path = this.#metadataPath(infohash)
    const isKnown = this.#metadata.get(infohash) === metadata
    this.#metadata.set(infohash, metadata)
    if (isKnown && await lstat(path).then(({ size }) => size === torrent.length, () => false)) return
    try {
      const isKept = await this.#room.keepMetadata(infohash, torrent.length, async () => { await writeFileAtomically(path, torrent) })
      if (!isKept) this.#options.log.info({ infohash, lengthBytes: torrent.length }, 'the metadata of a torrent does not fit into the cache, it is not kept')
    } catch (error) {
      // Without it the next start looks it up anew: no reason not to play.
      if (!isNoSpace(error)) throw error
      this.#options.log.warn({ infohash, err: error }, 'the disk is full: the metadata of a torrent is not kept')
    }
  }

  #metadataPath (infohash: string): string {
    return join(this.#options.directory, stateFolder, 'torrents', `${infohash}.torrent`)
  }

  #partialDirectory (infohash: string): string {
    return join(this.#options.directory, stateFolder, 'partial', infohash)
  }
}

function isSeeding ({ fillers }: Torrent): boolean {
  return fillers.some((filler) => filler.isSeeding === true)
}

/** Was it let go, and not deleted? */
function beginsAnew ({ closing }: Torrent): boolean {
  return closing.aborted && asCoded(closing.reason, 'STORE_CLOSED').code !== 'DELETED'
}

function letGo ({ infohash }: Torrent): CodedError {
  return new CodedError('STORE_CLOSED', `torrent ${infohash} was let go`)
}
