interface Failures {
  readonly inRow: number
  readonly until: number
}

/** So often in a row a tracker may fail; then it rests, twice as long each further time. */
const PATIENCE = 3
const REST_MS = { first: 60_000, longest: 15 * 60_000 }
const LIMIT = 500

/**
 * Circuit breakers for trackers, shared by all torrents of the swarm: one that only fails is not asked by each of them.
 * When its rest is over whoever comes next tries it. Bounded: those that failed longest ago are forgotten first.
 */
export class TrackerMemory {
  readonly #failures = new Map<string, Failures>()
  readonly #now: () => number

  /** @param now a clock in milliseconds that never goes back. */
  constructor (now = (): number => performance.now()) {
    this.#now = now
  }

  isResting (url: string): boolean {
    return (this.#failures.get(url)?.until ?? -Infinity) > this.#now()
  }

  failed (url: string): void {
    const before = this.#failures.get(url)
    // Those that had asked before it rested say nothing new.
    if (this.isResting(url)) return
    const inRow = (before?.inRow ?? 0) + 1
    const restMs = inRow < PATIENCE ? -Infinity : Math.min(REST_MS.first * 2 ** (inRow - PATIENCE), REST_MS.longest)
    this.#failures.delete(url)
    this.#failures.set(url, { inRow, until: this.#now() + restMs })
    const [oldest] = this.#failures.keys()
    if (oldest !== undefined && this.#failures.size > LIMIT) this.#failures.delete(oldest)
  }

  answered (url: string): void {
    this.#failures.delete(url)
  }
}
