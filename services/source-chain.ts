import { steadyClock } from './clock.ts'
import { abortable } from './deadline.ts'
import { CodedError } from './errors.ts'
import { FailureMemory } from './failure-memory.ts'
import { Joiner } from './join.ts'
import { NothingServes, walkSources } from './source-walk.ts'
import { splice } from './splice.ts'
import type { Subject } from './failure-memory.ts'
import type { Opened } from './splice.ts'
import type { Helper, Source, SourceFile, StreamRequest } from './source.ts'
import type { Refusal, Walked } from './source-walk.ts'
import type { ByteRange } from './pieces/geometry.ts'
import type { ResponseTrace, StreamHistory } from './stream-history.ts'
import type { Log } from './log.ts'

type Asked = Pick<StreamRequest, 'infohash' | 'trackers' | 'fileIndex' | 'hints'>

export interface ChainOptions {
  /** The next source starts beside the one before after so many milliseconds; 0: strict order. */
  readonly hedgeDelayMs: number
  /** A start that nothing has answered ends after so many milliseconds. */
  readonly startTimeoutMs: number
  /** A start lives on so long after its last requester has gone. */
  readonly lingerMs: number
  /** So many starts may live on with nobody there: each keeps a torrent running, of which there are MAX_TORRENTS. */
  readonly maxLingering?: number
  /** A source that neither delivers nor receives anything for so long in the middle of a response is taken for dead. */
  readonly silenceMs: number
  /** A response that has begun is given up after so many milliseconds without progress from any source. */
  readonly responseStallLimitMs: number
  /** Nothing is asked for these: whoever wants them gets INFOHASH_BLOCKED. */
  readonly isBlocked?: (infohash: string) => boolean
  /** Is told what becomes of starts and responses. */
  readonly history: StreamHistory
  readonly failures?: FailureMemory
  readonly log: Log
}

/** What the chain gives out: a file that survives the death of its source. */
export interface Opening extends Walked {
  /** The source whose bytes are handed out now, or were last. */
  readonly engaged: () => string
}

/** A walk that requests for the same place share. */
interface Start {
  readonly infohash: string
  readonly promise: Promise<Walked>
  readonly controller: AbortController
  requesters: number
  linger: NodeJS.Timeout | undefined
}

/** The clock of an infohash that nothing has delivered for yet: all its starts end by it. */
interface Attempted {
  readonly since: number
  walks: number
}

/** How many infohashes the chain remembers the engaged source of. */
const ENGAGED_LIMIT = 1000

/**
 * The sources in their order. Opens a request by walking them; the file it gives out survives the death of the source
 * behind it: when that breaks in the middle of a read, the next source that has the same bytes goes on at the exact
 * byte. Only verified files are spliced: equal ETags of verified files mean equal bytes.
 */
export class SourceChain {
  readonly #sources: Source[] = []
  readonly #starts = new Map<string, Start>()
  readonly #attempted = new Map<string, Attempted>()
  /** The start of each infohash that nobody waits for any more: the latest only, for a player leaves a place behind with each seek. */
  readonly #lingering = new Map<string, Start>()
  readonly #engaged = new Map<string, string>()
  readonly #failures: FailureMemory
  readonly #closing = new AbortController()
  readonly #options: ChainOptions

  constructor (options: ChainOptions) {
    this.#options = options
    this.#failures = options.failures ?? new FailureMemory()
  }

  /** Registers a source. Throws when its name or its priority is taken. */
  add (source: Source): void {
    const twin = this.#sources.find(({ name, priority }) => name === source.name || priority === source.priority)
    if (twin !== undefined) throw new Error(`source ${source.name} (${source.priority}) clashes with ${twin.name} (${twin.priority})`)
    this.#sources.push(source)
    this.#sources.sort((a, b) => a.priority - b.priority)
  }

  get names (): string[] {
    return this.#sources.map(({ name }) => name)
  }

  /** Aborts when the chain closes; everything that streams listens to it. */
  get closing (): AbortSignal {
    return this.#closing.signal
  }

  /** Since when (performance.now()) sources have been looked for, while none has delivered; null: nobody looks. */
  startingSince (infohash: string): number | null {
    return this.#attempted.get(infohash)?.since ?? null
  }

  /** Why sources would not be asked now if this came as it came last: one refusal for each that rests. */
  resting (infohash: string): Refusal[] {
    const subject = this.#failures.latestSubject(infohash) ?? subjectOf({ infohash, trackers: [], fileIndex: null })
    return this.#sources.flatMap((source) => this.#recall(infohash, subject, source) ?? [])
  }

  /** Somebody asks for it anew: that it failed before does not count any more. */
  forgetFailures (infohash: string): void {
    this.#failures.forget(infohash)
  }

