import { urgencies } from '../pieces/demand.ts'
import { live, MirrorChoice } from './mirror-choice.ts'
import { hasAnyOf } from './piece-assembly.ts'
import { Run } from './run.ts'
import { overlaps, uncovered } from './spans.ts'
import type { PieceRange, Urgency } from '../pieces/demand.ts'
import type { PieceIndex } from '../pieces/geometry.ts'
import type { PieceStore } from '../pieces/piece-store.ts'
import type { Assemblies } from './assemblies.ts'
import type { Disputes } from './disputes.ts'
import type { Gap } from './mirror-choice.ts'
import type { MirrorRecord } from './mirror-record.ts'
import type { Span } from './spans.ts'

/** A run for somebody who waits ends soon, so that what is most urgent is looked at anew; background runs save requests. */
const RUN_BYTES = 4 * 1024 * 1024
const BACKGROUND_RUN_BYTES = 16 * 1024 * 1024
/** A piece that a reader waits for is taken out of a run that would only come to it after so much else. */
const OVERTAKE_BYTES = 1024 * 1024
/** A piece that a reader waits for is fetched in parts side by side, none of them smaller than this: a request costs something, too. */
const PART_BYTES = 1024 * 1024
const PART_ALIGNMENT = 16 * 1024
/** What comes within this is neither divided any more nor given to another. */
const SOON_MS = 1000
/** Another mirror has to be so many times faster to be given what a slow one has begun. */
const FASTER = 2

export interface RunPlanOptions {
  readonly store: Pick<PieceStore, 'geometry' | 'metadata' | 'has'>
  readonly records: readonly MirrorRecord[]
  /** What is under way; an aborted run does not count. */
  readonly runs: ReadonlySet<Run>
  readonly assemblies: Pick<Assemblies<MirrorRecord>, 'get'>
  /** Pieces that were wrong, and who had sent them. */
  readonly disputes: Pick<Disputes<MirrorRecord>, 'has' | 'suspectsOf'>
  /** Does another filler bring the piece, soon enough for this urgency? */
  readonly isElsewhere: (piece: PieceIndex, urgency: Urgency) => boolean
}

export interface NextOptions {
  /** Nothing less urgent than this. */
  readonly atLeast?: Urgency
  /** How many runs may begin in all, this one included. */
  readonly slots?: number
}

/**
 * Decides what an HTTP download fetches next, and from whom, given what is wanted, what is there, what is under way and
 * what is known of the mirrors. Starts nothing itself; it moves the ends of runs. Times are those of performance.now().
 *
 * Each byte of a wanted piece that is neither there nor promised by a run is a gap, and gaps are filled, the most urgent
 * first. Where a reader waits, more is a gap: what a run has promised that is silent, much too slow, or busy with other
 * pieces. So nobody can hold such a piece, and what was slow still counts if it comes first.
 */
export class RunPlan {
  /** What is wanted, the most urgent first. */
  ranges: readonly PieceRange[] = []
  readonly #options: RunPlanOptions
  readonly #store: RunPlanOptions['store']
  readonly #records: readonly MirrorRecord[]
  readonly #choice: MirrorChoice

  constructor (options: RunPlanOptions) {
    this.#options = options
    this.#choice = new MirrorChoice({ ...options, isWanted: (piece) => this.isWanted(piece) })
    this.#store = options.store
    this.#records = options.records
  }

