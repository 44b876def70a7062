import { abortable } from '../deadline.ts'
import { CodedError } from '../errors.ts'
import type { Geometry, PieceIndex } from './geometry.ts'
import type { Room, WindowClaim } from './room.ts'

/** Neighbouring pieces, both ends included. */
export interface PieceSpan {
  readonly first: PieceIndex
  readonly last: PieceIndex
}

/** What a reader may ask the fillers for: all that it likes, these pieces only, or nothing for now. */
export type Leave = PieceSpan | 'all' | 'nothing'

export interface WindowsOptions {
  readonly geometry: Geometry
  readonly infohash: string
  readonly room: Room
  /** How many bytes of pieces there may be in memory while the disk takes none. */
  readonly memoryBytes: number
  readonly isDiskFull: () => boolean
  /** Lets go of those of the pieces that no window keeps; resolves when nothing that was let go is on the disk any more. */
  readonly letGo: (pieces: Iterable<PieceIndex>) => Promise<void>
  /** A window outlives its reader so long: the next request of a player is often about the same place. */
  readonly lingerMs?: number
  /** A reader whose client took nothing for so long has no window until it goes on. */
  readonly idleMs?: number
}

const mostWindowBytes = 64 << 20
const mostWindowPieces = 8
const leastWindowPieces = 2
/** From so many pieces on, one of a window may lie behind its reader. */
const piecesForOneBehind = 4
const tickMs = 250
const defaultIdleMs = 120_000

/** The windows of each room: who needs a claim ends those that only linger, in all stores. */
const windowsOf = new WeakMap<Room, Set<Windows>>()

/**
 * Where the readers of one torrent are, and which pieces are kept for that. A file that does not fit the disk is there
 * only in windows around its readers; while the disk takes nothing at all, any file is, in memory.
 */
export class Windows {
  readonly #options: WindowsOptions
  readonly #seats = new Set<Seat>()
  #timer: NodeJS.Timeout | null = null
  #isClosed = false

  constructor (options: WindowsOptions) {
    this.#options = options
  }

  /** Readers, and windows that linger. */
  get size (): number {
    return this.#seats.size
  }

