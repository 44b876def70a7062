import { asCoded } from '../errors.ts'
import { MirrorFault } from './mirror.ts'
import { MirrorScores, quarantine } from './mirror-scores.ts'
import { maxSkipBytes } from './range-reply.ts'
import type { TorrentFile } from '../torrent/metadata.ts'
import type { Mirror } from './mirror.ts'
import type { MirrorScore } from './mirror-scores.ts'

/** A mirror that failed so often without delivering a piece is not counted on, though it is tried again. */
const HOPELESS_FAILURES = 3
const MAX_BACKOFF_MS = 30_000
/** However many readers want to read now. */
const LEAST_BACKOFF_MS = 250
/** A mirror that never delivered and lacks so many files lacks them all. */
const MISSING_FILES_LIMIT = 3
/** Less tells more of a connection's start than of its speed. */
const MEASURE_BYTES = 64 * 1024
/** For an estimate, of a mirror that nothing is known of. */
const LIKELY_BYTES_PER_SECOND = 10_000_000

export interface MirrorRecordOptions {
  readonly infohash?: string
  /** Where what is learnt about the mirror outlives this download. */
  readonly score?: MirrorScore
  /** How long it is left alone after its first failure; doubled for each further one. */
  readonly firstBackoffMs?: number
  /** The same after a wrong piece. */
  readonly firstQuarantineMs?: number
}

/** What one download has learnt about a mirror. Times are those of performance.now(). */
export class MirrorRecord {
  readonly mirror: Mirror
  readonly score: MirrorScore
  /** Runs that fetch from it now, and how many it bears. */
  activeRuns = 0
  #maxRuns = Infinity
  /** Failed tries since the last verified piece. */
  #failures = 0
  #failedAt = -Infinity
  #retryAt = -Infinity
  /** Until then it said itself that it cannot. */
  #busyUntil = -Infinity
  #refusal: string | null = null
  #outcome: string | null = null
  #hasAnswered = false
  #deliveredBytes = 0
  #badBytes = 0
  readonly #missingFiles = new Set<number>()
  readonly #wholeFiles = new Set<number>()
  readonly #validators = new Map<number, string>()
  readonly #changedFiles = new Set<number>()
  readonly #infohash: string
  readonly #firstBackoffMs: number
  readonly #firstQuarantineMs: number

  constructor (mirror: Mirror, { infohash = '', score = new MirrorScores().of(mirror.name), firstBackoffMs = 500, firstQuarantineMs = 600_000 }: MirrorRecordOptions = {}) {
    this.mirror = mirror
    this.score = score
    this.#infohash = infohash
    this.#firstBackoffMs = firstBackoffMs
    this.#firstQuarantineMs = firstQuarantineMs
    if (this.isQuarantined) this.#outcome = 'it sent wrong bytes of this torrent'
  }