  /** The next run to start: at the most urgent gap that some mirror can be asked for now; null: none. */
  next (now: number, { atLeast = urgencies.background, slots = 1 }: NextOptions = {}): Run | null {
    if (!this.#records.some((record) => record.freeRuns(now) > 0)) return null
    let free: readonly MirrorRecord[] = []
    let freeFor: Urgency | null = null
    let barren: Span | null = null
    for (const { piece, urgency } of this.#missing(atLeast)) {
      if (urgency !== freeFor) {
        freeFor = urgency
        free = this.#records.filter((record) => this.#choice.isFree(record, urgency, now))
        barren = null
      }
      if (free.length === 0 || isIn(piece, barren)) continue
      for (const gap of this.#gapsOf(piece, urgency, now)) {
        const run = this.#fill(gap, now, slots)
        if (run !== null) return run
      }
      const run = urgency === urgencies.waiting ? this.#divide(piece, now) : null
      if (run !== null) return run
      barren = this.#barrenFrom(piece, free)
    }
    return null
  }

  /**
   * The pieces from this one on that lie within one file which none of these mirrors has, for none of them to be looked
   * at one by one: there may be half a million. null: one of them may have it.
   */
  #barrenFrom (piece: PieceIndex, records: readonly MirrorRecord[]): Span | null {
    const { start, end } = this.spanOf(piece)
    const file = this.#choice.fileFrom(start, end)
    if (file === null || records.some((record) => record.mayHave(file))) return null
    return { start: piece, end: this.#store.geometry.pieceAt(file.offset + file.lengthBytes - 1) }
  }

  /** May the run go on at its position, where a piece begins? Where the mirror sends on anyway, its end moves up. */
  goesOn (run: Run): boolean {
    const { geometry } = this.#store
    if (run.isAborted || run.position >= geometry.lengthBytes) return false
    const piece = geometry.pieceAt(run.position)
    if (!run.isWholeFile) return run.position < run.end && this.isWanted(piece) && !this.#store.has(piece)
    // The mirror cannot be asked for what comes later: reading over what is there is the only way to it.
    const span = this.spanOf(piece)
    if (run.position >= run.end && this.#live().some((other) => other !== run && overlaps(other.span, span))) return false
    const isUseful = this.isWanted(piece) && !this.#store.has(piece)
    if (!isUseful && (!this.#lacksFrom(piece) || !this.#isAlone(run))) return false
    run.end = Math.max(run.end, span.end)
    return true
  }

  /** Is there nobody else who could be asked for what comes later in this file? */
  #isAlone ({ record, position }: Run): boolean {
    const file = this.#choice.fileFrom(position, position + 1)
    return file === null || !this.#records.some((other) => other !== record && other.isHopeful && other.mayHave(file) && !other.mustReadTo(file, Infinity))
  }

  /** Is anything that the run still promises wanted and missing? */
  isNeeded ({ span }: Run): boolean {
    const { geometry } = this.#store
    for (let start = span.start; start < span.end; start = this.spanOf(geometry.pieceAt(start)).end) {
      const piece = geometry.pieceAt(start)
      if (this.isWanted(piece) && !this.#store.has(piece)) return true
    }
    return false
  }

  /** The run to give up because a reader waits for a piece, and all that is under way is less urgent; null: none. */
  leastUrgent (now: number): Run | null {
    const [least] = this.#live()
      .map((run) => ({ run, urgency: this.urgencyOf(this.#store.geometry.pieceAt(run.position)) })).sort((a, b) => a.urgency - b.urgency)
    if (least === undefined || least.urgency === urgencies.waiting) return null
    for (const { piece } of this.#missing(urgencies.waiting)) {
      if (this.#gapsOf(piece, urgencies.waiting, now).some((gap) => this.#isInTheWay(least.run, gap, now))) return least.run
    }
    return null
  }

  /** Could the gap be filled if this run ended? One that reads its way to it is not in the way. */
  #isInTheWay (run: Run, gap: Gap, now: number): boolean {
    const record = this.#choice.bestFor(gap, now, run)
    if (record === null) return false
    const file = this.#choice.fileFrom(gap.start, gap.end)
    const isOnTheWay = run.isWholeFile && run.position <= gap.start && file !== null && run.position >= file.offset
    return !isOnTheWay || !record.mustReadTo(file, gap.start - file.offset)
  }

  /** Is something wanted and missing, nothing under way, and no mirror that is counted on can be asked for any of it? */
  get isStranded (): boolean {
    if (this.#options.runs.size > 0) return false
    let isStranded = false
    let barren: Span | null = null
    const hopeful = this.#records.filter(({ isHopeful }) => isHopeful)
    for (const { piece } of this.#missing()) {
      if (hopeful.length === 0) return true
      if (isIn(piece, barren)) continue
      const files = this.#choice.filesIn(this.spanOf(piece))
      if (files.every((file) => this.#records.some((record) => record.isHopeful && this.#choice.canReach(record, file, this.spanOf(piece).start)))) return false
      isStranded = true
      barren = this.#barrenFrom(piece, hopeful)
    }
    return isStranded
  }

  /** Is a piece under way that a reader waits for, so that time alone changes what is to be done? */
  get isWaitedFor (): boolean {
    if (this.#options.runs.size === 0) return false
    return !this.#missing(urgencies.waiting).next().done
  }

  isWanted (piece: PieceIndex): boolean {
    return this.ranges.some(({ first, last }) => piece >= first && piece <= last)
  }

  urgencyOf (piece: PieceIndex): Urgency {
    return this.ranges.find(({ first, last }) => piece >= first && piece <= last)?.urgency ?? urgencies.background
  }

  spanOf (piece: PieceIndex): Span {
    const start = this.#store.geometry.offsetOf(piece)
    return { start, end: start + this.#store.geometry.lengthOf(piece) }
  }

  #live (): Run[] {
    return live(this.#options.runs)
  }

  /** Wanted pieces that the store lacks, the most urgent first; those under way included, and one in two ranges twice. */
  * #missing (atLeast: Urgency = urgencies.background): Generator<{ piece: PieceIndex, urgency: Urgency }, void, void> {
    for (const { first, last, urgency } of this.ranges) {
      if (urgency < atLeast) return
      for (let i: number = first; i <= last; i++) {
        const piece = this.#store.geometry.piece(i)
        if (!this.#store.has(piece) && !this.#options.isElsewhere(piece, urgency)) yield { piece, urgency }
      }
    }
  }

  #lacksFrom (piece: PieceIndex): boolean {
    for (const missing of this.#missing()) {
      if (missing.piece >= piece) return true
    }
    return false
  }

  /** What of the piece nobody brings, or nobody brings in time. */
  #gapsOf (piece: PieceIndex, urgency: Urgency, now: number): Gap[] {
    const span = this.spanOf(piece)
    const slow = new Set<MirrorRecord>()
    const covers: Span[] = [...this.#options.assemblies.get(piece)?.parts ?? []]
    for (const run of this.#live()) {
      if (!overlaps(run.span, span)) continue
      if (urgency === urgencies.waiting) {
        if (this.#isBusyElsewhere(run, span)) continue
        if (run.isSilent(now)) continue
        if (this.#isSlow(run, span, now)) {
          slow.add(run.record)
          continue
        }
      }
      covers.push(run.span)
    }
    return uncovered(span, covers).map(({ start, end }) => ({ start, end, piece, urgency, slow }))
  }

  /** Does the run only come to the piece much later? */
  #isBusyElsewhere ({ position }: Run, span: Span): boolean {
    return span.start - position > OVERTAKE_BYTES && span.start > this.spanOf(this.#store.geometry.pieceAt(position)).end
  }

  /** Could another mirror bring the rest of the piece much sooner? */
  #isSlow (run: Run, { start, end }: Span, now: number): boolean {
    const restEnd = Math.min(run.end, end)
    const rest = restEnd - Math.max(run.position, start)
    const needMs = run.needMs(restEnd - run.position, now)
    if (needMs === null || needMs <= FASTER * SOON_MS) return false
    const file = this.#choice.fileFrom(run.position, restEnd)
    return this.#records.some((record) => record !== run.record && record.isHopeful && record.freeRuns(now) > 0 &&
      (file === null || (record.mayHave(file) && !record.mustReadTo(file, start - file.offset))) && needMs > FASTER * rest / this.#choice.speedOf(record) * 1000)
  }

  #fill (gap: Gap, now: number, slots: number): Run | null {
    const record = this.#choice.bestFor(gap, now)
    if (record === null) return null
    const span = this.spanOf(gap.piece)
    const isWholePiece = gap.start === span.start && gap.end === span.end
    if (record.isQuarantined && !isWholePiece) return null
    const { urgency } = gap
    const file = this.#choice.fileFrom(gap.start, gap.end)
    if (file !== null && record.mustReadTo(file, gap.start - file.offset)) return new Run({ record, urgency, start: file.offset, end: gap.end, now, isWholeFile: true })
    for (const run of this.#live()) {
      if (overlaps(run.span, gap) && this.#isBusyElsewhere(run, span)) run.end = Math.min(run.end, span.start)
    }
    return new Run({ record, urgency, start: gap.start, end: this.#endFor(gap, record, now, slots), now })
  }

  #endFor (gap: Gap, record: MirrorRecord, now: number, slots: number): number {
    const reach = this.#choice.reach(record, gap)
    const isAlone = record.isQuarantined || this.#options.disputes.has(gap.piece)
    if (isAlone || reach < gap.end || gap.end < this.spanOf(gap.piece).end) return reach
    if (gap.urgency === urgencies.waiting) {
      const length = gap.end - gap.start
      const bearable = this.#records.filter((other) => this.#choice.canServe(other, gap, now)).reduce((sum, other) => sum + other.freeRuns(now), 0)
      const parts = Math.min(slots, bearable, Math.floor(length / PART_BYTES))
      if (parts > 1) return Math.min(gap.end, gap.start + aligned(length / parts))
    }
    return this.#extended(gap, record, gap.urgency === urgencies.background ? BACKGROUND_RUN_BYTES : RUN_BYTES)
  }

  /** Gives the second half of what is long in coming to another connection. */
  #divide (piece: PieceIndex, now: number): Run | null {
    if (this.#options.disputes.has(piece)) return null
    const span = this.spanOf(piece)
    let longest: { run: Run, rest: Span, needMs: number } | null = null
    for (const run of this.#live()) {
      if (run.isWholeFile || !overlaps(run.span, span) || run.isSilent(now)) continue
      const rest = { start: Math.max(run.position, span.start), end: Math.min(run.end, span.end) }
      const needMs = run.needMs(rest.end - rest.start, now)
      if (needMs === null || needMs <= SOON_MS || rest.end - rest.start < PART_BYTES) continue
      // Another was given it already.
      if (this.#live().some((other) => other !== run && overlaps(other.span, rest))) continue
      if (longest === null || needMs > longest.needMs) longest = { run, rest, needMs }
    }
    if (longest === null) return null
    const { run, rest } = longest
    const gap = { start: rest.start + aligned((rest.end - rest.start) / 2), end: rest.end, piece, urgency: urgencies.waiting, slow: new Set<MirrorRecord>() }
    const record = this.#choice.bestFor(gap, now)
    if (record === null || record.isQuarantined) return null
    run.end = gap.start
    return new Run({ record, urgency: gap.urgency, start: gap.start, end: this.#choice.reach(record, gap), now })
  }

  /** The end of a run that goes on with what follows the gap, as long as that is a gap, too. */
  #extended (gap: Gap, record: MirrorRecord, limitBytes: number): number {
    const { geometry } = this.#store
    let end = gap.end
    while (end < geometry.lengthBytes) {
      const piece = geometry.pieceAt(end)
      const span = this.spanOf(piece)
      if (span.end - gap.start > limitBytes || !this.isWanted(piece) || this.#store.has(piece) || this.#options.disputes.has(piece) || this.#options.isElsewhere(piece, gap.urgency)) break
      if (hasAnyOf(this.#options.assemblies.get(piece), span) || this.#live().some((run) => overlaps(run.span, span)) || this.#choice.reach(record, span) < span.end) break
      end = span.end
    }
    return end
  }
}

function isIn (position: number, span: Span | null): boolean {
  return span !== null && position >= span.start && position < span.end
}

function aligned (bytes: number): number {
  return Math.ceil(bytes / PART_ALIGNMENT) * PART_ALIGNMENT
}
