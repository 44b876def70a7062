import { EventEmitter } from 'node:events'
import type { PieceIndex } from './geometry.ts'

/**
 * Which filler is fetching which pieces of a torrent, so that another one brings others. It is as new as what the
 * fillers tell: two may still fetch the same piece for a moment, which costs bytes and nothing else.
 *
 * Event `change`: what this filler fetches is not what it was.
 */
export class InFlight extends EventEmitter<{ change: [filler: string] }> {
  readonly #pieces = new Map<string, ReadonlyMap<number, number>>()

  constructor () {
    super()
    this.setMaxListeners(0)
  }

  /** All that the filler fetches now, and when (performance.now()) it expects to have it: Infinity where nobody can say. */
  set (filler: string, pieces: ReadonlyMap<PieceIndex, number>): void {
    const before = this.#pieces.get(filler)
    const isSame = pieces.size === (before?.size ?? 0) && [...pieces.keys()].every((piece) => before?.has(piece))
    if (pieces.size === 0) this.#pieces.delete(filler)
    else this.#pieces.set(filler, pieces)
    if (!isSame) this.emit('change', filler)
  }

  /** All that anybody fetches now. */
  pieces (): Set<number> {
    return new Set([...this.#pieces.values()].flatMap((pieces) => [...pieces.keys()]))
  }

  /** When another filler expects to have it; null: no other one fetches it. */
  readyAt (piece: number, filler: string): number | null {
    let soonest: number | null = null
    for (const [other, pieces] of this.#pieces) {
      const at = other === filler ? undefined : pieces.get(piece)
      if (at !== undefined) soonest = Math.min(at, soonest ?? Infinity)
    }
    return soonest
  }

  /** Does another filler fetch anything? */
  isShared (filler: string): boolean {
    for (const other of this.#pieces.keys()) if (other !== filler) return true
    return false
  }
}
