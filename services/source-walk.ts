import { asCoded, CodedError, reasonCodes } from './errors.ts'
import type { ReasonCode } from './errors.ts'
import type { Source, SourceFile, StreamRequest } from './source.ts'

/** Why one source did not serve a request, and how long it took to say so. */
export interface Refusal {
  readonly source: string
  readonly code: ReasonCode
  readonly message: string
  readonly isTemporary: boolean
}

export interface Timing {
  readonly source: string
  readonly durationMs: number
}

export interface Walked {
  readonly file: SourceFile
  /** One entry for each source that was asked, in the order they were asked. */
  readonly timings: readonly Timing[]
}

export interface WalkOptions {
  /** How long a source may take before the next one is started beside it; 0: the next starts when it has failed. */
  readonly hedgeDelayMs: number
  /** When the walk gives up, whatever the sources are doing. */
  readonly timeoutMs: number
  /** The source that delivered for this infohash a moment ago: turns of sources before it last ENGAGED_DELAY_MS. */
  readonly engaged: string | undefined
}

/** No source could serve the request; `refusals` says why, one for each source that was asked and did not say "not mine". */
export class NothingServes extends Error {
  readonly refusals: readonly Refusal[]

  constructor (refusals: readonly Refusal[]) {
    super(refusals.map(({ source, message }) => `${source}: ${message}`).join('; ') || 'no source claims this content')
    this.name = 'NothingServes'
    this.refusals = refusals
  }

  get isTemporary (): boolean {
    return this.refusals.some(({ isTemporary }) => isTemporary)
  }
}

const ENGAGED_DELAY_MS = 50

/** How long a source that was told to stop may take to say why in its own words. */
const LAST_WORDS_MS = 200

interface Attempt {
  readonly source: Source
  readonly controller: AbortController
  readonly startedAt: number
  outcome: { file: SourceFile | null } | { refusal: Refusal } | null
  durationMs: number
  readonly settled: Promise<void>
}

/**
 * Asks the sources in their order until one delivers. While a source has not answered, the next is started beside it
 * after the hedge delay; the first that delivers wins, the earlier in order on a tie, and the others are aborted.
 * Returns the file. Throws NothingServes when all have refused or the time is up, the signal's reason when that aborts.
 * A source that never settles, not even after its abort, costs nothing but its own promise.
 */
export async function walkSources (
  sources: readonly Source[], request: StreamRequest, options: WalkOptions, signal: AbortSignal
): Promise<Walked> {
  signal.throwIfAborted()
  const attempts: Attempt[] = []
  const timeUp = new AbortController()
  const timer = setTimeout(() => {
    timeUp.abort(new CodedError('START_TIMEOUT', `no source delivered within ${options.timeoutMs} ms`))
  }, options.timeoutMs)
  const stop = AbortSignal.any([signal, timeUp.signal])
  const engagedIndex = sources.findIndex(({ name }) => name === options.engaged)
  try {
    while (!stop.aborted) {
      const winner = firstFile(attempts)
      if (winner !== null) return { file: winner, timings: attempts.map(timingOf) }
      const pending = attempts.filter(({ outcome }) => outcome === null)
      const next = attempts.some(isFinal) ? undefined : sources[attempts.length]
      if (next === undefined && (pending.length === 0 || attempts.some(isFinal))) throw new NothingServes(refusalsOf(attempts))
      if (next !== undefined && pending.length === 0) {
        attempts.push(begin(next, request))
        continue
      }
      const waitMs = next === undefined ? 0 : turnLeft(attempts, options.hedgeDelayMs, attempts.length <= engagedIndex)
      const why = await firstOf(pending.map(({ settled }) => settled), waitMs, stop)
      if (why === 'time' && next !== undefined) attempts.push(begin(next, request))
    }
    signal.throwIfAborted()
    for (const { controller } of attempts) controller.abort(timeUp.signal.reason)
    await firstOf([Promise.all(attempts.map(({ settled }) => settled))], LAST_WORDS_MS, signal)
    throw new NothingServes(refusalsOf(attempts))
  } finally {
    clearTimeout(timer)
    for (const { outcome, controller } of attempts) {
      if (outcome === null) controller.abort(new CodedError('SOURCE_TIMEOUT', 'another source delivered first, or the request ended'))
    }
  }
}

function begin (source: Source, request: StreamRequest): Attempt {
  const controller = new AbortController()
  const startedAt = performance.now()
  const settle = async (): Promise<void> => {
    try {
      attempt.outcome = { file: await source.open(request, controller.signal) }
    } catch (error) {
      const { code, message, isTemporary } = asCoded(error, 'SOURCE_FAILED')
      attempt.outcome = { refusal: { source: source.name, code, message, isTemporary } }
    }
    attempt.durationMs = performance.now() - startedAt
  }
  const attempt: Attempt = {
    source, controller, startedAt, outcome: null, durationMs: 0, settled: Promise.resolve().then(settle)
  }
  return attempt
}

function firstFile (attempts: readonly Attempt[]): SourceFile | null {
  for (const { outcome } of attempts) {
    if (outcome !== null && 'file' in outcome && outcome.file !== null) return outcome.file
  }
  return null
}

/** The content itself is at fault (no such file in the torrent): another source could only say the same. */
function isFinal ({ outcome }: Attempt): boolean {
  return outcome !== null && 'refusal' in outcome && reasonCodes[outcome.refusal.code].isFinal
}

function timingOf ({ source, outcome, durationMs, startedAt }: Attempt): Timing {
  return { source: source.name, durationMs: outcome === null ? performance.now() - startedAt : durationMs }
}

/** Each refusal; a source that is still silent gets one that says so. */
function refusalsOf (attempts: readonly Attempt[]): Refusal[] {
  return attempts.flatMap(({ source, outcome, startedAt }) => {
    if (outcome === null) {
      const message = `no answer within ${Math.round(performance.now() - startedAt)} ms`
      return [{ source: source.name, code: 'SOURCE_TIMEOUT' as const, message, isTemporary: true }]
    }
    return 'refusal' in outcome ? [outcome.refusal] : []
  })
}

/**
 * Milliseconds until the next source may start beside the youngest one; 0: never by time. That is the youngest's turn,
 * or the hedge delay if that is shorter; a turn is cut short for a source that is engaged further on.
 */
function turnLeft (attempts: readonly Attempt[], hedgeDelayMs: number, isBeforeEngaged: boolean): number {
  const youngest = attempts.at(-1)
  if (youngest === undefined) return 0
  const { startedAt, source: { turnMs } } = youngest
  const limitMs = Math.min(hedgeDelayMs || Infinity, turnMs === undefined ? Infinity : isBeforeEngaged ? ENGAGED_DELAY_MS : turnMs)
  return limitMs === Infinity ? 0 : Math.max(1, startedAt + limitMs - performance.now())
}

/** Waits for the first of these, for `ms` milliseconds (0: no limit), or for the signal; says whether it was the time. */
async function firstOf (promises: readonly Promise<unknown>[], ms: number, signal: AbortSignal): Promise<'time' | 'other'> {
  const { promise, resolve } = Promise.withResolvers<'time' | 'other'>()
  const timer = ms > 0 ? setTimeout(() => { resolve('time') }, ms) : undefined
  const onOther = (): void => { resolve('other') }
  signal.addEventListener('abort', onOther, { once: true })
  if (signal.aborted) onOther()
  for (const each of promises) each.then(onOther, onOther)
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onOther)
  }
}
