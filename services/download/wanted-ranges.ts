import { urgencies } from '../pieces/demand.ts'
import type { Demand, PieceRange } from '../pieces/demand.ts'

/** Between two requests of one player nobody wants anything; what is under way goes on for so long as if they did. */
const GRACE_MS = 1000

export interface WantedRangesOptions {
  readonly demand: Demand
  /** So long after the last reader has gone, what it wanted is still fetched, in the background. */
  readonly lingerMs: number
  /** May pieces of this range be fetched with no reader? */
  readonly mayLinger: (range: PieceRange) => boolean
  readonly onChange: () => void
}

/** What a download fetches: what its readers want, and for a while what the last of them wanted. */
export class WantedRanges {
  readonly #options: WantedRangesOptions
  #ranges: readonly PieceRange[] = []
  #timers: NodeJS.Timeout[] = []
  #hasReaders = false

  constructor (options: WantedRangesOptions) {
    this.#options = options
  }

  get ranges (): readonly PieceRange[] { return this.#ranges }

  /** Looks at the demand. Resolves to whether a reader came after a time without one. */
  update (): boolean {
    const ranges = this.#options.demand.ranges()
    const isNew = ranges.length > 0 && !this.#hasReaders
    if (ranges.length > 0) {
      this.stop()
      this.#ranges = ranges
    } else if (this.#hasReaders) {
      this.#timers = [
        setTimeout(() => { this.#set(this.#ranges.filter(this.#options.mayLinger).map(({ first, last }) => ({ first, last, urgency: urgencies.background }))) }, GRACE_MS),
        setTimeout(() => { this.#set([]) }, Math.max(GRACE_MS, this.#options.lingerMs))
      ]
    }
    this.#hasReaders = ranges.length > 0
    return isNew
  }

  stop (): void {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers = []
  }

  #set (ranges: readonly PieceRange[]): void {
    this.#ranges = ranges
    this.#options.onChange()
  }
}
