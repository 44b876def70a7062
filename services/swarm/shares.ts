import type { Urgency } from '../pieces/demand.ts'

/** A torrent as far as it takes memory for pieces. */
export interface Sharer {
  /** Of what it wants most, and could have; null: nothing. */
  readonly urgency: Urgency | null
  readonly pieceLength: number
  /** When it last got a piece, or began to want one. */
  readonly lastServedAt: number
}

/**
 * How many bytes of pieces this torrent may have in flight, of those that all share. Where a share is less than a piece,
 * only as many torrents as there is room for have one at a time: those that somebody waits for first, and of these the
 * one that has waited longest; the first has one whatever it takes. 0: not now.
 */
export function shareOf (torrent: Sharer | undefined, all: readonly Sharer[], bytes: number): number {
  if (torrent === undefined || torrent.urgency === null) return bytes
  const wanting = all.filter((other) => other.urgency !== null)
    .sort((a, b) => (b.urgency ?? 0) - (a.urgency ?? 0) || a.lastServedAt - b.lastServedAt)
  const share = bytes / wanting.length
  if (wanting.every(({ pieceLength }) => pieceLength <= share)) return share
  let left = bytes
  for (const other of wanting) {
    const taken = Math.max(share, other.pieceLength)
    if (taken > left && left < bytes) return 0
    if (other === torrent) return taken
    left -= taken
  }
  return 0
}
