import { urgencies } from '../pieces/demand.ts'
import type { PieceRange, Urgency } from '../pieces/demand.ts'
import type { PieceIndex } from '../pieces/geometry.ts'
import type { PieceStore } from '../pieces/piece-store.ts'
import type { MirrorRecord } from './mirror-record.ts'
import type { Run } from './piece-run.ts'

/** A run for somebody who waits ends soon, so that what is most urgent is looked at anew; background runs save requests. */
const RUN_BYTES = 4 * 1024 * 1024
const BACKGROUND_RUN_BYTES = 16 * 1024 * 1024
/** A piece that a reader waits for is taken out of a run that would only come to it after so much else. */
const OVERTAKE_BYTES = 1024 * 1024

export interface RunPlanOptions {
  readonly store: Pick<PieceStore, 'geometry' | 'metadata' | 'has'>
  readonly records: readonly MirrorRecord[]
  /** What is under way; an aborted run does not count. */
  readonly runs: ReadonlySet<Run>
}

/**
 * Decides what an HTTP download fetches next, and from whom, given what is wanted, what is there, what is under way and
 * what is known of the mirrors. Does nothing itself. Times are those of performance.now().
 */
export class RunPlan {
  /** What is wanted, the most urgent first. */
  ranges: readonly PieceRange[] = []
  readonly #store: RunPlanOptions['store']
  readonly #records: readonly MirrorRecord[]
  readonly #runs: ReadonlySet<Run>

  constructor ({ store, records, runs }: RunPlanOptions) {
    this.#store = store
    this.#records = records
    this.#runs = runs
  }

  /** The next run to start: at the most urgent missing piece, of this urgency at least, that some mirror can be asked for now; null: none. */
  next (now: number, atLeast: Urgency = urgencies.background): Run | null {
    for (const { piece, urgency } of this.#missing(atLeast)) {
      const holder = this.#holderOf(piece)
      if (holder !== null && !this.#isTooLate(holder, piece, urgency)) continue
      const record = this.#bestFor(piece, now)
      if (record === null) continue
      if (holder !== null) holder.last = this.#store.geometry.piece(piece - 1)
      const last = this.#lastFrom(piece, urgency === urgencies.background ? BACKGROUND_RUN_BYTES : RUN_BYTES, record)
      return { record, current: piece, last, isWholeFile: false, urgency, startedAt: now, stop: new AbortController() }
    }
    return null
  }

  /** The piece that the run goes on with after its current one; null: it ends here. */
  following (run: Run): PieceIndex | null {
    const { geometry } = this.#store
    if (run.stop.signal.aborted || run.current + 1 >= geometry.pieceCount) return null
    const next = geometry.piece(run.current + 1)
    if (!this.isWanted(next)) return null
    if (!run.isWholeFile) return next <= run.last && !this.#store.has(next) ? next : null
    // The mirror cannot be asked for what comes later: reading over pieces that are there is the only way to it.
    if (next > run.last && this.#holderOf(next) !== null) return null
    if (this.#store.has(next) && !this.#lacksAfter(next)) return null
    if (next > run.last) run.last = next
    return next
  }

  /** The run to give up because a reader waits for a piece, and all that is under way is less urgent; null: none. */
  leastUrgent (now: number): Run | null {
    for (const { piece } of this.#missing(urgencies.waiting)) {
      const holder = this.#holderOf(piece)
      if (holder !== null && !this.#isTooLate(holder, piece, urgencies.waiting)) continue
      const [least] = [...this.#runs].map((run) => ({ run, urgency: this.urgencyOf(run.current) })).sort((a, b) => a.urgency - b.urgency)
      if (least === undefined || least.urgency === urgencies.waiting) return null
      if (this.#bestFor(piece, now, least.run) !== null) return least.run
    }
    return null
  }

  /** Is something wanted and missing, nothing under way, and no mirror that is counted on can be asked for any of it? */
  get isStranded (): boolean {
    if (this.#runs.size > 0) return false
    let isStranded = false
    for (const { piece } of this.#missing()) {
      if (this.#records.some((record) => record.isHopeful && this.#canStart(record, piece))) return false
      isStranded = true
    }
    return isStranded
  }

  isWanted (piece: PieceIndex): boolean {
    return this.ranges.some(({ first, last }) => piece >= first && piece <= last)
  }

  urgencyOf (piece: PieceIndex): Urgency {
    return this.ranges.find(({ first, last }) => piece >= first && piece <= last)?.urgency ?? urgencies.background
  }

  /** Wanted pieces that the store lacks, the most urgent first; those under way included, and one in two ranges twice. */
  * #missing (atLeast: Urgency = urgencies.background): Generator<{ piece: PieceIndex, urgency: Urgency }, void, void> {
    for (const { first, last, urgency } of this.ranges) {
      if (urgency < atLeast) return
      for (let i: number = first; i <= last; i++) {
        const piece = this.#store.geometry.piece(i)
        if (!this.#store.has(piece)) yield { piece, urgency }
      }
    }
  }

  #lacksAfter (piece: PieceIndex): boolean {
    for (const missing of this.#missing()) {
      if (missing.piece > piece) return true
    }
    return false
  }

  #holderOf (piece: PieceIndex): Run | null {
    for (const run of this.#runs) {
      if (!run.stop.signal.aborted && piece >= run.current && piece <= run.last) return run
    }
    return null
  }

  /** Does a reader wait for a piece that this run would only come to much later? */
  #isTooLate ({ current }: Run, piece: PieceIndex, urgency: Urgency): boolean {
    const { geometry } = this.#store
    return urgency === urgencies.waiting && piece > current + 1 && geometry.offsetOf(piece) - geometry.offsetOf(current) > OVERTAKE_BYTES
  }

  /**
   * The free mirror that will bring the piece soonest, as far as one knows; one that is not known yet may be the best.
   * `without`: a run that would end first.
   */
  #bestFor (piece: PieceIndex, now: number, without?: Run): MirrorRecord | null {
    const fastest = Math.max(1, ...this.#records.map(({ bytesPerSecond }) => bytesPerSecond ?? 0))
    let best: { record: MirrorRecord, score: number } | null = null
    for (const record of this.#records) {
      const activeRuns = record.activeRuns - (without?.record === record ? 1 : 0)
      if (!record.isFree(now, activeRuns) || !this.#canStart(record, piece)) continue
      const score = (record.bytesPerSecond ?? fastest) / (activeRuns + 1)
      if (best === null || score > best.score) best = { record, score }
    }
    return best?.record ?? null
  }

  #canStart (record: MirrorRecord, piece: PieceIndex): boolean {
    return this.#store.geometry.spansOf(piece).every(({ fileIndex, fileOffset }) => {
      const file = this.#store.metadata.files[fileIndex]
      return file !== undefined && (file.isPadding || record.canStart(file, fileOffset))
    })
  }

  #lastFrom (first: PieceIndex, limitBytes: number, record: MirrorRecord): PieceIndex {
    const { geometry } = this.#store
    let last = first
    while (last + 1 < geometry.pieceCount) {
      const next = geometry.piece(last + 1)
      if (geometry.offsetOf(next) + geometry.lengthOf(next) - geometry.offsetOf(first) > limitBytes) break
      if (!this.isWanted(next) || this.#store.has(next) || this.#holderOf(next) !== null || !this.#canStart(record, next)) break
      last = next
    }
    return last
  }
}
