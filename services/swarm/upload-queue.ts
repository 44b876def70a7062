import type { Clock } from '../clock.ts'

/** A peer, as far as it takes blocks. */
export interface Taker {
  /** Blocks that are being read for it, or wait to be sent, so many that more would only wait in memory. */
  readonly isFull: boolean
}

interface Asked {
  readonly piece: number
  readonly offset: number
  readonly length: number
  readonly serve: () => void
}

/** So much may be given at once after a pause. */
const burstMs = 250
/** Whether somebody takes something again is looked at so often, for nobody says so when a block cannot be read. */
const lookMs = 100
/** A peer that asks for more at a time gets no more: by the usual limit (BEP 10, `reqq`) they ask for less. */
export const mostAsked = 512

/**
 * What peers asked for and have not got, over all torrents. They take turns, block by block, as fast as the limit allows,
 * and each only as fast as it takes what it got.
 */
export class UploadQueue<T extends Taker> {
  readonly #clock: Clock
  readonly #bytesPerMs: number
  readonly #asked = new Map<T, Asked[]>()
  /** Bytes that may be given now; below zero: the last block was larger. */
  #credit: number
  #at: number
  #cancelTimer: (() => void) | null = null
  #isServing = false

  /** @param limitBytes a second; -1: no limit. */
  constructor (clock: Clock, limitBytes: number) {
    this.#clock = clock
    this.#bytesPerMs = limitBytes < 0 ? Infinity : limitBytes / 1000
    this.#credit = this.#most
    this.#at = clock.now()
  }

  /** Bytes; a whole block at least, or a small limit would give nothing. */
  get #most (): number {
    return Math.max(1, this.#bytesPerMs * burstMs)
  }

  /** `serve` gives it the block, when it is its turn. false: it has asked for too much. */
  ask (taker: T, piece: number, offset: number, length: number, serve: () => void): boolean {
    const asked = this.#asked.get(taker) ?? []
    if (asked.length >= mostAsked) return false
    asked.push({ piece, offset, length, serve })
    this.#asked.set(taker, asked)
    this.serve()
    return true
  }

  /** It does not want this block any more. */
  cancel (taker: T, piece: number, offset: number, length: number): void {
    const asked = this.#asked.get(taker)
    const at = asked?.findIndex((one) => one.piece === piece && one.offset === offset && one.length === length) ?? -1
    if (at !== -1) asked?.splice(at, 1)
    if (asked?.length === 0) this.drop(taker)
  }

  /** Forgets what it asked for, and tells it. */
  drop (taker: T): Array<Pick<Asked, 'piece' | 'offset' | 'length'>> {
    const asked = this.#asked.get(taker) ?? []
    this.#asked.delete(taker)
    if (this.#asked.size === 0) {
      this.#cancelTimer?.()
      this.#cancelTimer = null
    }
    return asked
  }

  /** Gives what may be given. To be called when a peer that was full is not any more. */
  serve (): void {
    // Giving a block may call back.
    if (this.#isServing) return
    this.#isServing = true
    try {
      this.#serve()
    } finally {
      this.#isServing = false
    }
  }

  #serve (): void {
    for (let taker = this.#next(); taker !== null; taker = this.#next()) {
      if (!this.#mayGive()) return
      const asked = this.#asked.get(taker)
      const one = asked?.shift()
      // At the end again: it is the others' turn.
      this.#asked.delete(taker)
      if (asked !== undefined && asked.length > 0) this.#asked.set(taker, asked)
      if (one === undefined) continue
      this.#credit -= one.length
      one.serve()
    }
    if (this.#asked.size > 0) this.#serveIn(lookMs)
  }

  #serveIn (ms: number): void {
    this.#cancelTimer ??= this.#clock.after(ms, () => {
      this.#cancelTimer = null
      this.serve()
    })
  }

  /** The first of those who have waited longest that takes something. */
  #next (): T | null {
    for (const taker of this.#asked.keys()) if (!taker.isFull) return taker
    return null
  }

  /** Where nothing may be given now, it goes on by itself later. */
  #mayGive (): boolean {
    const now = this.#clock.now()
    this.#credit = this.#bytesPerMs === Infinity ? Infinity : Math.min(this.#most, this.#credit + (now - this.#at) * this.#bytesPerMs)
    this.#at = now
    if (this.#credit > 0) return true
    this.#serveIn(Math.ceil((1 - this.#credit) / this.#bytesPerMs))
    return false
  }
}
