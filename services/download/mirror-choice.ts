import { urgencies } from '../pieces/demand.ts'
import { overlaps } from './spans.ts'
import { deadlines } from '../deadlines.ts'
import type { Urgency } from '../pieces/demand.ts'
import type { PieceIndex } from '../pieces/geometry.ts'
import type { PieceStore } from '../pieces/piece-store.ts'
import type { TorrentFile } from '../torrent/metadata.ts'
import type { Disputes } from './disputes.ts'
import type { MirrorRecord } from './mirror-record.ts'
import type { Run } from './run.ts'
import type { Span } from './spans.ts'

/** So long one may read over what nobody wants, to get to what somebody does. */
const MAX_READING_MS = 60_000

/** Bytes of a piece that nobody brings, or nobody brings in time. */
export interface Gap extends Span {
  readonly piece: PieceIndex
  readonly urgency: Urgency
  /** Mirrors that are at it, too slowly. */
  readonly slow: ReadonlySet<MirrorRecord>
}

export interface MirrorChoiceOptions {
  readonly store: Pick<PieceStore, 'geometry' | 'metadata'>
  readonly records: readonly MirrorRecord[]
  /** What is under way; an aborted run does not count. */
  readonly runs: ReadonlySet<Run>
  /** Pieces that were wrong, and who had sent them. */
  readonly disputes: Pick<Disputes<MirrorRecord>, 'suspectsOf'>
  readonly isWanted: (piece: PieceIndex) => boolean
}

/** Decides which mirror is asked for a gap, given what is known of them and what they are at. Times are those of performance.now(). */
export class MirrorChoice {
  readonly #options: MirrorChoiceOptions
  readonly #store: MirrorChoiceOptions['store']
  readonly #records: readonly MirrorRecord[]

  constructor (options: MirrorChoiceOptions) {
    this.#options = options
    this.#store = options.store
    this.#records = options.records
  }

  /**
   * The free mirror that will bring the gap soonest, as far as one knows; one that is not known yet may be the best.
   * `without`: a run that would end first.
   */
  bestFor (gap: Gap, now: number, without?: Run): MirrorRecord | null {
    const suspects = this.#options.disputes.suspectsOf(gap.piece)
    let best: { record: MirrorRecord, score: number } | null = null
    for (const record of this.#records) {
      if (!this.canServe(record, gap, now, without)) continue
      // Those who may have lied about this piece, or say nothing any more, only where there is no other.
      const isLast = suspects.has(record) || this.#isAsleep(record, now, without)
      const score = this.speedOf(record) / (this.#activeRuns(record, without) + 1) / record.handicap * (isLast ? 1e-6 : 1)
      if (best === null || score > best.score) best = { record, score }
    }
    return best?.record ?? null
  }

  /** May it be asked at all for something so urgent, whatever that is? */
  isFree (record: MirrorRecord, urgency: Urgency, now: number, without?: Run): boolean {
    if (record.freeRuns(now, this.#activeRuns(record, without)) === 0) return false
    const isWaiting = urgency === urgencies.waiting
    if (record.isQuarantined && isWaiting) return false
    return !this.#isAsleep(record, now, without) || (isWaiting && this.#mayBeAskedAgain(record, now))
  }

  canServe (record: MirrorRecord, gap: Gap, now: number, without?: Run): boolean {
    if (gap.slow.has(record) || !this.isFree(record, gap.urgency, now, without)) return false
    const file = this.fileFrom(gap.start, gap.end)
    if (file === null) return true
    if (!record.mayHave(file)) return false
    return !record.mustReadTo(file, gap.start - file.offset) || this.#mayReadTo(record, file, gap.start, now, without)
  }

  /** Is this the time to read a whole file over one connection: no other mirror can bring this byte, and no run comes to it? */
  #mayReadTo (record: MirrorRecord, file: TorrentFile, position: number, now: number, without?: Run): boolean {
    if (this.#records.some((other) => other.isHopeful && other.mayHave(file) && !other.mustReadTo(file, position - file.offset))) return false
    const fileSpan = { start: file.offset, end: file.offset + file.lengthBytes }
    const isUnderWay = live(this.#options.runs).some((run) => run !== without && overlaps(run.span, fileSpan) &&
      (run.record === record || (run.isWholeFile && run.position <= position && !run.isSilent(now))))
    return !isUnderWay && this.canReach(record, file, position)
  }

  canReach (record: MirrorRecord, file: TorrentFile, position: number): boolean {
    if (!record.mayHave(file)) return false
    if (!record.mustReadTo(file, position - file.offset)) return true
    return record.readingMs(position - file.offset) <= MAX_READING_MS || this.#options.isWanted(this.#store.geometry.pieceAt(file.offset))
  }

  #activeRuns (record: MirrorRecord, without?: Run): number {
    return record.activeRuns - (without?.record === record ? 1 : 0)
  }

  /** Has the mirror something to bring, and brings nothing? */
  #isAsleep (record: MirrorRecord, now: number, without?: Run): boolean {
    const runs = live(this.#options.runs).filter((run) => run.record === record && run !== without)
    return runs.length > 0 && runs.every((run) => run.isSilent(now))
  }

  #mayBeAskedAgain (record: MirrorRecord, now: number): boolean {
    return live(this.#options.runs).filter((run) => run.record === record).every((run) => !run.isAsking && run.silentMs(now) >= deadlines.askAgainMs)
  }

  speedOf (record: MirrorRecord): number {
    return Math.max(1, record.bytesPerSecond ?? Math.max(0, ...this.#records.map(({ bytesPerSecond }) => bytesPerSecond ?? 0)))
  }

  /** How far the mirror has what the gap is of. */
  reach (record: MirrorRecord, { start, end }: Span): number {
    const lacking = this.filesIn({ start, end }).find((file) => !record.mayHave(file) || record.mustReadTo(file, Math.max(0, start - file.offset)))
    return lacking === undefined ? end : Math.max(start + 1, Math.min(end, lacking.offset))
  }

  /** The files that the span has bytes of, padding aside. */
  filesIn ({ start, end }: Span): TorrentFile[] {
    return this.#store.geometry.spansIn({ start, end: end - 1 }).flatMap(({ fileIndex }) => {
      const file = this.#store.metadata.files[fileIndex]
      return file === undefined || file.isPadding ? [] : [file]
    })
  }

  fileFrom (start: number, end: number): TorrentFile | null {
    return this.filesIn({ start, end })[0] ?? null
  }
}

/** The runs that still bring something. */
export function live (runs: ReadonlySet<Run>): Run[] {
  return [...runs].filter((run) => !run.isAborted && run.position < run.end)
}
