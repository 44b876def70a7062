import { urgencies } from '../pieces/demand.ts'
import type { WantedRange } from './messages.ts'

export interface Window {
  /** What to ask the peers for, the most urgent first. */
  readonly pieces: readonly number[]
  /** The pieces of it that readers wait for. */
  readonly waiting: readonly number[]
  has (piece: number): boolean
}

/**
 * Chooses what of the demand to ask for now. A piece is assembled in memory, so at most `limit` pieces
 * that some peer has are chosen, in the order of the demand: the oldest waiting reader first. Pieces that no peer has
 * cost no memory; they are taken along, so that they are asked for at once when a peer comes with them.
 */
export function chooseWindow (demand: readonly WantedRange[], limit: number, isVerified: (piece: number) => boolean, isAvailable: (piece: number) => boolean): Window {
  const waiting: number[] = []
  const chosen = new Set<number>()
  let left = limit
  for (const [first, last, urgency] of demand) {
    for (let piece = first; piece <= last && left > 0; piece++) {
      if (isVerified(piece) || chosen.has(piece)) continue
      chosen.add(piece)
      if (isAvailable(piece)) left--
      if (urgency === urgencies.waiting) waiting.push(piece)
    }
    if (left === 0) break
  }
  return { pieces: [...chosen], waiting, has: (piece) => chosen.has(piece) }
}
