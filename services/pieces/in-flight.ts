import { EventEmitter } from 'node:events'
import type { PieceIndex } from './geometry.ts'

/**
 * Which filler is fetching which pieces of a torrent, so that another one brings others. It is as new as what the
 * fillers tell: two may still fetch the same piece for a moment, which costs bytes and nothing else.
 *
 * Event `change`: what this filler fetches is not what it was.
 */
export class InFlight extends EventEmitter<{ change: [filler: string] }> {
  readonly #pieces = new Map<string, ReadonlySet<number>>()

  constructor () {
    super()
    this.setMaxListeners(0)
  }

  /** All that the filler fetches now. */
  set (filler: string, pieces: Iterable<PieceIndex>): void {
    const before = this.#pieces.get(filler)
    const now = new Set<number>(pieces)
    if (now.size === (before?.size ?? 0) && [...now].every((piece) => before?.has(piece))) return
    if (now.size === 0) this.#pieces.delete(filler)
    else this.#pieces.set(filler, now)
    this.emit('change', filler)
  }

  /** Does a filler with another name fetch it? */
  isTaken (piece: number, filler: string): boolean {
    for (const [other, pieces] of this.#pieces) if (other !== filler && pieces.has(piece)) return true
    return false
  }

  /** Does a filler with another name fetch anything? */
  isShared (filler: string): boolean {
    for (const other of this.#pieces.keys()) if (other !== filler) return true
    return false
  }
}