  /** Does a window keep this piece on the disk? */
  keeps (piece: PieceIndex): boolean {
    for (const { kept } of this.#seats) if (kept !== null && kept.first <= piece && piece <= kept.last) return true
    return false
  }

  /** Is it so near before a reader that it may be kept in memory? */
  isNear (piece: PieceIndex): boolean {
    for (const { near } of this.#seats) if (near !== null && near.first <= piece && piece <= near.last) return true
    return false
  }

  /** Has somebody, or had a moment ago, a window of this file? */
  isUsed (fileIndex: number): boolean {
    for (const seat of this.#seats) if (seat.fileIndex === fileIndex) return true
    return false
  }

  /** Does somebody read this file, whose client takes bytes? */
  isClaimed (fileIndex: number): boolean {
    const { idleMs = defaultIdleMs } = this.#options
    for (const seat of this.#seats) if (seat.fileIndex === fileIndex && !seat.isLeft && !seat.isAsleep(idleMs)) return true
    return false
  }

  /** Ends all seats of this file: who sleeps there gets STORE_CLOSED when it goes on. */
  async dismiss (fileIndex: number): Promise<void> {
    await Promise.all([...this.#seats].filter((seat) => seat.fileIndex === fileIndex).map(async (seat) => { await seat.end() }))
  }

  /**
   * A seat for a reader of this file that begins at this byte of the torrent; with a window where the file is there in
   * windows only. One that has just been left is taken over. `isShared`: others that begin at the same place with this
   * choice get the same seat. Throws NO_ROOM, STORE_CLOSED, or the signal's reason.
   */
  async sit (fileIndex: number, isWindowed: boolean, position: number, signal: AbortSignal, { isShared = false } = {}): Promise<Seat> {
    this.#checkOpen()
    const piece = this.#options.geometry.pieceAt(position)
    const seat = this.#seatToShare(fileIndex, piece, isShared) ?? this.#seatToTakeOver(fileIndex, piece) ?? this.#newSeat(fileIndex, isWindowed, piece)
    seat.enter(isShared)
    try {
      await abortable(seat.moveTo(position), signal)
      return seat
    } catch (error) {
      seat.release()
      throw error
    }
  }

  /** Tells all readers that what they may ask for has changed. */
  refresh (): void {
    for (const seat of this.#seats) seat.tell()
  }

  /** Ends all windows; resolves when their pieces are gone. */
  async close (): Promise<void> {
    this.#isClosed = true
    await Promise.all([...this.#seats].map(async (seat) => { await seat.end() }))
  }

  /** For Seat: how many pieces may be in memory for it. Where there is not one for each, those who came first have one. */
  piecesInMemory (seat: Seat): number {
    const { geometry, memoryBytes } = this.#options
    const pieces = Math.floor(memoryBytes / geometry.pieceLength)
    if (pieces >= this.#seats.size) return Math.floor(pieces / this.#seats.size)
    return [...this.#seats].indexOf(seat) < pieces ? 1 : 0
  }

  /** For Seat: room for a window of a file of so many pieces. */
  async claim (filePieces: number): Promise<WindowClaim> {
    const { geometry, infohash, room } = this.#options
    this.#checkOpen()
    const least = Math.min(filePieces, leastWindowPieces) * geometry.pieceLength
    const most = Math.min(filePieces, Math.max(mostWindowPieces, Math.floor(mostWindowBytes / geometry.pieceLength))) * geometry.pieceLength
    try {
      return await room.openWindow(infohash, least, most)
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== 'NO_ROOM') throw error
      await Promise.all([...windowsOf.get(room) ?? []].map(async (windows) => { await windows.#endLeft(0) }))
      return await room.openWindow(infohash, least, most)
    }
  }

  /** For Seat: the seat is empty, for good. */
  remove (seat: Seat): void {
    this.#seats.delete(seat)
    if (this.#options.isDiskFull()) this.refresh()
    if (this.#seats.size > 0) return
    windowsOf.get(this.#options.room)?.delete(this)
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  #seatToShare (fileIndex: number, piece: PieceIndex, isShared: boolean): Seat | undefined {
    return isShared ? [...this.#seats].find((seat) => seat.isShared && !seat.isLeft && seat.fileIndex === fileIndex && seat.piece === piece) : undefined
  }

  /** The one around the piece, else any: what nobody reads must not stand in the way of somebody who does. */
  #seatToTakeOver (fileIndex: number, piece: PieceIndex): Seat | undefined {
    const left = [...this.#seats].filter((seat) => seat.isLeft && seat.fileIndex === fileIndex)
    return left.find(({ kept }) => kept !== null && kept.first <= piece && piece <= kept.last) ?? left[0]
  }

  #newSeat (fileIndex: number, isWindowed: boolean, piece: PieceIndex): Seat {
    const { geometry, room } = this.#options
    const range = geometry.rangeOfFile(fileIndex)
    if (range === null) throw new RangeError(`file ${fileIndex} is empty: there is nothing to read`)
    const seat = new Seat(this, this.#options, { fileIndex, isWindowed, file: geometry.piecesOf(range), piece })
    this.#seats.add(seat)
    const others = windowsOf.get(room) ?? new Set()
    windowsOf.set(room, others.add(this))
    this.#timer ??= setInterval(() => { this.#tick() }, tickMs).unref()
    return seat
  }

  #tick (): void {
    const { lingerMs = 2_000, idleMs = defaultIdleMs } = this.#options
    this.#endLeft(lingerMs).catch(() => { /* letting go reports what it cannot do */ })
    for (const seat of this.#seats) seat.look(idleMs)
  }

  async #endLeft (sinceMs: number): Promise<void> {
    const now = performance.now()
    await Promise.all([...this.#seats].filter(({ leftAt }) => leftAt !== null && now - leftAt >= sinceMs).map(async (seat) => { await seat.end() }))
  }

  #checkOpen (): void {
    if (this.#isClosed) throw new CodedError('STORE_CLOSED', 'the store was closed')
  }
}

/** The place of one reader in one file. Windows makes it. */
export class Seat {
  readonly fileIndex: number
  /** Called with what the reader may ask for, from which byte on, when that changes; and before something is let go, without it. */
  onLeave: ((leave: Leave, position: number) => void) | null = null
  readonly #windows: Windows
  readonly #options: WindowsOptions
  readonly #isWindowed: boolean
  readonly #file: PieceSpan
  #piece: PieceIndex
  #position = 0
  #claim: WindowClaim | null = null
  #claiming: Promise<void> | null = null
  #kept: PieceSpan | null = null
  #users = 0
  #isShared = false
  #leftAt: number | null = null
  #restingSince: number | null = null
  #isOver = false

  constructor (windows: Windows, options: WindowsOptions, { fileIndex, isWindowed, file, piece }: { fileIndex: number, isWindowed: boolean, file: PieceSpan, piece: PieceIndex }) {
    this.#windows = windows
    this.#options = options
    this.fileIndex = fileIndex
    this.#isWindowed = isWindowed
    this.#file = file
    this.#piece = piece
  }

  get piece (): PieceIndex { return this.#piece }
  get isShared (): boolean { return this.#isShared }
  /** When its last reader left it; null while it has one. */
  get leftAt (): number | null { return this.#leftAt }
  get isLeft (): boolean { return this.#leftAt !== null }
  /** The window: pieces of it are kept on the disk. */
  get kept (): PieceSpan | null { return this.#kept }

  /** The pieces that may be kept in memory for this reader; null: none. */
  get near (): PieceSpan | null {
    const count = this.#windows.piecesInMemory(this)
    return count === 0 ? null : { first: this.#piece, last: this.#at(this.#piece + count - 1) }
  }

  /** What the reader may ask for now. */
  get leave (): Leave {
    if (this.#isOver || this.isLeft) return 'nothing'
    const window = this.#isWindowed ? overlap({ first: this.#piece, last: this.#file.last }, this.#kept) : { first: this.#piece, last: this.#file.last }
    // It may also have moved already, and its window not yet.
    if (window === null || window.first !== this.#piece) return 'nothing'
    if (this.#options.isDiskFull()) return overlap(window, this.near) ?? 'nothing'
    return this.#isWindowed ? window : 'all'
  }

  /** For Windows: one more reader has this seat. */
  enter (isShared: boolean): void {
    this.#users++
    this.#isShared = isShared
    this.#leftAt = null
  }

  /**
   * The reader is at this byte of the torrent. Resolves with what it may ask for from there, once what its window had
   * before, and has not now, is off the disk. Throws NO_ROOM when it had to give up its window and gets none now,
   * STORE_CLOSED when the file was let go.
   */
  async moveTo (position: number): Promise<Leave> {
    this.#restingSince = null
    this.#position = position
    this.#piece = this.#options.geometry.pieceAt(position)
    if (this.#isWindowed && this.#claim === null && !this.#isOver) {
      this.#claiming ??= this.#open().finally(() => { this.#claiming = null })
      await this.#claiming
    }
    await this.#settle()
    if (this.#isOver) throw new CodedError('STORE_CLOSED', 'the file was let go, for nothing of it was read for long')
    return this.leave
  }

  /** The reader gives a chunk to its client, who may take its time. */
  rest (): void {
    this.#restingSince = performance.now()
  }

  /** One reader less. The last one leaves the window behind for a while. Once for each that sat down. */
  release (): void {
    if (--this.#users > 0 || this.#isOver) return
    this.onLeave = null
    this.#restingSince = null
    this.#leftAt = performance.now()
    if (this.#claim === null && !this.#options.isDiskFull()) this.end().catch(() => { /* letting go reports what it cannot do */ })
  }

  /** Ends the window; resolves when what only it kept is off the disk, and its room free. */
  async end (): Promise<void> {
    if (this.#isOver) return
    this.#isOver = true
    this.#windows.remove(this)
    await this.#giveUp()
  }

  /** Has the client of the reader taken nothing for so long? */
  isAsleep (idleMs: number): boolean {
    return this.#restingSince !== null && performance.now() - this.#restingSince >= idleMs
  }

  /** For Windows: looks whether the claim has changed, or the client of the reader is asleep. */
  look (idleMs: number): void {
    const before = this.#kept
    const done = this.isAsleep(idleMs) && this.#claim !== null ? this.#giveUp() : this.#settle()
    done.catch(() => { /* letting go reports what it cannot do */ })
    if (this.#kept !== before) this.tell()
  }

  /** For Windows: says what the reader may ask for. */
  tell (): void {
    this.onLeave?.(this.leave, this.#position)
  }

  async #open (): Promise<void> {
    const claim = await this.#windows.claim(this.#file.last - this.#file.first + 1)
    if (this.#isOver) claim.release()
    else this.#claim = claim
  }

  async #giveUp (): Promise<void> {
    const claim = this.#claim
    this.#claim = null
    await this.#keep(null)
    claim?.release()
  }

  /** Brings the window to where the reader is, and to the size that is claimed. */
  async #settle (): Promise<void> {
    if (this.#claim === null) {
      await this.#options.letGo([])
      return
    }
    const count = Math.max(1, Math.floor(this.#claim.bytes / this.#options.geometry.pieceLength))
    const first = this.#at(count >= piecesForOneBehind ? this.#piece - 1 : this.#piece)
    await this.#keep({ first, last: this.#at(first + count - 1) })
  }

  async #keep (kept: PieceSpan | null): Promise<void> {
    const before = this.#kept
    const isSame = before === kept || (before !== null && kept !== null && before.first === kept.first && before.last === kept.last)
    if (isSame || before === null) {
      if (!isSame) this.#kept = kept
      await this.#options.letGo([])
      return
    }
    // Asked for no more before it goes, so that nobody brings it again; and what comes in its place after it has gone.
    this.#kept = overlap(before, kept)
    this.tell()
    this.#kept = kept
    await this.#options.letGo(this.#without(before, kept))
  }

  * #without (span: PieceSpan, kept: PieceSpan | null): Generator<PieceIndex> {
    for (let index: number = span.first; index <= span.last; index++) {
      if (kept === null || index < kept.first || index > kept.last) yield this.#options.geometry.piece(index)
    }
  }

  /** The piece of the file that is nearest to this number. */
  #at (index: number): PieceIndex {
    return this.#options.geometry.piece(Math.min(Math.max(index, this.#file.first), this.#file.last))
  }
}

function overlap (a: PieceSpan, b: PieceSpan | null): PieceSpan | null {
  if (b === null || a.last < b.first || b.last < a.first) return null
  return { first: a.first > b.first ? a.first : b.first, last: a.last < b.last ? a.last : b.last }
}
