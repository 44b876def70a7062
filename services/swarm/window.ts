import { urgencies } from '../pieces/demand.ts'
import type { WantedRange } from './messages.ts'

export interface Window {
  /** What to ask the peers for, the most urgent first. */
  readonly pieces: readonly number[]
  /** The pieces of it that readers wait for. */
  readonly waiting: readonly number[]
  has (piece: number): boolean
}

/** What is known of the pieces. */
export interface PieceStates {
  isVerified (piece: number): boolean
  /** Are some of its blocks here, or under way? */
  isBegun (piece: number): boolean
  /** Does any peer have it? */
  isAvailable (piece: number): boolean
  /** How many peers have it; may be a little old. */
  peersWith (piece: number): number
}

/**
 * Chooses what of the demand to ask for now. A piece is assembled in memory, so at most `limit` pieces
 * that some peer has are chosen, in the order of the demand: the oldest waiting reader first. Of what is wanted some time
 * the rarest come first, after those that are begun; where all are alike, the order is the demand's. Pieces that no peer
 * has cost no memory; they are taken along, so that they are asked for at once when a peer comes with them.
 */
export function chooseWindow (demand: readonly WantedRange[], limit: number, pieces: PieceStates): Window {
  const waiting: number[] = []
  const chosen = new Set<number>()
  let left = limit
  for (const [first, last, urgency] of demand) {
    if (urgency === urgencies.background) continue
    for (let piece = first; piece <= last && left > 0; piece++) {
      if (pieces.isVerified(piece) || chosen.has(piece)) continue
      chosen.add(piece)
      if (pieces.isAvailable(piece)) left--
      if (urgency === urgencies.waiting) waiting.push(piece)
    }
  }
  if (left > 0) {
    for (const piece of byRarity(demand, chosen, pieces)) {
      if (left === 0) break
      chosen.add(piece)
      if (pieces.isAvailable(piece)) left--
    }
  }
  return { pieces: [...chosen], waiting, has: (piece) => chosen.has(piece) }
}

/** What is wanted in the background and not chosen yet, what nobody has at the end. */
function byRarity (demand: readonly WantedRange[], chosen: ReadonlySet<number>, pieces: PieceStates): number[] {
  const found = new Set<number>()
  for (const [first, last, urgency] of demand) {
    if (urgency !== urgencies.background) continue
    for (let piece = first; piece <= last; piece++) if (!chosen.has(piece) && !pieces.isVerified(piece)) found.add(piece)
  }
  const groups = new Map<number, number[]>()
  for (const piece of found) {
    const count = pieces.isBegun(piece) ? 0 : pieces.peersWith(piece) || Infinity
    const group = groups.get(count)
    if (group === undefined) groups.set(count, [piece])
    else group.push(piece)
  }
  return [...groups].sort(([a], [b]) => a === b ? 0 : a - b).flatMap(([, group]) => group)
}
