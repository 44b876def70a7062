import { lstat, readFile, rm } from 'node:fs/promises'
import { join, parse } from 'node:path'
import { stateFolder } from '../cache/stored-files.ts'
import { CodedError } from '../errors.ts'
import { PieceStore } from '../pieces/piece-store.ts'
import { formatBytes } from '../format.ts'
import { writeFileAtomically } from '../write-file.ts'
import { selectFile } from './file-selection.ts'
import { parseMetadata } from './metadata.ts'
import { storedFileName } from './safe-file-name.ts'
import { Torrent } from './torrent.ts'
import type { StoredFiles } from '../cache/stored-files.ts'
import type { Log } from '../log.ts'
import type { Hints } from './torrent.ts'
import type { Metadata } from './metadata.ts'

export interface TorrentsOptions {
  /** The download directory: finished files go here, everything else below `.self-streme`. */
  readonly directory: string
  readonly stored: StoredFiles
  /** A torrent that nobody needs lives on so long. */
  readonly lingerMs: number
  /** So many run at once. */
  readonly maxTorrents: number
  readonly log: Log
}

/** A claim on a torrent: while one is held it stays open. Releasing twice does nothing more. */
export interface Lease {
  readonly torrent: Torrent
  release (): void
}

interface Entry {
  readonly torrent: Torrent
  leases: number
  idleSince: number
  linger: NodeJS.Timeout | undefined
}

/** Parsed metadata kept in memory: a cache lookup must not parse a `.torrent` each time. */
const METADATA_LIMIT = 100

/** The torrents that run, at most `maxTorrents`; keeps their metadata and puts what is finished into the cache. */
export class Torrents {
  readonly #entries = new Map<string, Entry>()
  readonly #closing = new Map<string, Promise<void>>()
  readonly #metadata = new Map<string, Metadata | null>()
  readonly #hints = new Map<string, Hints>()
  readonly #options: TorrentsOptions
  #isClosed = false

  constructor (options: TorrentsOptions) {
    this.#options = options
  }

  /** The running torrents. */
  list (): Torrent[] {
    return [...this.#entries.values()].map(({ torrent }) => torrent)
  }

  get (infohash: string): Torrent | null {
    return this.#entries.get(infohash)?.torrent ?? null
  }

  /** Remembers what may help to find this torrent, for whenever it starts. */
  remember (infohash: string, hints: Hints): void {
    this.#hints.set(infohash, hints)
    this.get(infohash)?.addHints(hints)
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
      entry = { torrent: this.#create(infohash), leases: 0, idleSince: 0, linger: undefined }
      entry.torrent.addHints(this.#hints.get(infohash) ?? {})
      this.#entries.set(infohash, entry)
    }
    entry.torrent.addHints(hints)
    return this.#lease(entry)
  }

  /** Metadata of a torrent that runs or is kept on disk; null when there is none. Never touches the network. */
  async knownMetadata (infohash: string): Promise<Metadata | null> {
    const running = this.get(infohash)?.metadata
    if (running != null) return running
    const known = this.#metadata.get(infohash)
    if (known !== undefined) return known
    const metadata = await this.#readMetadata(infohash)
    this.#metadata.set(infohash, metadata)
    const [oldest] = this.#metadata.keys()
    if (oldest !== undefined && this.#metadata.size > METADATA_LIMIT) this.#metadata.delete(oldest)
    return metadata
  }

  /** Lets a torrent go at once: its readers get STORE_CLOSED; with `deleteFiles` everything the server stored of it goes too. */
  async remove (infohash: string, { deleteFiles }: { deleteFiles: boolean }): Promise<void> {
    const entry = this.#entries.get(infohash)
    if (entry !== undefined) this.#close(entry)
    await this.#closing.get(infohash)
    if (!deleteFiles) return
    for (const { path } of this.#options.stored.list().filter((stored) => stored.infohash === infohash)) {
      await rm(join(this.#options.directory, path), { force: true })
    }
    await this.#options.stored.remove(infohash)
    await rm(this.#partialDirectory(infohash), { recursive: true, force: true })
    await rm(this.#metadataPath(infohash), { force: true })
    this.#metadata.delete(infohash)
  }

  /** Closes all torrents; their bits are on disk afterwards. */
  async close (): Promise<void> {
    this.#isClosed = true
    for (const entry of this.#entries.values()) this.#close(entry)
    await Promise.all(this.#closing.values())
  }

  #lease (entry: Entry): Lease {
    clearTimeout(entry.linger)
    entry.leases++
    let isReleased = false
    return {
      torrent: entry.torrent,
      release: () => {
        if (isReleased) return
        isReleased = true
        entry.leases--
        if (entry.leases > 0) return
        entry.idleSince = performance.now()
        entry.linger = setTimeout(() => { this.#close(entry) }, this.#options.lingerMs)
        entry.linger.unref()
      }
    }
  }

  #makeRoom (): void {
    if (this.#entries.size < this.#options.maxTorrents) return
    const idle = [...this.#entries.values()].filter(({ leases }) => leases === 0).sort((a, b) => a.idleSince - b.idleSince)[0]
    if (idle === undefined) {
      throw new CodedError('TOO_MANY_TORRENTS', `${this.#entries.size} torrents are being streamed or downloaded, more than MAX_TORRENTS allows`)
    }
    this.#close(idle)
  }

  #close (entry: Entry): void {
    const { torrent } = entry
    if (this.#entries.get(torrent.infohash) !== entry) return
    clearTimeout(entry.linger)
    this.#entries.delete(torrent.infohash)
    const closed = torrent.close().catch((error: unknown) => {
      this.#options.log.error({ infohash: torrent.infohash, err: error }, 'torrent did not close cleanly')
    }).finally(() => {
      if (this.#closing.get(torrent.infohash) === closed) this.#closing.delete(torrent.infohash)
    })
    this.#closing.set(torrent.infohash, closed)
  }

  #create (infohash: string): Torrent {
    const before = this.#closing.get(infohash) ?? Promise.resolve()
    return new Torrent({
      infohash,
      loadMetadata: async () => {
        await before
        return await this.knownMetadata(infohash)
      },
      openStore: async (metadata) => {
        await before
        await this.#keepMetadata(metadata)
        const promoted = await this.#promotedOf(infohash)
        const store = await PieceStore.open({ metadata, directory: this.#partialDirectory(infohash), promoted, log: this.#options.log })
        store.on('finished', (fileIndex) => {
          this.#promote(store, metadata, fileIndex).catch((error: unknown) => {
            this.#options.log.error({ infohash, fileIndex, err: error }, 'finished file could not be moved into the cache; it stays with the unfinished ones')
          })
        })
        return store
      }
    })
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
    this.#metadata.set(metadata.infohash, metadata)
    await writeFileAtomically(this.#metadataPath(metadata.infohash), metadata.torrent)
  }

  #metadataPath (infohash: string): string {
    return join(this.#options.directory, stateFolder, 'torrents', `${infohash}.torrent`)
  }

  #partialDirectory (infohash: string): string {
    return join(this.#options.directory, stateFolder, 'partial', infohash)
  }
}