  /**
   * Finds a source for the request. Requests for the same place of the same file share one walk, which lives on for
   * the linger time after its last requester has gone, so that a retry finds its clocks running; START_TIMEOUT counts
   * from the first walk for the infohash that is still under way. What failed a moment ago is not tried again at once.
   * Throws NothingServes, or the signal's reason.
   */
  async open (request: StreamRequest, signal: AbortSignal): Promise<Opening> {
    this.#closing.signal.throwIfAborted()
    if (this.#options.isBlocked?.(request.infohash) === true) throw new NothingServes([{ source: 'request', code: 'INFOHASH_BLOCKED', message: 'INFOHASH_BLOCKLIST names this torrent', isTemporary: false }])
    const key = JSON.stringify(request)
    const start = this.#starts.get(key) ?? this.#begin(key, request)
    start.requesters++
    clearTimeout(start.linger)
    if (this.#lingering.get(start.infohash) === start) this.#lingering.delete(start.infohash)
    try {
      const walked = await abortable(start.promise, signal)
      return this.#spliced(walked, request)
    } finally {
      start.requesters--
      if (start.requesters === 0 && this.#starts.get(key) === start) this.#linger(start)
    }
  }

  /** Ends every start and every read that is under way, with SHUTTING_DOWN. */
  close (): void {
    this.#closing.abort(new CodedError('SHUTTING_DOWN', 'the server is shutting down'))
  }

  #linger (start: Start): void {
    const { lingerMs, maxLingering = Infinity } = this.#options
    this.#lingering.get(start.infohash)?.controller.abort(new CodedError('START_TIMEOUT', 'the client went on to another place'))
    this.#lingering.delete(start.infohash)
    this.#lingering.set(start.infohash, start)
    start.linger = setTimeout(() => {
      start.controller.abort(new CodedError('START_TIMEOUT', 'nobody waits for this start any more'))
    }, lingerMs)
    start.linger.unref()
    const [oldest] = this.#lingering.values()
    if (oldest === undefined || this.#lingering.size <= maxLingering) return
    this.#lingering.delete(oldest.infohash)
    oldest.controller.abort(new CodedError('START_TIMEOUT', 'nobody waits for this start any more, and others were left since'))
  }

  #begin (key: string, request: StreamRequest): Start {
    const { infohash } = request
    const controller = new AbortController()
    const signal = AbortSignal.any([controller.signal, this.#closing.signal])
    const now = performance.now()
    const before = this.#attempted.get(infohash)
    // A clock that has run out counts for those who wait by it; with requests that overlap it would never be wound up again.
    const isRunning = before !== undefined && now < before.since + this.#options.startTimeoutMs
    const attempted = isRunning ? before : { since: now, walks: 0 }
    this.#attempted.set(infohash, attempted)
    attempted.walks++
    // HEAD brings no bytes: nothing starts.
    if (request.head !== null) this.#options.history.starting(infohash, request.fileIndex)
    const promise = this.#start(request, attempted, signal)
    const start: Start = { infohash, promise, controller, requesters: 0, linger: undefined }
    this.#starts.set(key, start)
    const forget = (): void => {
      clearTimeout(start.linger)
      attempted.walks--
      if (attempted.walks === 0 && this.#attempted.get(infohash) === attempted) this.#attempted.delete(infohash)
      if (this.#starts.get(key) === start) this.#starts.delete(key)
      if (this.#lingering.get(infohash) === start) this.#lingering.delete(infohash)
    }
    promise.then(forget, forget)
    return start
  }

  async #start (request: StreamRequest, attempted: Attempted, signal: AbortSignal): Promise<Walked> {
    const { hedgeDelayMs, startTimeoutMs, history } = this.#options
    const { infohash } = request
    const subject = subjectOf(request)
    const begunAt = performance.now()
    const timeoutMs = attempted.since + startTimeoutMs - performance.now()
    try {
      const walked = await walkSources(this.#sources, request, {
        hedgeDelayMs,
        timeoutMs,
        engaged: this.#engaged.get(infohash),
        recall: (source) => this.#recall(infohash, subject, source),
        onRefusal: (refusal) => this.#isLocal(refusal.source) ? refusal : this.#failures.failed(subject, refusal)
      }, signal)
      // HEAD brings no bytes: who answers it has shown nothing.
      if (request.head === null) return walked
      this.#failures.delivered(subject, walked.by)
      // The next place that is asked for has its time anew.
      if (this.#attempted.get(infohash) === attempted) this.#attempted.delete(infohash)
      this.#remember(infohash, walked.file)
      history.started(infohash, { source: walked.file.source, timings: walked.timings, refusals: [] }, performance.now() - begunAt)
      return walked
    } catch (error) {
      if (error instanceof NothingServes) history.started(infohash, { source: null, timings: [], refusals: error.refusals }, performance.now() - begunAt)
      throw error
    }
  }

  /** Which source delivers for this infohash: the next request finds it at once. */
  #remember (infohash: string, file: SourceFile): void {
    this.#engaged.delete(infohash)
    if (file.isLocal) return
    this.#engaged.set(infohash, file.source)
    const [oldest] = this.#engaged.keys()
    if (oldest !== undefined && this.#engaged.size > ENGAGED_LIMIT) this.#engaged.delete(oldest)
  }

  #recall (infohash: string, subject: Subject, source: Source): Refusal | null {
    const refusal = this.#failures.recall(subject, source.name)
    return refusal === null || source.isHopeful?.(infohash, refusal.code) === true ? null : refusal
  }

  #isLocal (name: string): boolean {
    return this.#sources.some((source) => source.name === name && source.isLocal === true)
  }

  #spliced (walked: Walked, request: StreamRequest): Opening {
    let engaged = walked.file.source
    const onEngaged = (source: string): void => { engaged = source }
    return {
      ...walked,
      file: { ...walked.file, read: (range, signal) => this.#read(walked, request, range, onEngaged, AbortSignal.any([signal, this.#closing.signal])) },
      engaged: () => engaged
    }
  }

  async * #read ({ file, by }: Walked, request: StreamRequest, range: ByteRange, onEngaged: (source: string) => void, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const { silenceMs, responseStallLimitMs, history, log } = this.#options
    const { infohash } = request
    const trace = history.begin(infohash, request.fileIndex, range)
    let current: Opened = { file, by }
    const help: { joiner: Joiner | null } = { joiner: null }
    const observer: ResponseTrace = {
      ...trace,
      engaged: (source, position) => {
        trace.engaged(source, position)
        onEngaged(source)
        help.joiner?.changed()
        // What began on this machine may go on from a source that is too slow.
        help.joiner ??= this.#joiner(request, { start: position, end: range.end }, () => current)
        if (position > range.start) log.info({ infohash, source, position }, `[Hybrid] Response goes on from ${source} at byte ${position}`)
      },
      lost: (source, position, code, message) => {
        trace.lost(source, position, code, message)
        log.warn({ infohash, source, position, code }, `[Hybrid] Source lost in the middle of a response: ${message}`)
      }
    }
    let outcome: Parameters<ResponseTrace['end']>[0] = 'client left'
    try {
      const chunks = splice({
        ...current,
        range,
        silenceMs,
        stallLimitMs: responseStallLimitMs,
        clock: steadyClock,
        observer,
        reopen: async (want, signal) => {
          const walked = await walkSources(this.#lostLast(want.lost), { ...request, head: { start: want.position } }, {
            hedgeDelayMs: this.#options.hedgeDelayMs,
            timeoutMs: Math.min(want.limitMs, this.#options.startTimeoutMs),
            engaged: undefined,
            accepts: want.accepts,
            asksAgain: true
          }, signal)
          this.#remember(infohash, walked.file)
          current = walked
          return walked
        }
      }, signal)
      for await (const chunk of chunks) {
        yield chunk
        help.joiner?.delivered(chunk.length)
      }
      outcome = 'complete'
    } catch (error) {
      if (!signal.aborted) outcome = 'cut'
      throw error
    } finally {
      help.joiner?.end()
      trace.end(outcome)
    }
  }

  /** Calls the next source beside one that is too slow; null where the order is strict, or nothing can come in. */
  #joiner ({ infohash, ...request }: StreamRequest, range: ByteRange, current: () => Opened): Joiner | null {
    const { hedgeDelayMs, startTimeoutMs, log } = this.#options
    const { file } = current()
    if (hedgeDelayMs === 0 || file.isLocal || !file.isVerified) return null
    return new Joiner(range.start, {
      clock: steadyClock,
      log: (message) => { log.info({ infohash }, `[Hybrid] ${message}`) },
      ahead: (position, limit) => {
        const leftBytes = range.end - position + 1
        const aheadBytes = current().file.ahead?.(position, Math.min(limit, leftBytes)) ?? null
        return aheadBytes === leftBytes ? Infinity : aheadBytes
      },
      open: async (position, signal) => await this.#helper({ infohash, ...request, head: { start: position } }, current(), startTimeoutMs, signal)
    })
  }

  async #helper (request: StreamRequest, { file, by }: Opened, timeoutMs: number, signal: AbortSignal): Promise<Helper> {
    const both = AbortSignal.any([signal, this.#closing.signal])
    const walked = await walkSources(this.#sources.filter(({ name }) => name !== by), request, {
      hedgeDelayMs: this.#options.hedgeDelayMs,
      timeoutMs,
      engaged: undefined,
      recall: (source) => this.#recall(request.infohash, subjectOf(request), source),
      accepts: (other) => other.help !== undefined && other.isVerified && other.etag === file.etag
    }, both)
    const helper = walked.file.help?.()
    if (helper === undefined) throw new CodedError('SOURCE_FAILED', `${walked.by} cannot help`)
    return helper
  }

  /** In their order, but for the source that broke: it is asked once more when nobody else can go on. */
  #lostLast (lost: string): Source[] {
    return [...this.#sources.filter(({ name }) => name !== lost), ...this.#sources.filter(({ name }) => name === lost)]
  }
}

/** What a failure is about: with other trackers it is another question. */
function subjectOf ({ infohash, trackers, fileIndex, hints }: Asked): Subject {
  const content = [infohash, ...[...trackers].sort(), ...hints === undefined ? [] : [JSON.stringify(hints)]].join(' ')
  return { content, file: `${content} #${fileIndex ?? ''}` }
}
