import { maxSkipBytes } from './range-reply.ts'
import type { TorrentFile } from '../torrent/metadata.ts'
import type { Mirror } from './mirror.ts'

/** A mirror that failed so often without delivering a piece is not counted on, though it is tried again. */
const HOPELESS_FAILURES = 3
const MAX_BACKOFF_MS = 30_000
/** A mirror that never delivered and lacks so many files lacks them all. */
const MISSING_FILES_LIMIT = 3

/** What one downloader has learnt about a mirror. Times are those of performance.now(). */
export class MirrorRecord {
  readonly mirror: Mirror
  /** Runs that fetch from it now, and how many it bears. */
  activeRuns = 0
  #maxRuns = Infinity
  /** Failed tries since the last verified piece. */
  #failures = 0
  #failedAt = -Infinity
  #retryAt = -Infinity
  #refusal: string | null = null
  #outcome: string | null = null
  #ignoresRange = false
  #bytesPerSecond: number | null = null
  #deliveredBytes = 0
  #badBytes = 0
  readonly #missingFiles = new Set<number>()
  readonly #firstBackoffMs: number

  constructor (mirror: Mirror, firstBackoffMs = 500) {
    this.mirror = mirror
    this.#firstBackoffMs = firstBackoffMs
  }

  /** Never to be asked again by this downloader. */
  get isOut (): boolean { return this.#refusal !== null }
  get isHopeful (): boolean { return !this.isOut && this.#failures < HOPELESS_FAILURES }
  get retryAt (): number { return this.#retryAt }
  get badBytes (): number { return this.#badBytes }
  /** Of one connection, while it delivered; null when it has not delivered yet. */
  get bytesPerSecond (): number | null { return this.#bytesPerSecond }
  /** What went wrong last, for people. */
  get outcome (): string { return `${this.mirror.name}: ${this.#refusal ?? this.#outcome ?? 'no answer yet'}` }

  /** May another run begin now? After a failure one run has to show that the mirror works again. */
  isFree (now: number, activeRuns = this.activeRuns): boolean {
    return !this.isOut && now >= this.#retryAt && activeRuns < (this.#failures > 0 ? 1 : this.#maxRuns)
  }

  /** Can a request begin at this byte of the file? */
  canStart (file: TorrentFile, fileOffset: number): boolean {
    return !this.isOut && !this.#missingFiles.has(file.index) && !(this.#ignoresRange && fileOffset > maxSkipBytes) && this.mirror.mayHave(file)
  }

  delivered (bytes: number, elapsedMs: number): void {
    const speed = bytes / Math.max(elapsedMs, 1) * 1000
    this.#bytesPerSecond = this.#bytesPerSecond === null ? speed : this.#bytesPerSecond * 0.7 + speed * 0.3
    this.#deliveredBytes += bytes
    this.#failures = 0
  }

  /** `startedAt`: when the failed run began. Runs that fail side by side are one failure. */
  failed (why: string, { startedAt, now, retryAfterMs = 0, isBusy = false }: { startedAt: number, now: number, retryAfterMs?: number, isBusy?: boolean }): void {
    this.#outcome = why
    if (isBusy && this.activeRuns > 1) this.#maxRuns = Math.max(1, Math.min(this.#maxRuns, this.activeRuns) - 1)
    if (startedAt >= this.#failedAt) this.#failures++
    this.#failedAt = now
    const backoffMs = Math.min(this.#firstBackoffMs * 2 ** (Math.max(1, this.#failures) - 1), MAX_BACKOFF_MS)
    this.#retryAt = Math.max(this.#retryAt, now + Math.max(backoffMs, retryAfterMs))
  }

  /** A new reader came: what failed before, and may be asked again, gets its tries anew. */
  forgive (now: number): void {
    if (now >= this.#retryAt) this.#failures = 0
  }

  lacks (file: TorrentFile, why: string): void {
    this.#missingFiles.add(file.index)
    this.#outcome = why
    if (this.#deliveredBytes === 0 && this.#missingFiles.size >= MISSING_FILES_LIMIT) this.#refusal = why
  }

  ignoresRange (why: string): void {
    this.#ignoresRange = true
    this.#outcome = why
  }

  /** It cannot be asked at all. */
  refuse (why: string): void {
    this.#refusal = why
  }

  quarantine (piece: number, bytes: number): void {
    this.#badBytes += bytes
    this.#refusal ??= `it sent wrong bytes for piece ${piece}`
  }
}
