import { asCoded, CodedError, reasonCodes } from './errors.ts'
import { deadlines } from './deadlines.ts'
import type { ReasonCode } from './errors.ts'
import type { Source, SourceFile, StreamRequest } from './source.ts'

/** Why one source did not serve a request, and how long it took to say so. */
export interface Refusal {
  readonly source: string
  readonly code: ReasonCode
  readonly message: string
  readonly isTemporary: boolean
  /** It is not asked again before so many milliseconds have passed. */
  readonly retryInMs?: number
}

export interface Timing {
  readonly source: string
  readonly durationMs: number
}

export interface Walked {
  readonly file: SourceFile
  /** The source that opened it, by the name it has in the chain. */
  readonly by: string
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
  /** Why a source is not asked at all this time; null: it is. */
  readonly recall?: (source: Source) => Refusal | null
  /** What a source refused after it was asked; what this gives is told instead. */
  readonly onRefusal?: (refusal: Refusal) => Refusal
  /** A file that is not accepted is passed over, with a reason. */
  readonly accepts?: (file: SourceFile) => boolean
  /** While one source is still at work, others that refused for now are asked again, with growing pauses. */
  readonly asksAgain?: boolean
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

  /** After how many milliseconds it makes sense to ask again; null: no reason is temporary, or nothing is known. */
  get retryInMs (): number | null {
    const times = this.refusals.flatMap(({ isTemporary, retryInMs }) => isTemporary && retryInMs !== undefined ? [retryInMs] : [])
    return times.length === 0 ? null : Math.min(...times)
  }
}

const ENGAGED_DELAY_MS = 50
const ASK_AGAIN_MS = { first: 250, longest: 5000 }

type Outcome = { readonly file: SourceFile | null } | { readonly refusal: Refusal }

interface Attempt {
  readonly source: Source
  readonly controller: AbortController
  readonly startedAt: number
  /** How often this source has been asked before. */
  readonly tries: number
  outcome: Outcome | null
  durationMs: number
  readonly settled: Promise<void>
  isHopeless: boolean
  /** Resolves when it is said to be hopeless. */
  readonly hopeless: Promise<void>
}

/**
 * Asks the sources in their order until one delivers. While a source has not answered, the next is started beside it
 * after the hedge delay, or at once when nothing is hoped of it; the first that delivers wins, the earlier in order on a
 * tie, and the others are aborted. Returns the file. Throws NothingServes when all have refused or the time is up, the
 * signal's reason when that aborts. A source that never settles, not even after its abort, costs nothing but its own
 * promise.
 */
export async function walkSources (
  sources: readonly Source[], request: StreamRequest, options: WalkOptions, signal: AbortSignal
): Promise<Walked> {
  signal.throwIfAborted()
  const attempts: Attempt[] = []
  const timeUp = new AbortController()
  const timer = setTimeout(() => {
    timeUp.abort(new CodedError('START_TIMEOUT', `no source delivered within ${Math.round(options.timeoutMs)} ms`))
  }, options.timeoutMs)
  const stop = AbortSignal.any([signal, timeUp.signal])
  const engagedIndex = sources.findIndex(({ name }) => name === options.engaged)
  try {
    while (!stop.aborted) {
      const winner = attempts.find(({ outcome }) => fileOf(outcome) !== null)
      const file = fileOf(winner?.outcome ?? null)
      if (winner !== undefined && file !== null) {
        refusalsOf(attempts.filter(({ outcome }) => outcome !== null), options)
        return { file, by: winner.source.name, timings: attempts.map(timingOf) }
      }
      const pending = attempts.filter(({ outcome }) => outcome === null)
      const next = attempts.some(isFinal) ? undefined : sources[attempts.length]
      if (next === undefined && (pending.length === 0 || attempts.some(isFinal))) throw new NothingServes(refusalsOf(attempts, options))
      const waitMs = turnLeft(attempts.at(-1), options.hedgeDelayMs, attempts.length <= engagedIndex)
      if (next !== undefined && waitMs <= 0) {
        attempts.push(begin(next, request, options))
        continue
      }
      const again = options.asksAgain === true ? nextToAskAgain(attempts) : null
      if (again !== null && again.inMs <= 0) {
        attempts[again.index] = begin(again.source, request, options, again.tries)
        continue
      }
      const news = pending.flatMap(({ settled, hopeless, isHopeless }) => isHopeless ? [settled] : [settled, hopeless])
      await firstOf(news, Math.min(next === undefined ? Infinity : waitMs, again?.inMs ?? Infinity), stop)
    }
    signal.throwIfAborted()
    for (const { controller } of attempts) controller.abort(timeUp.signal.reason)
    await firstOf([Promise.all(attempts.map(({ settled }) => settled))], deadlines.lastWordsMs, signal)
    throw new NothingServes(refusalsOf(attempts, options))
  } finally {
    clearTimeout(timer)
    for (const { outcome, controller } of attempts) {
      if (outcome === null) controller.abort(new CodedError('SOURCE_TIMEOUT', 'another source delivered first, or the request ended'))
    }
  }
}

