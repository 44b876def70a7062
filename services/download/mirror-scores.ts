/** What is known of a mirror over all torrents. */
export interface MirrorScore {
  /** Of one connection, while it delivered; null when it never did. */
  bytesPerSecond: number | null
  /** Failed tries since it last delivered. */
  failures: number
  /** How often it sent a wrong piece, and how much of that. */
  lies: number
  badBytes: number
  /** It has answered a range as it should. */
  hasAnsweredRange: boolean
  /** By the infohash of each torrent that it lied about. */
  readonly quarantines: Map<string, Quarantine>
}

/** A mirror that lied is not asked until then, and is on trial until a piece of it was right. */
export interface Quarantine {
  readonly times: number
  readonly until: number
  isOver: boolean
}

const QUARANTINE_LIMIT = 50
const LONGEST_QUARANTINE_MS = 24 * 3_600_000

/**
 * The scores of mirrors by their name, shared by all downloads and longer than any of them lives. Those that were not
 * looked at for longest are forgotten beyond `limit`.
 */
export class MirrorScores {
  readonly #scores = new Map<string, MirrorScore>()
  readonly #limit: number
  /** Pieces that were wrong when they were whole, over all mirrors and torrents, those that are forgotten included. */
  wrongPieces = 0

  constructor (limit = 200) {
    this.#limit = limit
  }

  get size (): number { return this.#scores.size }

  /** Name and score of each. */
  entries (): Iterable<readonly [name: string, score: Readonly<MirrorScore>]> { return this.#scores.entries() }

  /** The score of this mirror, a blank one if it was never met. Whoever keeps it may change it. */
  of (name: string): MirrorScore {
    const score = this.#scores.get(name) ?? { bytesPerSecond: null, failures: 0, lies: 0, badBytes: 0, hasAnsweredRange: false, quarantines: new Map() }
    this.#scores.delete(name)
    this.#scores.set(name, score)
    for (const oldest of this.#scores.keys()) {
      if (this.#scores.size <= this.#limit) break
      this.#scores.delete(oldest)
    }
    return score
  }
}

/** Puts the mirror out for this torrent: for `firstMs`, and for twice as long each further time, a day at most. Times are those of performance.now(). */
export function quarantine (score: MirrorScore, infohash: string, now: number, firstMs: number): void {
  const times = (score.quarantines.get(infohash)?.times ?? 0) + 1
  score.quarantines.delete(infohash)
  score.quarantines.set(infohash, { times, until: now + Math.min(firstMs * 2 ** (times - 1), LONGEST_QUARANTINE_MS), isOver: false })
  for (const oldest of score.quarantines.keys()) {
    if (score.quarantines.size <= QUARANTINE_LIMIT) break
    score.quarantines.delete(oldest)
  }
}
