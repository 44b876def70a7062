import { createHash } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { lstat, mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { CodedError, asCoded } from '../errors.ts'
import { silent } from '../log.ts'
import type { Log } from '../log.ts'
import type { Metadata, TorrentFile } from '../torrent/metadata.ts'
import { Completion } from './completion.ts'
import { Geometry } from './geometry.ts'
import type { PieceIndex } from './geometry.ts'
import { PieceFiles, edgePath, isMissing, syncDirectory, writeFully } from './piece-files.ts'
import type { Layout } from './piece-files.ts'
import { PieceWaiters } from './piece-waiters.ts'
import { completionPath, findFiles, matchWithDisk, partPath } from './recovery.ts'

const saveIntervalMs = 1000
const retryIntervalMs = 5000
const hashSliceBytes = 1 << 20

/** Counts over all stores of the process: a layout is newer than those of a store that was closed before, too. */
let lastVersion = 0

export interface PieceStoreOptions {
  readonly metadata: Metadata
  /** The store's own directory, `…/partial/{infohash}`. */
  readonly directory: string
  /** Files of this torrent that were promoted before, and where they are. Their records vouch for their bytes. */
  readonly promoted?: ReadonlyMap<number, string>
  readonly log?: Log
}

/**
 * The verified pieces of one torrent on disk, growing while they are read. STATE.md has a piece's states, and who may
 * do what in which order.
 *
 * Events: `verified` when a piece can be read; `dropped` when one that a filler believes to be here is not (any more);
 * `layout` when files were added or moved; `finished` once for a file that is wanted, whole and on the disk.
 */
export class PieceStore extends EventEmitter<{ verified: [piece: PieceIndex], dropped: [piece: PieceIndex], layout: [layout: Layout], finished: [fileIndex: number] }> {
  readonly metadata: Metadata
  readonly geometry: Geometry
  readonly directory: string
  readonly #log: Log
  readonly #completion: Completion
  readonly #files: PieceFiles
  readonly #waiters = new PieceWaiters()
  /** Verified bytes of each file. */
  readonly #verifiedBytes: Float64Array
  /** The layout version that brought each wanted file. */
  readonly #wantedSince = new Map<number, number>()
  /** Verified, and not yet in the bitmap on disk. */
  readonly #dirty = new Set<PieceIndex>()
  /** Dirty, and written anew before the next sync. */
  readonly #suspect = new Set<PieceIndex>()
  /** Whole, but 'finished' is not said yet: that waits for the disk. */
  readonly #finishing = new Set<number>()
  /** Those that 'finished' was said of, and those that came promoted. */
  readonly #finished = new Set<number>()
  /** What changes the layout, or depends on its staying as it is, goes one after the other. */
  #turn: Promise<unknown> = Promise.resolve()
  #saving: Promise<void> = Promise.resolve()
  #nextSave: Promise<void> | null = null
  #saveTimer: NodeJS.Timeout | null = null
  #closing: Promise<void> | null = null

  private constructor (metadata: Metadata, geometry: Geometry, directory: string, completion: Completion, files: PieceFiles, log: Log) {
    super()
    // One listener for each filler and each stream of events of a client.
    this.setMaxListeners(0)
    this.metadata = metadata
    this.geometry = geometry
    this.directory = directory
    this.#completion = completion
    this.#files = files
    this.#log = log
    this.#verifiedBytes = new Float64Array(metadata.files.length)
    for (const [fileIndex] of files.layout.files) this.#wantedSince.set(fileIndex, files.layout.version)
    for (const piece of verifiedPieces(completion, geometry)) this.#count(piece, 1)
  }

  /**
   * Opens the torrent's store, or makes an empty one. Bits are believed only where their bytes can be: a piece with a
   * data file that is missing or of another length is not verified any more. Throws STORE_FAILED.
   */
  static async open ({ metadata, directory, promoted = new Map(), log = silent }: PieceStoreOptions): Promise<PieceStore> {
    const geometry = new Geometry(metadata)
    const edgeDirectory = join(directory, 'edges')
    try {
      await mkdir(edgeDirectory, { recursive: true })
      const files = await findFiles(metadata, directory, promoted)
      const completion = await Completion.load(completionPath(directory), metadata) ?? new Completion(metadata)
      const layout: Layout = { version: ++lastVersion, edgeDirectory, files: [...files].sort(([a], [b]) => a - b) }
      const isPadding = (fileIndex: number) => metadata.files[fileIndex]?.isPadding === true
      const isPromoted = (fileIndex: number) => promoted.has(fileIndex) && files.has(fileIndex)
      const pieceFiles = new PieceFiles(geometry, layout, isPadding)
      const claimed = completion.bitfield()
      await matchWithDisk(completion, geometry, pieceFiles, fileIndex => isPromoted(fileIndex) || isPadding(fileIndex))
      // On the disk before a new file appears in the place of a lost one: else its holes would be believed after a crash.
      if (!completion.bitfield().every((byte, index) => byte === claimed[index])) await completion.save(completionPath(directory))
      const store = new PieceStore(metadata, geometry, directory, completion, pieceFiles, log)
      for (const fileIndex of files.keys()) if (isPromoted(fileIndex)) store.#finished.add(fileIndex)
      return store
    } catch (error) {
      throw asCoded(error, 'STORE_FAILED')
    }
  }

  get layout (): Layout {
    return this.#files.layout
  }

  /** How many pieces are verified; it grows with each 'verified'. */
  get verifiedCount (): number {
    return this.#completion.count
  }

  /** What is held right now, for tests and for /metrics. */
  counters (): { waiters: number, openFiles: number, dirtyPieces: number } {
    return { waiters: this.#waiters.size, openFiles: this.#files.openFiles, dirtyPieces: this.#dirty.size }
  }

  has (piece: PieceIndex): boolean {
    return this.#completion.has(piece)
  }

  /** A copy of the verified pieces' bits, in the order of BEP 3. */
  bitfield (): Uint8Array {
    return this.#completion.bitfield()
  }

  /** How many bytes of the file lie in verified pieces. */
  verifiedBytesOf (fileIndex: number): number {
    return this.#verifiedBytes[fileIndex] ?? 0
  }

  /** Is the file wanted, and each of its bytes verified? */
  isFinished (fileIndex: number): boolean {
    return this.#wantedSince.has(fileIndex) && this.#verifiedBytes[fileIndex] === this.metadata.files[fileIndex]?.lengthBytes
  }

  /** How many bytes from `offset` of the file on lie in verified pieces without a gap; not counted beyond `limit`. */
  contiguousBytesFrom (fileIndex: number, offset: number, limit = Infinity): number {
    const range = this.geometry.rangeOfFile(fileIndex)
    if (range === null || offset < 0 || range.start + offset > range.end) return 0
    const start = range.start + offset
    const end = Math.min(range.end + 1, start + limit)
    let position = start
    while (position < end) {
      const piece = this.geometry.pieceAt(position)
      if (!this.has(piece)) break
      position = this.geometry.offsetOf(piece) + this.geometry.lengthOf(piece)
    }
    return Math.min(position, end) - start
  }

  /** Bytes of a wanted file. The caller has made sure that their pieces are verified. Throws STORE_FAILED, STORE_CLOSED. */
  readFile (fileIndex: number, offset: number, length: number): Promise<Buffer> {
    return this.#files.readFile(fileIndex, offset, length)
  }

  /** Bytes of a verified piece, wherever it lies. Throws STORE_FAILED, STORE_CLOSED. */
  readPiece (piece: PieceIndex, offset: number, length: number): Promise<Buffer> {
    return this.#files.readPiece(piece, offset, length)
  }

  /**
   * Makes room for the file: a sparse file of its full length, with what is verified of it already. Asked again, or by
   * several at a time, it is done once, and asking again waits for nothing. Throws FILE_INDEX for a file that the torrent has not (or that is padding),
   * STORE_FAILED, STORE_CLOSED.
   */
  async want (fileIndex: number): Promise<void> {
    this.#checkOpen()
    const file = this.metadata.files[fileIndex]
    if (file === undefined || file.isPadding) throw new CodedError('FILE_INDEX', `file ${fileIndex} is not one of the torrent's files`)
    if (!this.#wantedSince.has(fileIndex)) await this.#inTurn(() => this.#add(file))
    this.#lookIfFinished(fileIndex)
  }

  /**
   * Takes a whole piece from a filler. false: its bytes are not those of the torrent, nothing was written. The bytes
   * must not change until this has resolved. Throws STORE_FAILED, STORE_CLOSED.
   */
  async write (piece: PieceIndex, bytes: Uint8Array): Promise<boolean> {
    this.#checkOpen()
    if (this.has(piece)) return true
    if (!await this.#isRight(piece, bytes)) return false
    return await this.markVerified(piece, await this.#files.writePiece(piece, bytes))
  }

  /**
   * Takes note of a piece that was checked and written into the store's files, under the layout of this version.
   * Resolves with whether it is verified now: false, and 'dropped', where a file was added since and the piece has no
   * edge file to fill it from. Throws STORE_FAILED, STORE_CLOSED.
   */
  async markVerified (piece: PieceIndex, layoutVersion: number): Promise<boolean> {
    this.#checkOpen()
    if (layoutVersion === this.layout.version && (this.has(piece) || !this.#files.isEdge(piece))) {
      this.#mark(piece)
      return true
    }
    return await this.#inTurn(async () => {
      if (!this.has(piece) && layoutVersion < this.layout.version && !await this.#fold(piece, layoutVersion)) {
        this.#log.warn({ infohash: this.metadata.infohash, piece }, 'a piece that was written under an old layout cannot be used')
        this.emit('dropped', piece)
        return false
      }
      this.#mark(piece)
      if (layoutVersion < this.layout.version) await this.#removeNeedlessEdge(piece)
      return true
    })
  }

  /** Resolves when the piece can be read, at once when it can already. Rejects with the signal's reason, or STORE_CLOSED. */
  async waitFor (piece: PieceIndex, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    this.#checkOpen()
    if (!this.has(piece)) await this.#waiters.wait(piece, signal)
  }

  /** Brings what is verified to the disk: the bytes, then the bits. Throws STORE_FAILED; the store tries again by itself. */
  flush (): Promise<void> {
    // One that has not begun yet covers everything that is verified now.
    this.#nextSave ??= this.#saving.catch(() => { /* it was told to whoever asked for it */ }).then(() => {
      this.#nextSave = null
      return this.#save()
    })
    this.#saving = this.#nextSave
    return this.#saving
  }

  /**
   * Moves a finished file to its final path, in the same file system; reads go on meanwhile. A file that is at `path`
   * already is replaced only if told. Throws STORE_FAILED, STORE_CLOSED.
   */
  async promote (fileIndex: number, path: string, { replace = false } = {}): Promise<void> {
    this.#checkOpen()
    // Gigabytes may have to reach the disk: others have their turn meanwhile.
    await this.flush()
    await this.#inTurn(async () => {
      const from = new Map(this.layout.files).get(fileIndex)
      if (from === undefined || !this.isFinished(fileIndex)) throw new CodedError('STORE_FAILED', `file ${fileIndex} is not finished`)
      if (from === path) return
      try {
        if (!replace && await exists(path)) throw new CodedError('STORE_FAILED', `${path} exists already`)
        await this.#files.whileOpen(fileIndex, async handle => {
          await handle.sync()
          await rename(from, path)
          this.#setLayout(this.layout.files.map(([index, old]) => [index, index === fileIndex ? path : old]))
        })
        await syncDirectory(dirname(path))
        await syncDirectory(dirname(from))
      } catch (error) {
        throw asCoded(error, 'STORE_FAILED')
      }
    })
  }

  /** Sends away who waits, ends what is under way, brings all to the disk. What could not be saved is fetched again. */
  close (): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Closes the store and removes its directory. Promoted files stay. */
  async destroy (): Promise<void> {
    await this.close()
    await rm(this.directory, { recursive: true, force: true })
  }

  async #close (): Promise<void> {
    this.#waiters.rejectAll(closed())
    if (this.#saveTimer !== null) clearTimeout(this.#saveTimer)
    await this.#turn.catch(() => { /* it was told to whoever asked for it */ })
    await this.flush().catch(error => {
      // Bits that are not on the disk cost a second download, not a wrong byte.
      this.#log.warn({ infohash: this.metadata.infohash, pieces: this.#dirty.size, err: error }, 'verified pieces could not be saved')
    })
    await this.#files.close()
  }

  #checkOpen (): void {
    if (this.#closing !== null) throw closed()
  }

  #inTurn<T> (work: () => Promise<T>): Promise<T> {
    const result = this.#turn.catch(() => { /* it was told to whoever asked for it */ }).then(() => {
      this.#checkOpen()
      return work()
    })
    this.#turn = result
    return result
  }

  #setLayout (files: Layout['files']): void {
    const layout: Layout = { version: ++lastVersion, edgeDirectory: this.layout.edgeDirectory, files }
    for (const [fileIndex] of files) if (!this.#wantedSince.has(fileIndex)) this.#wantedSince.set(fileIndex, layout.version)
    this.#files.setLayout(layout)
    this.emit('layout', layout)
  }

  async #add (file: TorrentFile): Promise<void> {
    if (this.#wantedSince.has(file.index)) return
    const path = partPath(this.directory, file.index)
    const pieces = [...this.#piecesOf(file.index)].filter(piece => this.has(piece))
    try {
      await this.#createPart(path, file, pieces)
    } catch (error) {
      throw asCoded(error, 'STORE_FAILED')
    }
    this.#setLayout([...this.layout.files, [file.index, path] as const].sort(([a], [b]) => a - b))
    for (const piece of pieces) await this.#removeNeedlessEdge(piece)
  }

  /** The name appears with the full length and everything that was verified before: a crash leaves that, or no file. */
  async #createPart (path: string, file: TorrentFile, pieces: readonly PieceIndex[]): Promise<void> {
    const temporary = `${path}.tmp`
    try {
      const handle = await open(temporary, 'w')
      try {
        await handle.truncate(file.lengthBytes)
        for (const piece of pieces) {
          const span = this.geometry.spansOf(piece).find(span => span.fileIndex === file.index)
          if (span === undefined) continue
          await writeFully(handle, await this.#files.readPiece(piece, span.pieceOffset, span.length), span.fileOffset)
        }
        await handle.sync()
      } finally {
        await handle.close()
      }
      await rename(temporary, path)
    } catch (error) {
      await rm(temporary, { force: true })
      throw error
    }
    await syncDirectory(this.directory)
  }

  /**
   * Fills the files that were added since a piece was written, from its edge file: whoever wrote it knew nothing of
   * them. false when that is not possible.
   */
  async #fold (piece: PieceIndex, layoutVersion: number): Promise<boolean> {
    const added = this.geometry.spansOf(piece).filter(({ fileIndex }) => (this.#wantedSince.get(fileIndex) ?? 0) > layoutVersion)
    if (added.length === 0) return true
    let bytes: Buffer
    try {
      bytes = await readFile(edgePath(this.layout, piece))
    } catch (error) {
      if (isMissing(error)) return false
      throw asCoded(error, 'STORE_FAILED')
    }
    if (!await this.#isRight(piece, bytes)) return false
    for (const span of added) await this.#files.writeSpan(span, bytes)
    return true
  }

  async #removeNeedlessEdge (piece: PieceIndex): Promise<void> {
    if (!this.#files.isEdge(piece)) await rm(edgePath(this.layout, piece), { force: true })
  }

  /** In slices with turns between: a piece of 32 MiB would hold up every stream for tens of milliseconds. */
  async #isRight (piece: PieceIndex, bytes: Uint8Array): Promise<boolean> {
    if (bytes.length !== this.geometry.lengthOf(piece)) return false
    const hash = createHash('sha1')
    for (let offset = 0; offset < bytes.length; offset += hashSliceBytes) {
      if (offset > 0) await nextTurn()
      hash.update(bytes.subarray(offset, offset + hashSliceBytes))
    }
    return hash.digest().equals(this.metadata.hashOf(piece))
  }

  /** The bytes are where they can be read: from here on they may be. */
  #mark (piece: PieceIndex): void {
    if (!this.#completion.add(piece)) return
    this.#files.noteWritten(piece)
    this.#dirty.add(piece)
    this.#count(piece, 1)
    this.#saveLater(saveIntervalMs)
    this.#waiters.wake(piece)
    this.emit('verified', piece)
    for (const { fileIndex } of this.geometry.spansOf(piece)) this.#lookIfFinished(fileIndex)
  }

  /** A piece that was verified turned out not to be on the disk. Its bit was never saved: only dirty pieces come here. */
  #drop (piece: PieceIndex): void {
    if (!this.#completion.remove(piece)) return
    this.#dirty.delete(piece)
    this.#suspect.delete(piece)
    this.#count(piece, -1)
    for (const { fileIndex } of this.geometry.spansOf(piece)) this.#finishing.delete(fileIndex)
    this.emit('dropped', piece)
  }

  #count (piece: PieceIndex, sign: 1 | -1): void {
    for (const { fileIndex, length } of this.geometry.spansOf(piece)) {
      this.#verifiedBytes[fileIndex] = this.verifiedBytesOf(fileIndex) + sign * length
    }
  }

  #lookIfFinished (fileIndex: number): void {
    if (!this.isFinished(fileIndex) || this.#finished.has(fileIndex) || this.#finishing.has(fileIndex)) return
    this.#finishing.add(fileIndex)
    this.#saveLater(0)
  }

  /** Sees to it that a save begins within this time, or that the one that waits already does. */
  #saveLater (delayMs: number): void {
    if (this.#closing !== null) return
    if (this.#saveTimer !== null) {
      if (delayMs > 0) return
      clearTimeout(this.#saveTimer)
    }
    this.#saveTimer = setTimeout(() => {
      this.flush().catch(error => {
        this.#log.warn({ infohash: this.metadata.infohash, pieces: this.#dirty.size, err: error }, 'verified pieces could not be saved yet')
      })
    }, delayMs)
  }

  async #save (): Promise<void> {
    if (this.#saveTimer !== null) clearTimeout(this.#saveTimer)
    this.#saveTimer = null
    if (this.#dirty.size === 0 && this.#finishing.size === 0) return
    const finishing = [...this.#finishing]
    let pieces: PieceIndex[] = []
    try {
      await this.#rewriteSuspects()
      // Bits of this moment, then the bytes, then these bits: what is verified meanwhile waits for the next time.
      pieces = [...this.#dirty]
      const completion = this.#completion.copy()
      this.#dirty.clear()
      await this.#sync(pieces)
      await completion.save(completionPath(this.directory))
    } catch (error) {
      for (const piece of pieces) this.#dirty.add(piece)
      this.#saveLater(retryIntervalMs)
      throw asCoded(error, 'STORE_FAILED')
    }
    if (this.#closing !== null) return
    for (const fileIndex of finishing) {
      if (!this.#finishing.delete(fileIndex)) continue
      this.#finished.add(fileIndex)
      this.emit('finished', fileIndex)
    }
  }

  async #sync (pieces: readonly PieceIndex[]): Promise<void> {
    try {
      await this.#files.sync()
    } catch (error) {
      for (const piece of pieces) this.#suspect.add(piece)
      throw error
    }
  }

  /**
   * After a failed sync the system may have given up what it could not write, and the next sync would succeed without
   * it: such pieces are written once more before they are counted as saved.
   */
  async #rewriteSuspects (): Promise<void> {
    for (const piece of [...this.#suspect]) {
      const bytes = await this.#files.readPiece(piece, 0, this.geometry.lengthOf(piece))
      if (await this.#isRight(piece, bytes)) await this.#files.writePiece(piece, bytes)
      else this.#drop(piece)
      this.#suspect.delete(piece)
    }
  }

  * #piecesOf (fileIndex: number): Generator<PieceIndex> {
    const range = this.geometry.rangeOfFile(fileIndex)
    if (range === null) return
    const { first, last } = this.geometry.piecesOf(range)
    for (let index: number = first; index <= last; index++) yield this.geometry.piece(index)
  }
}

function closed (): CodedError {
  return new CodedError('STORE_CLOSED', 'the store was closed')
}

async function exists (path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}

function * verifiedPieces (completion: Completion, geometry: Geometry): Generator<PieceIndex> {
  for (let index = 0; index < geometry.pieceCount; index++) {
    const piece = geometry.piece(index)
    if (completion.has(piece)) yield piece
  }
}
