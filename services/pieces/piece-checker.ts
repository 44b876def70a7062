import type { Geometry, PieceIndex } from './geometry.ts'

/** So many pieces that somebody waits for are read and hashed side by side. */
const concurrency = 2
const startDelayMs = 1000
/** In the background, pieces are checked for so long, or one that takes longer, and then nothing happens for the same time. */
const burstMs = 20
const longestPauseMs = 500

export interface PieceCheckerOptions {
  readonly geometry: Pick<Geometry, 'pieceCount' | 'piece'>
  /** The pieces to be checked. */
  readonly pieces: Iterable<PieceIndex>
  /**
   * Reads and hashes the piece, and says what came of it by `settle`. May leave it unsettled when it was cut short.
   * Must not reject.
   */
  readonly check: (piece: PieceIndex) => Promise<void>
  /** So long after the start begins what nobody waits for. Default: a second. */
  readonly delayMs?: number | undefined
}

/**
 * The pieces that are on the disk, as far as one knows, and that nobody may have before their hash was compared: when
 * each is checked. One that somebody waits for comes at once; the others follow in the background, one at a time and
 * with pauses, from the place of the last reader on.
 */
export class PieceChecker {
  readonly #options: PieceCheckerOptions
  readonly #unchecked: Set<PieceIndex>
  readonly #urgent = new Set<PieceIndex>()
  readonly #running = new Map<PieceIndex, Promise<void>>()
  #cursor = 0
  #timer: NodeJS.Timeout | null = null
  #isClosed = false

  constructor (options: PieceCheckerOptions) {
    this.#options = options
    this.#unchecked = new Set(options.pieces)
    if (this.#unchecked.size > 0) this.#goOnIn(options.delayMs ?? startDelayMs)
  }

  /** How many are still to be checked. */
  get size (): number {
    return this.#unchecked.size
  }

  get isClosed (): boolean {
    return this.#isClosed
  }

  /** Is the piece still to be checked? */
  has (piece: PieceIndex): boolean {
    return this.#unchecked.has(piece)
  }

  /** Somebody waits for the piece: it is checked next, unless it needs no check. */
  hurry (piece: PieceIndex): void {
    if (this.#isClosed || !this.has(piece)) return
    this.#cursor = piece + 1
    if (this.#running.has(piece)) return
    this.#urgent.add(piece)
    this.#begin()
  }

  /** It is known now what the piece is. false when it was known before, or never in question. */
  settle (piece: PieceIndex): boolean {
    this.#urgent.delete(piece)
    return this.#unchecked.delete(piece)
  }

  /** Ends the checking; what is under way has ended when it resolves. */
  async close (): Promise<void> {
    this.#isClosed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#urgent.clear()
    await Promise.all(this.#running.values())
  }

  #begin (): void {
    for (const piece of this.#urgent) {
      if (this.#isClosed || this.#running.size >= concurrency) return
      this.#urgent.delete(piece)
      this.#run(piece).catch(() => { /* it does not reject */ })
    }
  }

  #run (piece: PieceIndex): Promise<void> {
    const running = this.#options.check(piece).finally(() => {
      this.#running.delete(piece)
      this.#begin()
    })
    this.#running.set(piece, running)
    return running
  }

  #goOnIn (ms: number): void {
    if (this.#isClosed || this.#unchecked.size === 0) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      const startedAt = performance.now()
      const rest = (): void => { this.#goOnIn(Math.min(performance.now() - startedAt, longestPauseMs)) }
      this.#goOn(startedAt).then(rest, rest)
    }, ms)
  }

  async #goOn (startedAt: number): Promise<void> {
    while (!this.#isClosed && performance.now() - startedAt < burstMs) {
      if (this.#running.size > 0) {
        // Readers come first, and have the line to themselves.
        await Promise.all(this.#running.values())
        continue
      }
      const piece = this.#next()
      if (piece === null) return
      await this.#run(piece)
    }
  }

  #next (): PieceIndex | null {
    const { geometry } = this.#options
    if (this.#unchecked.size === 0) return null
    for (let step = 0; step < geometry.pieceCount; step++) {
      const piece = geometry.piece((this.#cursor + step) % geometry.pieceCount)
      if (!this.has(piece)) continue
      this.#cursor = piece + 1
      return piece
    }
    return null
  }
}
