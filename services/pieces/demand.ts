import { EventEmitter } from 'node:events'
import type { PieceIndex } from './geometry.ts'

/** How soon a piece is wanted. A filler serves higher numbers first. */
export const urgencies = { background: 0, headAndTail: 1, readAhead: 2, waiting: 3 } as const
export type Urgency = typeof urgencies[keyof typeof urgencies]

export interface PieceRange {
  readonly first: PieceIndex
  readonly last: PieceIndex
  readonly urgency: Urgency
}

/** One claimant's wishes. `set` replaces them, `release` takes them back; both may be called at any time, twice too. */
export interface Want {
  set (ranges: readonly PieceRange[]): void
  release (): void
}

/**
 * What is wanted of one filler: the union of its readers' wishes. The filler listens to 'change' and asks `ranges()`,
 * so a lost event costs nothing: the truth is here.
 */
export class Demand extends EventEmitter<{ change: [] }> {
  readonly #wants = new Map<symbol, readonly PieceRange[]>()

  /** A new claimant without wishes. */
  open (): Want {
    const key = Symbol('want')
    return {
      set: (ranges) => {
        this.#wants.set(key, ranges)
        this.emit('change')
      },
      release: () => {
        if (this.#wants.delete(key)) this.emit('change')
      }
    }
  }

  /** All wishes, the most urgent first; within one urgency the claimants in the order they came. */
  ranges (): PieceRange[] {
    return [...this.#wants.values()].flat().sort((a, b) => b.urgency - a.urgency)
  }

  /** The same without some of the pieces: ranges are cut around them. */
  rangesWithout (isExcluded: (piece: number) => boolean): Array<readonly [first: number, last: number, urgency: Urgency]> {
    const ranges: Array<readonly [number, number, Urgency]> = []
    for (const { first, last, urgency } of this.ranges()) {
      for (let from: number = first, piece: number = first; piece <= last + 1; piece++) {
        if (piece <= last && !isExcluded(piece)) continue
        if (from < piece) ranges.push([from, piece - 1, urgency])
        from = piece + 1
      }
    }
    return ranges
  }

  get isEmpty (): boolean {
    return this.#wants.size === 0
  }

  get size (): number {
    return this.#wants.size
  }
}