  /** Never to be asked again by this download. */
  get isOut (): boolean { return this.#refusal !== null }
  /** It lied about this torrent. When its time is over it is on trial: one whole piece at a time, for which nobody waits. */
  get isQuarantined (): boolean { return this.score.quarantines.get(this.#infohash)?.isOver === false }
  /** Is it counted on? */
  get isHopeful (): boolean { return !this.isOut && !this.isQuarantined && this.#failures < HOPELESS_FAILURES }
  get retryAt (): number { return this.isQuarantined ? Math.max(this.#retryAt, this.score.quarantines.get(this.#infohash)?.until ?? 0) : this.#retryAt }
  get badBytes (): number { return this.#badBytes }
  /** Of one connection, while it delivered; null when it has not delivered yet. */
  get bytesPerSecond (): number | null { return this.score.bytesPerSecond }
  /** How much worse it is than its speed says. */
  get handicap (): number { return 1 + this.score.lies + this.score.failures }
  /** What went wrong last, for people. */
  get outcome (): string { return `${this.mirror.name}: ${this.#refusal ?? this.#outcome ?? 'no answer yet'}` }

  /** How many more runs may begin now? One has to show that the mirror works: at first, after a failure, and on trial. */
  freeRuns (now: number, activeRuns = this.activeRuns): number {
    if (this.isOut || now < this.retryAt) return 0
    const isProven = (this.#hasAnswered || this.score.hasAnsweredRange) && this.#failures === 0 && !this.isQuarantined
    return Math.max(0, (isProven ? this.#maxRuns : 1) - activeRuns)
  }

  /** Has it this file, as far as one knows? */
  mayHave (file: TorrentFile): boolean {
    return !this.isOut && !this.#missingFiles.has(file.index) && this.mirror.mayHave(file)
  }

  /** Does it send this file from its beginning only, and is this byte too far inside to read over all before? */
  mustReadTo (file: TorrentFile, fileOffset: number): boolean {
    return this.#wholeFiles.has(file.index) && fileOffset > maxSkipBytes
  }

  /** So long it takes to read that far. */
  readingMs (bytes: number): number {
    return bytes / (this.bytesPerSecond ?? LIKELY_BYTES_PER_SECOND) * 1000
  }

  /** Its reply was accepted. `validator`: what it says of the version of the file that it has, null: nothing. */
  answered (file: TorrentFile, { isWholeFile, validator }: { isWholeFile: boolean, validator: string | null }): void {
    this.#hasAnswered = true
    if (isWholeFile) {
      this.#wholeFiles.add(file.index)
    } else {
      this.#wholeFiles.delete(file.index)
      this.score.hasAnsweredRange = true
    }
    const before = this.#validators.get(file.index)
    if (validator === null) return
    this.#validators.set(file.index, validator)
    // By itself it proves nothing: servers behind one name often have a validator each, for the same bytes.
    if (before !== undefined && before !== validator) this.#changedFiles.add(file.index)
  }

  measured ({ bytes, elapsedMs }: { bytes: number, elapsedMs: number }): void {
    if (bytes < MEASURE_BYTES && elapsedMs < 1000) return
    const speed = bytes / Math.max(elapsedMs, 1) * 1000
    const before = this.score.bytesPerSecond
    this.score.bytesPerSecond = before === null ? speed : before * 0.7 + speed * 0.3
  }

  /** Bytes of it turned out to be right. */
  delivered (bytes: number, now: number): void {
    this.#deliveredBytes += bytes
    this.#failures = 0
    this.score.failures = 0
    const quarantine = this.score.quarantines.get(this.#infohash)
    if (quarantine !== undefined && now >= quarantine.until) quarantine.isOver = true
  }

  /** `startedAt`: when the failed run began. Runs that fail side by side are one failure. */
  failed (why: string, { startedAt, now, retryAfterMs = 0, isBusy = false }: { startedAt: number, now: number, retryAfterMs?: number, isBusy?: boolean }): void {
    this.#outcome = why
    if (isBusy && this.activeRuns > 1) this.#maxRuns = Math.max(1, Math.min(this.#maxRuns, this.activeRuns) - 1)
    if (startedAt >= this.#failedAt) {
      this.#failures++
      this.score.failures++
    }
    // Nobody waits so long for it.
    if (retryAfterMs > MAX_BACKOFF_MS) this.#failures = Math.max(this.#failures, HOPELESS_FAILURES)
    this.#failedAt = now
    const backoffMs = Math.min(this.#firstBackoffMs * 2 ** (Math.max(1, this.#failures) - 1), MAX_BACKOFF_MS)
    this.#busyUntil = Math.max(this.#busyUntil, now + retryAfterMs)
    this.#retryAt = Math.max(this.#retryAt, this.#busyUntil, now + backoffMs)
  }

  /** Takes down why a run failed that began at `startedAt`: a MirrorFault, or what the fetcher throws. */
  blame (error: unknown, { startedAt, now }: { startedAt: number, now: number }): void {
    if (error instanceof MirrorFault) {
      const { verdict, file } = error
      if (verdict.kind === 'failed') this.failed(verdict.why, { startedAt, now, retryAfterMs: verdict.retryAfterMs, isBusy: verdict.isBusy })
      else if (verdict.kind === 'not-here') this.lacks(file, verdict.why)
      else this.ignoresRange(file, verdict.why)
      return
    }
    const { code, message } = asCoded(error, 'SOURCE_FAILED')
    if (code === 'ADDRESS_REFUSED') this.refuse(message)
    else this.failed(message, { startedAt, now })
  }

  /** Somebody wants to read now: what failed before is tried at once, unless it said itself when it can be asked again. */
  forgive (now: number): void {
    if (now < Math.max(this.#busyUntil, this.#failedAt + LEAST_BACKOFF_MS)) return
    this.#failures = 0
    this.#retryAt = -Infinity
  }

  /** Somebody asks anew: nothing of what went wrong counts any more. */
  reset (): void {
    this.#failures = 0
    this.#retryAt = this.#busyUntil = -Infinity
    this.#refusal = null
    this.#maxRuns = Infinity
    this.#missingFiles.clear()
    this.#changedFiles.clear()
    this.score.quarantines.delete(this.#infohash)
  }

  lacks (file: TorrentFile, why: string): void {
    this.#missingFiles.add(file.index)
    this.#outcome = why
    if (this.#deliveredBytes === 0 && this.#missingFiles.size >= MISSING_FILES_LIMIT) this.#refusal = why
  }

  /** It sends the file from its beginning only. */
  ignoresRange (file: TorrentFile, why: string): void {
    this.#hasAnswered = true
    this.#wholeFiles.add(file.index)
    this.#outcome = why
  }

  /** It cannot be asked at all. */
  refuse (why: string): void {
    this.#refusal = why
  }

  /**
   * It sent wrong bytes of a piece. Where it had said that the file is another one than before, it has lost the file;
   * else it is quarantined, and on trial afterwards.
   */
  lied (file: TorrentFile, piece: number, bytes: number, now: number): void {
    this.#badBytes += bytes
    this.score.badBytes += bytes
    if (this.#changedFiles.has(file.index)) return this.lacks(file, 'its file has changed')
    this.score.lies++
    this.#outcome = `it sent wrong bytes for piece ${piece}`
    quarantine(this.score, this.#infohash, now, this.#firstQuarantineMs)
  }
}
