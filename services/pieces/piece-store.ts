import { createHash } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { lstat, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import { CodedError, asCoded } from '../errors.ts'
import { silent } from '../log.ts'
import type { Log } from '../log.ts'
import type { Metadata, TorrentFile } from '../torrent/metadata.ts'
import { makeFolder } from '../write-file.ts'
import { Claims } from './claims.ts'
import { noteCleanEnd } from './clean-end.ts'
import type { Completion } from './completion.ts'
import { DiskPressure } from './disk-pressure.ts'
import { Geometry } from './geometry.ts'
import type { PieceIndex } from './geometry.ts'
import { InFlight } from './in-flight.ts'
import { isPieceRight } from './piece-check.ts'
import { PieceChecker } from './piece-checker.ts'
import { edgePath, isMissing, isNoSpace, PieceFiles, syncDirectory, writeFully } from './piece-files.ts'
import type { Layout } from './piece-files.ts'
import { PieceSaver } from './piece-saver.ts'
import { PieceWaiters } from './piece-waiters.ts'
import { completionPath, partPath, recover } from './recovery.ts'
import type { Recovered } from './recovery.ts'
import { unlimitedRoom } from './room.ts'
import type { Room } from './room.ts'
import { Windows } from './windows.ts'
import type { Seat } from './windows.ts'

const hashSliceBytes = 1 << 20
/** Of pieces in memory, while the disk takes none: so much, or two pieces if that is more. */
const memoryBytes = 8 << 20
const makeRoomTries = 3
/** So long a promotion waits for another process that may still write into the file. */
const writersMs = 5000

/** Counts over all stores of the process: a layout is newer than those of a store that was closed before, too. */
let lastVersion = 0

export interface PieceStoreOptions {
  readonly metadata: Metadata
  /** The store's own directory, `…/partial/{infohash}`. */
  readonly directory: string
  /** Files of this torrent that were promoted before, and where they are. Their records vouch for their bytes. */
  readonly promoted?: ReadonlyMap<number, string>
  /** What the store may take of the disk; by default, all. */
  readonly room?: Room
  readonly log?: Log
  /** How long a window outlives its reader, and how long it waits for a client that takes nothing. */
  readonly windowTimes?: { readonly lingerMs?: number, readonly idleMs?: number }
  /** So long after the opening begins the checking of pieces that nobody waits for. Default: a second. */
  readonly checkDelayMs?: number
}

/**
 * The verified pieces of one torrent on disk, growing while they are read. STATE.md has a piece's states, and who may
 * do what in which order.
 *
 * Events: `verified` when a piece can be read; `dropped` when one that a filler believes to be here is not (any more);
 * `layout` when files were added or moved; `finished` once for a file that is wanted, whole and on the disk;
 * `changed` when a promoted file turns out to be another one, or written to.
 */
export class PieceStore extends EventEmitter<{ verified: [piece: PieceIndex], dropped: [piece: PieceIndex], layout: [layout: Layout], finished: [fileIndex: number], changed: [fileIndex: number] }> {
  readonly metadata: Metadata
  readonly geometry: Geometry
  readonly directory: string
  /**
   * Others that write into the files. Each resolves when it knows the layout of now, and no write that knew another one is
   * under way; where it does not, a promotion waits a few seconds for it.
   */
  readonly writers = new Set<() => Promise<void>>()
  /** Who fetches what, so that no piece is fetched twice. */
  readonly inFlight = new InFlight()
  readonly #log: Log
  readonly #completion: Completion
  readonly #claims: Claims
  readonly #checker: PieceChecker
  readonly #files: PieceFiles
  readonly #waiters = new PieceWaiters()
  /** Verified bytes of each file. */
  readonly #verifiedBytes: Float64Array
  /** The layout version that brought each wanted file. */
  readonly #wantedSince = new Map<number, number>()
  readonly #saver: PieceSaver
  readonly #pressure = new DiskPressure()
  #checkedPieces = 0
  /** Those that 'finished' was said of, and those that came promoted. */
  readonly #finished = new Set<number>()
  readonly #room: Room
  /** Questions to the room that are not answered yet. */
  readonly #asked = new Map<number, Promise<boolean>>()
  /** The wanted files whose length the room was asked for. */
  readonly #taken = new Set<number>()
  /** Files that were asked for and do not fit the disk: they are there in windows around their readers. */
  readonly #windowed = new Set<number>()
  readonly #windows: Windows
  /** Verified, but not for good: loose pieces, and those in memory. They have no bit on disk. */
  readonly #passing = new Set<PieceIndex>()
  /** Pieces that the disk had no room for. */
  readonly #memory = new Map<PieceIndex, Buffer>()
  /** Edge files that are being removed; 'dropped' is said when they are gone. */
  readonly #leaving = new Map<PieceIndex, Promise<void>>()
  /** false: the disk was so full that not even the store's folder could be made. */
  #hasFolder = true
  #arrivedCount = 0
  /** What changes the layout, or depends on its staying as it is, goes one after the other. */
  #turn: Promise<unknown> = Promise.resolve()
  #closing: Promise<void> | null = null

  private constructor ({ metadata, directory, room = unlimitedRoom, log = silent, windowTimes, checkDelayMs }: PieceStoreOptions, geometry: Geometry, { completion, unchecked, isChanged }: Recovered, claims: Claims, files: PieceFiles) {
    super()
    // One listener for each filler and each stream of events of a client.
    this.setMaxListeners(0)
    this.metadata = metadata
    this.geometry = geometry
    this.directory = directory
    this.#completion = completion
    this.#claims = claims
    this.#files = files
    this.#log = log
    this.#saver = new PieceSaver({
      hasStaleBits: isChanged,
      bits: () => {
        const bits = completion.copy()
        for (const piece of this.#passing) bits.remove(piece)
        return bits
      },
      sync: async () => { await files.sync() },
      save: async (bits) => { await bits.save(completionPath(directory)) },
      rewrite: async (piece) => { await this.#rewrite(piece) },
      onSaved: (fileIndex) => {
        this.#finished.add(fileIndex)
        this.emit('finished', fileIndex)
      },
      onFailure: async (error) => { if (isNoSpace(error)) await room.makeRoom(geometry.pieceLength) },
      onLate: (error) => { log.warn({ infohash: metadata.infohash, pieces: this.#saver.dirtyCount, err: error }, 'verified pieces could not be saved yet') }
    })
    this.#checker = new PieceChecker({ geometry, pieces: unchecked, check: piece => this.#check(piece), delayMs: checkDelayMs })
    this.#room = room
    this.#windows = new Windows({
      geometry,
      infohash: metadata.infohash,
      room,
      memoryBytes: this.#memoryLimit,
      isDiskFull: () => this.#pressure.isFull,
      letGo: (pieces) => this.#letGo(pieces),
      ...windowTimes
    })
    this.#verifiedBytes = new Float64Array(metadata.files.length)
    for (const [fileIndex] of files.layout.files) this.#wantedSince.set(fileIndex, files.layout.version)
    for (const piece of verifiedPieces(completion, geometry)) this.#count(piece, 1)
  }

  /**
   * Opens the torrent's store, or makes an empty one. After a clean end the saved bits are believed for files that are
   * still the same; everything else that was ever verified is there again as soon as its hash was compared, which
   * begins when somebody waits for it, or by itself. Throws STORE_FAILED.
   */
  static async open (options: PieceStoreOptions): Promise<PieceStore> {
    const { metadata, directory, promoted = new Map() } = options
    const geometry = new Geometry(metadata)
    const edgeDirectory = join(directory, 'edges')
    try {
      const hasFolder = await makeFolder(edgeDirectory).then(() => true, error => {
        // What is read by then goes through memory.
        if (isNoSpace(error)) return false
        throw error
      })
      const recovered = await recover(metadata, geometry, directory, promoted)
      const { files, completion, unchecked } = recovered
      const layout: Layout = { version: ++lastVersion, edgeDirectory, files: [...files].sort(([a], [b]) => a - b) }
      const pieceFiles = new PieceFiles(geometry, layout, fileIndex => metadata.files[fileIndex]?.isPadding === true)
      const claimed = completion.copy()
      for (const piece of unchecked) claimed.add(piece)
      const claims = await Claims.begin(directory, metadata, claimed, { hasFiles: files.size > 0, isPrecious: unchecked.length > 0 })
      const store = new PieceStore(options, geometry, recovered, claims, pieceFiles)
      store.#hasFolder = hasFolder
      for (const [fileIndex, path] of files) {
        if (promoted.get(fileIndex) !== path) continue
        store.#finished.add(fileIndex)
        store.#taken.add(fileIndex)
        await pieceFiles.whileOpen(fileIndex, async handle => { await pieceFiles.seal(fileIndex, handle) })
      }
      return store
    } catch (error) {
      throw asCoded(error, 'STORE_FAILED')
    }
  }

  get layout (): Layout {
    return this.#files.layout
  }

  /** How many pieces are verified. */
  get verifiedCount (): number {
    return this.#completion.count
  }

  /** How often 'verified' was said, for those who measure progress: unlike verifiedCount it only grows. */
  get arrivedCount (): number {
    return this.#arrivedCount
  }

  /** Does the disk take no more, so that pieces are kept in memory for a moment? */
  get isDiskFull (): boolean {
    return this.#pressure.isFull
  }

  /** Was the file asked for, and does not fit the disk? Then it is there in windows around its readers only, and never finished. */
  isWindowed (fileIndex: number): boolean {
    return this.#windowed.has(fileIndex)
  }

  /** What is held right now, for tests and for /metrics. */
  counters (): { waiters: number, openFiles: number, dirtyPieces: number, seats: number, piecesInMemory: number, uncheckedPieces: number, checkedPieces: number } {
    return {
      waiters: this.#waiters.size,
      openFiles: this.#files.openFiles,
      dirtyPieces: this.#saver.dirtyCount,
      seats: this.#windows.size,
      piecesInMemory: this.#memory.size,
      uncheckedPieces: this.#checker.size,
      checkedPieces: this.#checkedPieces
    }
  }

  has (piece: PieceIndex): boolean {
    return this.#completion.has(piece)
  }

  /**
   * Is the piece on the disk, as far as one knows, and its hash still to be compared? Then 'verified' or 'dropped'
   * follows by itself: nobody needs to fetch it before.
   */
  isUnchecked (piece: PieceIndex): boolean {
    return this.#checker.has(piece)
  }

  get uncheckedCount (): number {
    return this.#checker.size
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
    return this.#wantedSince.has(fileIndex) && this.#verifiedBytes[fileIndex] === this.metadata.files[fileIndex]?.lengthBytes &&
      ![...this.#memory.keys()].some(piece => this.#touches(piece, fileIndex))
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

  /**
   * Bytes of a file. The caller has made sure that their pieces are verified, and that a window keeps them where the file
   * is windowed. Throws STORE_FAILED, STORE_CLOSED, FILE_CHANGED for a promoted
   * file that is not what it was: then nothing that this store says of it is true any more, and 'changed' was emitted.
   */
  async readFile (fileIndex: number, offset: number, length: number): Promise<Buffer> {
    if (length > 0 && (this.#memory.size > 0 || !this.#wantedSince.has(fileIndex))) return await this.#readByPieces(fileIndex, offset, length)
    try {
      return await this.#files.readFile(fileIndex, offset, length)
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== 'FILE_CHANGED') throw error
      // A writer with a stale layout may have written what was there already.
      const bytes = await this.#readCompared(fileIndex, offset, length).catch(() => null)
      if (bytes !== null) return bytes
      this.emit('changed', fileIndex)
      throw error
    }
  }

  /** The bytes of a file that is not to be believed, from whole pieces whose hashes were compared now; null: one is wrong. */
  async #readCompared (fileIndex: number, offset: number, length: number): Promise<Buffer | null> {
    const { start, end } = this.geometry.toTorrent(fileIndex, { start: offset, end: offset + length - 1 })
    const result = Buffer.alloc(length)
    const { first, last } = this.geometry.piecesOf({ start, end })
    for (let index: number = first; index <= last; index++) {
      const piece = this.geometry.piece(index)
      const bytes = await this.readPiece(piece, 0, this.geometry.lengthOf(piece))
      if (!await this.#isRight(piece, bytes)) return null
      const position = this.geometry.offsetOf(piece) - start
      bytes.copy(result, Math.max(0, position), Math.max(0, -position))
    }
    return result
  }

  /** Bytes of a verified piece, wherever it lies. Throws STORE_FAILED, STORE_CLOSED. */
  async readPiece (piece: PieceIndex, offset: number, length: number): Promise<Buffer> {
    return this.#memory.get(piece)?.subarray(offset, offset + length) ?? await this.#files.readPiece(piece, offset, length)
  }

  /**
   * Makes room for the file: a sparse file of its full length, with what is verified of it already; where the room does
   * not allow that, the file is windowed from now on. Asked again, or by several at a time, it is done once, and asking
   * again waits for nothing; but a windowed file that nobody reads is tried again. Throws FILE_INDEX for a file that the
   * torrent has not (or that is padding), STORE_FAILED, STORE_CLOSED.
   */
  async want (fileIndex: number): Promise<void> {
    this.#checkOpen()
    const file = this.metadata.files[fileIndex]
    if (file === undefined || file.isPadding) throw new CodedError('FILE_INDEX', `file ${fileIndex} is not one of the torrent's files`)
    if (!this.#isPlaced(fileIndex)) {
      // Files and windows of this store may have to go for it, so no question to the room takes up the turn.
      const fits = await this.#askRoom(file)
      for (let tries = 0; !await this.#inTurn(() => this.#place(file, fits && tries <= makeRoomTries)); tries++) {
        if (!await this.#room.makeRoom(this.geometry.pieceLength)) tries = makeRoomTries
      }
    }
    this.#lookIfFinished(fileIndex)
  }

  /**
   * Lets a file go that nobody reads: until it is wanted again it is there in windows only. What was downloaded of it is
   * deleted; a promoted file is left to whoever keeps the record of it. Of the pieces that it shares, those stay that a
   * neighbour needs. false: somebody reads it, it is about to be promoted, or the signal aborted before its turn came;
   * true also when it was not wanted at all. Throws STORE_FAILED, STORE_CLOSED.
   */
  async unwant (fileIndex: number, signal: AbortSignal): Promise<boolean> {
    this.#checkOpen()
    return await this.#inTurn(async () => !signal.aborted && await this.#letFileGo(fileIndex))
  }

  /**
   * A seat for a reader of a file that was wanted, which is about to read from this byte of the torrent on: it says what
   * may be asked for, and keeps the window. `isShared`: others that begin at the same place get the same one. Throws
   * NO_ROOM where there is no room for a window now, STORE_CLOSED, the signal's reason; RangeError for an empty file.
   */
  async sit (fileIndex: number, position: number, signal: AbortSignal, choices: { readonly isShared?: boolean } = {}): Promise<Seat> {
    this.#checkOpen()
    return await this.#windows.sit(fileIndex, this.isWindowed(fileIndex), position, signal, choices)
  }

  /**
   * Takes a whole piece from a filler. false: its bytes are not those of the torrent, or no reader needs it where it could
   * only be kept for a reader (a windowed file, a full disk); nothing was written. A full disk is no error: pieces that
   * readers wait for are in memory then. The bytes must not change until this has resolved. Throws STORE_FAILED, STORE_CLOSED.
   */
  async write (piece: PieceIndex, bytes: Uint8Array): Promise<boolean> {
    this.#checkOpen()
    if (this.has(piece)) return await this.#claimed()
    if (!await this.#isRight(piece, bytes)) return false
    this.#checkOpen()
    if (this.has(piece)) return await this.#claimed()
    if (this.#isFleeting(piece) && !this.#windows.keeps(piece)) return false
    if (this.#pressure.isLeftAlone && this.#keepInMemory(piece, bytes)) return true
    const since = performance.now()
    // One that is known to be full was asked for room a moment ago.
    const mostTries = this.#pressure.isLeftAlone ? 0 : makeRoomTries
    for (let tries = 0; ; tries++) {
      const { version } = this.layout
      try {
        await this.#leaving.get(piece)
        await this.#ensureFolder()
        const layoutVersion = await this.#files.writePiece(piece, bytes)
        this.#diskTakes(since)
        return await this.markVerified(piece, layoutVersion)
      } catch (error) {
        if (!isNoSpace(error)) {
          // A file of it was let go meanwhile.
          if (this.layout.version !== version) return await this.write(piece, bytes)
          throw error
        }
        if (tries < mostTries && await this.#room.makeRoom(bytes.length)) continue
        this.#checkOpen()
        this.#diskIsFull(error)
        return this.has(piece) ? await this.#claimed() : this.#keepInMemory(piece, bytes)
      }
    }
  }

  /** As `write`, for a piece whose bytes came from the swarm's process because it could not write them. */
  async takeBytes (piece: PieceIndex, bytes: Uint8Array): Promise<boolean> {
    return await this.write(piece, bytes)
  }

  /**
   * Takes note of a piece that was checked and written into the store's files, under the layout of this version.
   * Resolves with whether it is verified now: false, and 'dropped', where a file was added or let go since and the piece
   * has no edge file, and where it is of a windowed file and no window keeps it. Throws STORE_FAILED, STORE_CLOSED.
   */
  async markVerified (piece: PieceIndex, layoutVersion: number): Promise<boolean> {
    this.#checkOpen()
    if (layoutVersion === this.layout.version && (this.has(piece) || !this.#files.isEdge(piece))) {
      this.#mark(piece)
      return await this.#claimed()
    }
    return await this.#inTurn(async () => {
      if (!this.has(piece) && layoutVersion < this.layout.version && !await this.#fold(piece, layoutVersion)) {
        this.#log.warn({ infohash: this.metadata.infohash, piece }, 'a piece that was written under an old layout cannot be used')
        this.emit('dropped', piece)
        return false
      }
      if (this.#isFleeting(piece) && !await this.#isKept(piece)) return false
      if (layoutVersion < this.layout.version && this.#files.isEdge(piece) && !this.#files.isLoose(piece)) await this.#syncEdge(piece)
      this.#mark(piece)
      await this.#claimed()
      if (layoutVersion < this.layout.version) await this.#removeNeedlessEdge(piece)
      return true
    })
  }

  /** Resolves when the piece can be read, at once when it can already. Rejects with the signal's reason, or STORE_CLOSED. */
  async waitFor (piece: PieceIndex, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    this.#checkOpen()
    if (this.has(piece)) return
    this.#checker.hurry(piece)
    await this.#waiters.wait(piece, signal)
  }

  /** Answers those who wait for a piece that is there, and says how many that were: none, unless something went wrong. */
  wakeReaders (): number {
    const before = this.#waiters.size
    for (const piece of this.#waiters.pieces) if (this.has(piece)) this.#waiters.wake(piece)
    return before - this.#waiters.size
  }

  /** Brings what is verified to the disk: the bytes, then the bits. Throws STORE_FAILED; the store tries again by itself. */
  flush (): Promise<void> {
    return this.#saver.flush()
  }

  /**
   * Moves a finished file to its final path, in the same file system; reads go on meanwhile. A file that is at `path`
   * already is replaced only if told. Resolves when nobody writes into it any more, and its last change is on the disk.
   * Throws STORE_FAILED, STORE_CLOSED.
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
          await this.#files.seal(fileIndex, handle)
        })
        await syncDirectory(dirname(path))
        await syncDirectory(dirname(from))
      } catch (error) {
        throw asCoded(error, 'STORE_FAILED')
      }
    })
    await this.#endWrites(path)
  }

  /** A piece that was verified before may be written once more just now: the same bytes, at another time. */
  async #endWrites (path: string): Promise<void> {
    const ended = Promise.allSettled([this.#files.settled(), ...[...this.writers].map(settle => settle())])
    const stop = new AbortController()
    await Promise.race([ended, pause(writersMs, null, { signal: stop.signal })]).finally(() => stop.abort())
    try {
      const handle = await open(path, 'r+')
      // Not datasync, which may leave the time of the change behind.
      await handle.sync().finally(() => handle.close())
    } catch (error) {
      throw asCoded(error, 'STORE_FAILED')
    }
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
    this.#saver.close()
    await this.#checker.close()
    await this.#turn.catch(() => { /* it was told to whoever asked for it */ })
    await this.#windows.close()
    await this.#letGo(this.#passing, { isKept: () => false })
    await this.flush().catch(error => {
      // Bits that are not on the disk cost a check at the next start, and perhaps a second download, not a wrong byte.
      this.#log.warn({ infohash: this.metadata.infohash, pieces: this.#saver.dirtyCount, err: error }, 'verified pieces could not be saved')
    })
    await this.#files.close()
    await this.#claims.close()
    if (!this.#saver.isSaved || !this.#hasFolder) return
    await noteCleanEnd(this.directory).catch(error => {
      this.#log.warn({ infohash: this.metadata.infohash, err: error }, 'the clean end of a store could not be noted: its pieces will be checked')
    })
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

  /** Is there nothing to do for a file that is wanted once more? */
  #isPlaced (fileIndex: number): boolean {
    return this.#taken.has(fileIndex) || (this.#windowed.has(fileIndex) && this.#windows.isUsed(fileIndex))
  }

  /** Is there room for the file? Several who want it ask once. */
  #askRoom ({ index, lengthBytes }: TorrentFile): Promise<boolean> {
    if (lengthBytes === 0) return Promise.resolve(true)
    const asked = this.#asked.get(index)
    if (asked !== undefined) return asked
    const asking = this.#room.takeFile(this.metadata.infohash, index, lengthBytes).finally(() => { this.#asked.delete(index) })
    this.#asked.set(index, asking)
    return asking
  }

  /** Gives the file its place, on the disk or in windows. false: the disk is full, not even a sparse file can be made. */
  async #place (file: TorrentFile, fits: boolean): Promise<boolean> {
    if (this.#isPlaced(file.index)) return true
    if (this.#wantedSince.has(file.index)) {
      if (!fits) this.#log.warn({ infohash: this.metadata.infohash, fileIndex: file.index }, 'a file that is there in part does not fit the disk budget; it goes on all the same')
      this.#taken.add(file.index)
      return true
    }
    if (fits) {
      try {
        await this.#add(file)
      } catch (error) {
        if (isNoSpace(error)) return false
        throw error
      }
      this.#windowed.delete(file.index)
      this.#taken.add(file.index)
      return true
    }
    if (this.#windowed.has(file.index)) return true
    this.#windowed.add(file.index)
    this.#log.info({ infohash: this.metadata.infohash, fileIndex: file.index, lengthBytes: file.lengthBytes }, 'the file does not fit the disk: it plays from a window around its readers')
    await this.#letGo(this.#piecesOf(file.index))
    return true
  }

  async #letFileGo (fileIndex: number): Promise<boolean> {
    const path = new Map(this.layout.files).get(fileIndex)
    if (path === undefined) return !this.#windows.isClaimed(fileIndex)
    const isPromoted = this.#isPromoted(fileIndex, path)
    if (!this.#taken.has(fileIndex) || (!isPromoted && this.isFinished(fileIndex))) return false
    const staying = new Set<PieceIndex>()
    for (const piece of this.#piecesOf(fileIndex)) {
      if (!this.#isNeededBeside(piece, fileIndex)) continue
      await this.#judge(piece)
      if (this.#memory.has(piece) || (this.has(piece) && await this.#hasEdge(piece))) staying.add(piece)
    }
    // From here to the new layout in one go, so that no reader comes between.
    if (this.#windows.isClaimed(fileIndex)) {
      for (const piece of staying) await this.#removeNeedlessEdge(piece)
      return false
    }
    this.#taken.delete(fileIndex)
    this.#finished.delete(fileIndex)
    this.#files.unseal(fileIndex)
    this.#wantedSince.delete(fileIndex)
    this.#windowed.add(fileIndex)
    for (const piece of this.#piecesOf(fileIndex)) {
      if (staying.has(piece)) continue
      if (this.#checker.has(piece)) this.#reject(piece)
      if (!this.has(piece)) continue
      if (!this.#files.isEdge(piece)) this.#drop(piece)
      else if (!this.#windows.keeps(piece)) this.#discard(piece)
      else this.#becomePassing(piece)
    }
    // Only now: whoever hears of the layout offers none of these pieces any more.
    this.#setLayout(this.layout.files.filter(([index]) => index !== fileIndex))
    this.#saver.later()
    await this.#windows.dismiss(fileIndex)
    await Promise.all(this.#leaving.values())
    try {
      if (!isPromoted) await rm(path, { force: true })
    } catch (error) {
      throw asCoded(error, 'STORE_FAILED')
    }
    return true
  }

  #isPromoted (fileIndex: number, path: string): boolean {
    return path !== partPath(this.directory, fileIndex)
  }

  /** Is there another wanted file in the piece that should not lose it with this one? A promoted one has it by itself. */
  #isNeededBeside (piece: PieceIndex, fileIndex: number): boolean {
    const others = this.geometry.spansOf(piece).filter(span => span.fileIndex !== fileIndex)
    return this.layout.files.some(([index, path]) => others.some(span => span.fileIndex === index) &&
      (this.#files.isEdge(piece) || !this.#isPromoted(index, path) || this.#windows.isUsed(index)))
  }

  /** Makes the edge file of a verified piece, where it has none. false: there is no space for it. */
  async #hasEdge (piece: PieceIndex): Promise<boolean> {
    if (this.#files.isEdge(piece)) return true
    try {
      await this.#files.copyToEdge(piece)
      return true
    } catch (error) {
      if (isNoSpace(error)) return false
      throw error
    }
  }

  /** A piece in a window loses its last wanted file. */
  #becomePassing (piece: PieceIndex): void {
    this.#passing.add(piece)
    this.#saver.forget(piece, { isStale: true })
    this.#claims.set(piece, false)
  }

  async #add (file: TorrentFile): Promise<void> {
    if (this.#wantedSince.has(file.index)) return
    // What is checked later could not be found in its edge file any more.
    for (const piece of this.#piecesOf(file.index)) await this.#judge(piece)
    const path = partPath(this.directory, file.index)
    const pieces = [...this.#piecesOf(file.index)].filter(piece => this.has(piece) && !this.#memory.has(piece))
    // Before the name appears: the next life looks in a new file for what is claimed, pieces that were loose until now too.
    for (const piece of pieces) this.#claims.set(piece, true)
    await this.#claims.ensure()
    try {
      await this.#ensureFolder()
      // Passing pieces come to stay, and the next save takes them along: so all of them is on the disk before the layout.
      for (const piece of pieces) if (this.#passing.has(piece) && this.#files.isEdge(piece, file.index)) await this.#syncEdge(piece)
      await this.#createPart(path, file, pieces)
    } catch (error) {
      throw asCoded(error, 'STORE_FAILED')
    }
    this.#setLayout([...this.layout.files, [file.index, path] as const].sort(([a], [b]) => a - b))
    for (const piece of pieces) if (!this.#memory.has(piece) && this.#passing.delete(piece)) this.#noteDirty(piece)
    for (const piece of pieces) if (this.has(piece)) await this.#removeNeedlessEdge(piece)
  }

  async #ensureFolder (): Promise<void> {
    if (this.#hasFolder) return
    await makeFolder(this.layout.edgeDirectory)
    this.#hasFolder = true
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
          if (span === undefined || !this.has(piece)) continue
          const bytes = await this.#files.readPiece(piece, span.pieceOffset, span.length).catch(error => {
            // The window of a neighbour has moved away from it.
            if (!this.has(piece)) return null
            throw error
          })
          if (bytes !== null) await writeFully(handle, bytes, span.fileOffset)
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
   * them. false when that is not possible, or when its edge file is needed now and was not then.
   */
  async #fold (piece: PieceIndex, layoutVersion: number): Promise<boolean> {
    if (this.#files.isEdge(piece) && !await exists(edgePath(this.layout, piece))) return false
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

  /** Whoever wrote it may have taken the piece for a loose one, and not brought it to the disk. */
  async #syncEdge (piece: PieceIndex): Promise<void> {
    try {
      const handle = await open(edgePath(this.layout, piece), 'r+')
      try {
        await handle.datasync()
      } finally {
        await handle.close()
      }
    } catch (error) {
      // A window has left it behind meanwhile.
      if (isMissing(error) && !this.has(piece)) return
      throw asCoded(error, 'STORE_FAILED')
    }
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
    if (this.#memory.has(piece)) this.#forget(piece)
    if (!this.#completion.add(piece)) return
    if (this.#files.isLoose(piece)) {
      this.#passing.add(piece)
    } else {
      this.#claims.set(piece, true)
      this.#noteDirty(piece)
    }
    this.#arrive(piece)
    for (const { fileIndex } of this.geometry.spansOf(piece)) this.#lookIfFinished(fileIndex)
  }

  #noteDirty (piece: PieceIndex): void {
    this.#files.noteWritten(piece)
    this.#saver.note(piece)
  }

  /** Before a piece is promised to anybody: from now on a kill leaves it. */
  async #claimed (): Promise<true> {
    await this.#claims.settled()
    return true
  }

  #arrive (piece: PieceIndex): void {
    this.#checker.settle(piece)
    this.#count(piece, 1)
    this.#arrivedCount++
    this.#waiters.wake(piece)
    this.emit('verified', piece)
  }

  /** A piece that was verified turned out not to be on the disk. Its bit was never saved: only dirty pieces come here. */
  #drop (piece: PieceIndex): void {
    if (this.#forget(piece)) this.emit('dropped', piece)
  }

  /** From now on the piece is missing, whatever there is of it. false: it was missing before. */
  #forget (piece: PieceIndex): boolean {
    if (!this.#completion.remove(piece)) return false
    this.#claims.set(piece, false)
    this.#saver.forget(piece, { isStale: !this.#passing.has(piece) })
    this.#passing.delete(piece)
    this.#memory.delete(piece)
    this.#count(piece, -1)
    for (const { fileIndex } of this.geometry.spansOf(piece)) this.#saver.withdraw(fileIndex)
    return true
  }

  #touches (piece: PieceIndex, fileIndex: number): boolean {
    return this.geometry.spansOf(piece).some(span => span.fileIndex === fileIndex)
  }

  /** Does the piece lie in windowed files and no wanted one, so that it is only there while a window keeps it? */
  #isFleeting (piece: PieceIndex): boolean {
    return this.#windowed.size > 0 && this.#files.isLoose(piece) && this.geometry.spansOf(piece).some(({ fileIndex }) => this.#windowed.has(fileIndex))
  }

  /**
   * Lets go of those of the pieces that no window keeps, and of what no reader is near to in memory. Resolves when all
   * that was let go, now and before, is off the disk.
   */
  async #letGo (pieces: Iterable<PieceIndex>, { isKept = (piece: PieceIndex): boolean => !this.#isFleeting(piece) || this.#windows.keeps(piece) } = {}): Promise<void> {
    for (const piece of [...pieces]) if (this.has(piece) && !this.#memory.has(piece) && !isKept(piece)) this.#discard(piece)
    for (const piece of [...this.#memory.keys()]) if (!this.#windows.isNear(piece)) this.#drop(piece)
    if (this.#leaving.size > 0) await Promise.all(this.#leaving.values())
  }

  /** The bit, then the edge file, then the word: the swarm may write the piece again as soon as it has heard. */
  #discard (piece: PieceIndex): void {
    this.#forget(piece)
    const gone = rm(edgePath(this.layout, piece), { force: true }).catch((error: unknown) => {
      this.#log.warn({ infohash: this.metadata.infohash, piece, err: error }, 'a piece that a window has left behind could not be removed')
    }).then(() => {
      if (this.#leaving.get(piece) === gone) this.#leaving.delete(piece)
      this.emit('dropped', piece)
    })
    this.#leaving.set(piece, gone)
  }

  /** Is the piece of a windowed file, which has just been written, in a window, and there? If not, it goes at once. */
  async #isKept (piece: PieceIndex): Promise<boolean> {
    await this.#leaving.get(piece)
    // The window may have moved away and back while it was written, and have taken the new file for the old one.
    const isThere = await exists(edgePath(this.layout, piece))
    if (isThere && this.#windows.keeps(piece)) return true
    this.#discard(piece)
    await this.#leaving.get(piece)
    return false
  }

  get #memoryLimit (): number {
    return Math.max(memoryBytes, 2 * this.geometry.pieceLength)
  }

  /** false: no reader is near to the piece, or there are enough already. */
  #keepInMemory (piece: PieceIndex, bytes: Uint8Array): boolean {
    let heldBytes = 0
    for (const { length } of this.#memory.values()) heldBytes += length
    if (!this.#windows.isNear(piece) || heldBytes + bytes.length > this.#memoryLimit || !this.#completion.add(piece)) return false
    this.#memory.set(piece, Buffer.from(bytes))
    this.#passing.add(piece)
    this.#arrive(piece)
    return true
  }

  #diskIsFull (error: unknown): void {
    if (!this.#pressure.refused()) return
    this.#log.warn({ infohash: this.metadata.infohash, err: error }, 'the disk is full: what readers wait for is kept in memory')
    this.#windows.refresh()
  }

  #diskTakes (since: number): void {
    if (!this.#pressure.took(since)) return
    this.#log.warn({ infohash: this.metadata.infohash }, 'the disk takes pieces again')
    this.#windows.refresh()
  }

  #readByPieces (fileIndex: number, offset: number, length: number): Promise<Buffer> {
    const { start, end } = this.geometry.toTorrent(fileIndex, { start: offset, end: offset + length - 1 })
    const { first, last } = this.geometry.piecesOf({ start, end })
    const parts: Array<Promise<Buffer>> = []
    for (let index: number = first; index <= last; index++) {
      const piece = this.geometry.piece(index)
      const from = Math.max(start, this.geometry.offsetOf(piece))
      const until = Math.min(end + 1, this.geometry.offsetOf(piece) + this.geometry.lengthOf(piece))
      // All at once: what is in memory now may be let go while another part is read.
      parts.push(this.readPiece(piece, from - this.geometry.offsetOf(piece), until - from))
    }
    return Promise.all(parts).then(parts => parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts, length))
  }

  /** Finds out about a piece that the last life left behind. Never rejects. */
  async #check (piece: PieceIndex): Promise<void> {
    try {
      if (this.#files.isEdge(piece)) await this.#inTurn(() => this.#judge(piece))
      else await this.#judge(piece)
    } catch (error) {
      if (this.#closing === null) this.#log.warn({ infohash: this.metadata.infohash, piece, err: error }, 'a piece could not be checked')
    }
  }

  /** Verified or missing, if that was in question. An edge piece needs its turn. Throws only when the store is closed meanwhile. */
  async #judge (piece: PieceIndex): Promise<void> {
    if (!this.#checker.has(piece)) return
    this.#checkedPieces++
    const isRight = await isPieceRight({ metadata: this.metadata, geometry: this.geometry, files: this.#files, checkOpen: () => this.#checkOpen() }, piece)
    // It may have been written meanwhile.
    if (!this.#checker.has(piece)) return
    if (isRight) return this.#mark(piece)
    this.#log.warn({ infohash: this.metadata.infohash, piece }, 'a piece on the disk is not what it was, and is fetched again')
    this.#reject(piece)
  }

  /** Whatever there is of an unchecked piece, it is missing. */
  #reject (piece: PieceIndex): void {
    this.#checker.settle(piece)
    this.#claims.set(piece, false)
    this.emit('dropped', piece)
  }

  #count (piece: PieceIndex, sign: 1 | -1): void {
    for (const { fileIndex, length } of this.geometry.spansOf(piece)) {
      this.#verifiedBytes[fileIndex] = this.verifiedBytesOf(fileIndex) + sign * length
    }
  }

  #lookIfFinished (fileIndex: number): void {
    if (!this.isFinished(fileIndex) || this.#finished.has(fileIndex) || this.#saver.isAnnounced(fileIndex)) return
    this.#saver.announce(fileIndex)
  }

  /** Writes a piece once more that a failed sync may have lost. */
  async #rewrite (piece: PieceIndex): Promise<void> {
    const bytes = await this.#files.readPiece(piece, 0, this.geometry.lengthOf(piece))
    if (await this.#isRight(piece, bytes)) await this.#files.writePiece(piece, bytes)
    else this.#drop(piece)
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
