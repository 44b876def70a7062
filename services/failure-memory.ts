import { reasonCodes } from './errors.ts'
import { steadyClock } from './clock.ts'
import type { Clock } from './clock.ts'
import type { Refusal } from './source-walk.ts'

export interface FailureMemoryOptions {
  /** How long a failure is remembered; doubled each time the next try fails too, up to the longest. */
  readonly firstMs?: number
  readonly longestMs?: number
  /** So many failures are remembered, the latest ones. */
  readonly limit?: number
  /** A source that broke for so many infohashes in a row rests as a whole. */
  readonly sourceFailures?: number
  readonly clock?: Clock
}

interface Failure {
  readonly subject: Subject
  readonly refusal: Refusal
  /** Tries in a row that failed. */
  readonly count: number
  readonly until: number
}

/** What a failure is about; texts that begin with the infohash. */
export interface Subject {
  /** The infohash, and whatever else the question was about, such as the trackers that were asked. */
  readonly content: string
  /** The same, and the file. */
  readonly file: string
}

/**
 * Circuit breakers: what failed is not tried again for a while, and says at once why and when. When the time is over the
 * next request is the trial: one that fails rests twice as long, one that delivers makes all forgotten.
 */
export class FailureMemory {
  readonly #options: Required<FailureMemoryOptions>
  readonly #failures = new Map<string, Failure>()
  readonly #sources = new Map<string, Failure>()
  /** The subjects that each source broke for since it last delivered. */
  readonly #broken = new Map<string, Set<string>>()

  constructor (options: FailureMemoryOptions = {}) {
    this.#options = { firstMs: 15_000, longestMs: 600_000, limit: 5000, sourceFailures: 5, clock: steadyClock, ...options }
  }

  /** How many failures are remembered. */
  get size (): number { return this.#failures.size }

  /** Why the source is not asked now, with the time that is left; null: it may be asked. */
  recall ({ content, file }: Subject, source: string): Refusal | null {
    const now = this.#options.clock.now()
    const failure = [this.#failures.get(keyOf(file, source)), this.#failures.get(keyOf(content, source)), this.#sources.get(source)].find((failure) => failure !== undefined && failure.until > now)
    return failure === undefined ? null : { ...failure.refusal, retryInMs: Math.ceil(failure.until - now) }
  }

  /** A source refused that was really asked. Gives the refusal, with the time after which it is asked again. */
  failed (subject: Subject, refusal: Refusal): Refusal {
    const { source, code } = refusal
    const { rests } = reasonCodes[code]
    if (rests === null) return refusal
    this.#note(this.#failures, keyOf(rests === 'file' ? subject.file : subject.content, source), subject, refusal)
    const [oldest] = this.#failures.keys()
    if (oldest !== undefined && this.#failures.size > this.#options.limit) this.#failures.delete(oldest)
    if (rests === 'source') this.#broke(subject, refusal)
    return this.recall(subject, source) ?? refusal
  }

  delivered ({ content, file }: Subject, source: string): void {
    this.#failures.delete(keyOf(content, source))
    this.#failures.delete(keyOf(file, source))
    this.#sources.delete(source)
    this.#broken.delete(source)
  }

  /** What failed last of all that was asked about this infohash, with whatever trackers; null: nothing is remembered. */
  latestSubject (infohash: string): Subject | null {
    return [...this.#failures.values()].findLast(({ subject }) => subject.content.startsWith(infohash))?.subject ?? null
  }

  /** Somebody asks for it anew: whatever is remembered of this infohash, or rests as a whole, is not any more. */
  forget (infohash: string): void {
    this.#sources.clear()
    this.#broken.clear()
    for (const key of this.#failures.keys()) if (key.startsWith(infohash)) this.#failures.delete(key)
  }

  /** One infohash that a source breaks at says little of the source; several in a row do. */
  #broke (subject: Subject, refusal: Refusal): void {
    const subjects = this.#broken.get(refusal.source) ?? new Set()
    this.#broken.set(refusal.source, subjects)
    if (subjects.size < this.#options.sourceFailures) subjects.add(subject.content)
    if (subjects.size >= this.#options.sourceFailures) this.#note(this.#sources, refusal.source, subject, refusal)
  }

  #note (failures: Map<string, Failure>, key: string, subject: Subject, refusal: Refusal): void {
    const { firstMs, longestMs, clock } = this.#options
    const now = clock.now()
    const before = failures.get(key)
    // Tries that fail side by side are one; a failure of long ago is not in a row with this one.
    const count = before === undefined || now - before.until > longestMs ? 1 : before.until > now ? before.count : before.count + 1
    failures.delete(key)
    failures.set(key, { subject, refusal, count, until: now + Math.min(firstMs * 2 ** (count - 1), longestMs) })
  }
}

function keyOf (about: string, source: string): string {
  return `${about} ${source}`
}
