import { deadlines } from '../deadlines.ts'
import type { Urgency } from '../pieces/demand.ts'
import type { MirrorRecord } from './mirror-record.ts'
import type { Span } from './spans.ts'

export interface RunOptions extends Span {
  readonly record: MirrorRecord
  /** How urgent its first byte was when it began. */
  readonly urgency: Urgency
  /** performance.now(), as all times here. */
  readonly now: number
  readonly isWholeFile?: boolean
}

/** Less than this is silence: so is a drip. */
const PROGRESS_BYTES = 16 * 1024
const RATE_WINDOW_MS = 1000

/** A stretch of the torrent on its way from one mirror, over one connection at a time. */
export class Run {
  readonly record: MirrorRecord
  readonly urgency: Urgency
  readonly startedAt: number
  readonly stop = new AbortController()
  /** The next byte that comes. */
  position: number
  /** So far it goes. It may move down while the run goes on, and up where `isWholeFile`. */
  end: number
  /** The mirror sends the file to its end, whatever was asked for: going on costs nothing. */
  isWholeFile: boolean
  /** The mirror is finding out where the bytes are; that may take minutes. */
  isAsking = false
  #isHeld = false
  #progressAt: number
  #bytesSinceProgress = 0
  #window: { since: number, bytes: number }
  #lap: { since: number, bytes: number }
  #bytesPerMs: number | null = null

  constructor ({ record, urgency, start, end, now, isWholeFile = false }: RunOptions) {
    this.record = record
    this.urgency = urgency
    this.position = start
    this.end = end
    this.isWholeFile = isWholeFile
    this.startedAt = this.#progressAt = now
    this.#window = { since: now, bytes: 0 }
    this.#lap = { since: now, bytes: 0 }
  }

  get isAborted (): boolean { return this.stop.signal.aborted }
  /** What it is still to bring. */
  get span (): Span { return { start: this.position, end: this.end } }

  received (bytes: number, now: number): void {
    this.#bytesSinceProgress += bytes
    if (this.#bytesSinceProgress >= PROGRESS_BYTES) {
      this.#bytesSinceProgress = 0
      this.#progressAt = now
    }
    this.#lap.bytes += bytes
    this.#window.bytes += bytes
    this.#roll(now)
  }

  /** How long nothing to speak of has come. */
  silentMs (now: number): number {
    return this.#isHeld ? 0 : now - this.#progressAt
  }

  isSilent (now: number): boolean {
    return this.silentMs(now) >= deadlines.waitedForMs
  }

  /** How long it will take for so many bytes, by what came within the last second or two; null: it is too early to say. */
  needMs (bytes: number, now: number): number | null {
    this.#roll(now)
    return this.#bytesPerMs === null ? null : bytes / this.#bytesPerMs
  }

  /** Its bytes are not taken for a while: that is no fault of the mirror, until resume(). */
  hold (): void {
    this.#isHeld = true
  }

  resume (now: number): void {
    this.#isHeld = false
    this.#progressAt = now
    this.#window = { since: now, bytes: 0 }
    this.#lap = { since: now, bytes: 0 }
  }

  /** What came since the last lap, or since it was resumed, and in which time. */
  lap (now: number): { bytes: number, elapsedMs: number } {
    const { since, bytes } = this.#lap
    this.#lap = { since: now, bytes: 0 }
    return { bytes, elapsedMs: now - since }
  }

  #roll (now: number): void {
    const elapsedMs = now - this.#window.since
    if (this.#isHeld || elapsedMs < RATE_WINDOW_MS) return
    this.#bytesPerMs = this.#window.bytes / elapsedMs
    this.#window = { since: now, bytes: 0 }
  }
}