function begin (source: Source, request: StreamRequest, { recall, accepts = () => true }: WalkOptions, tries = 0): Attempt {
  const controller = new AbortController()
  const hopeless = Promise.withResolvers<void>()
  const startedAt = performance.now()
  const open = async (): Promise<Outcome> => {
    try {
      const file = await source.open(request, controller.signal, {
        hopeless: () => {
          attempt.isHopeless = true
          hopeless.resolve()
        }
      })
      if (file === null || accepts(file)) return { file }
      return { refusal: refusalOf(source, new CodedError('FILE_CHANGED', 'it holds other bytes')) }
    } catch (error) {
      return { refusal: refusalOf(source, error) }
    }
  }
  const settle = async (): Promise<void> => {
    attempt.outcome = await open()
    attempt.durationMs = performance.now() - startedAt
  }
  const remembered = recall?.(source) ?? null
  const attempt: Attempt = {
    source,
    controller,
    startedAt,
    tries,
    outcome: remembered === null ? null : { refusal: remembered },
    durationMs: 0,
    settled: Promise.resolve().then(remembered === null ? settle : () => {}),
    isHopeless: false,
    hopeless: hopeless.promise
  }
  return attempt
}

/** Which of those that refused for now is asked again first, and when. */
function nextToAskAgain (attempts: readonly Attempt[]): { index: number, source: Source, tries: number, inMs: number } | null {
  const waiting = attempts.flatMap(({ source, outcome, startedAt, durationMs, tries }, index) => {
    if (outcome === null || !('refusal' in outcome) || !outcome.refusal.isTemporary) return []
    const pauseMs = Math.min(ASK_AGAIN_MS.first * 2 ** tries, ASK_AGAIN_MS.longest)
    return [{ index, source, tries: tries + 1, inMs: startedAt + durationMs + pauseMs - performance.now() }]
  })
  return waiting.sort((a, b) => a.inMs - b.inMs)[0] ?? null
}

function refusalOf (source: Source, error: unknown): Refusal {
  const { code, message, isTemporary } = asCoded(error, 'SOURCE_FAILED')
  return { source: source.name, code, message, isTemporary }
}

function fileOf (outcome: Outcome | null): SourceFile | null {
  return outcome !== null && 'file' in outcome ? outcome.file : null
}

/** The content itself is at fault (no such file in the torrent): another source could only say the same. */
function isFinal ({ outcome }: Attempt): boolean {
  return outcome !== null && 'refusal' in outcome && reasonCodes[outcome.refusal.code].isFinal
}

function timingOf ({ source, outcome, durationMs, startedAt }: Attempt): Timing {
  return { source: source.name, durationMs: outcome === null ? performance.now() - startedAt : durationMs }
}

/** Each refusal; a source that is still silent gets one that says so. */
function refusalsOf (attempts: readonly Attempt[], { onRefusal = (refusal) => refusal }: WalkOptions): Refusal[] {
  return attempts.flatMap(({ source, outcome, startedAt }) => {
    if (outcome === null) {
      const message = `no answer within ${Math.round(performance.now() - startedAt)} ms`
      return [onRefusal({ source: source.name, code: 'SOURCE_TIMEOUT', message, isTemporary: true })]
    }
    if (!('refusal' in outcome)) return []
    // What was remembered is no news.
    return [outcome.refusal.retryInMs === undefined ? onRefusal(outcome.refusal) : outcome.refusal]
  })
}

/**
 * Milliseconds until the next source may start beside the youngest one; Infinity: only when that has failed. It is the
 * youngest's turn, or the hedge delay if that is shorter; a turn is cut short for a source that is engaged further on.
 */
function turnLeft (youngest: Attempt | undefined, hedgeDelayMs: number, isBeforeEngaged: boolean): number {
  if (youngest === undefined || youngest.outcome !== null) return 0
  const { startedAt, isHopeless, source: { turnMs } } = youngest
  // Strict order is strict: then only a turn that is over counts.
  if (isHopeless && hedgeDelayMs > 0) return 0
  return startedAt + Math.min(hedgeDelayMs || Infinity, turnMs === undefined ? Infinity : isBeforeEngaged ? ENGAGED_DELAY_MS : turnMs) - performance.now()
}

/** Waits for the first of these, for `ms` milliseconds, or for the signal. */
async function firstOf (promises: readonly Promise<unknown>[], ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const done = (): void => { resolve() }
  const timer = ms === Infinity ? undefined : setTimeout(done, ms)
  signal.addEventListener('abort', done, { once: true })
  if (signal.aborted) done()
  for (const each of promises) each.then(done, done)
  try {
    await promise
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', done)
  }
}
