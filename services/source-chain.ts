import { abortable, pause } from './deadline.ts'
import { asCoded, CodedError, reasonCodes } from './errors.ts'
import { NothingServes, walkSources } from './source-walk.ts'
import type { Refusal, Walked } from './source-walk.ts'
import type { Source, SourceFile, StreamRequest } from './source.ts'
import type { ByteRange } from './pieces/geometry.ts'
import type { Log } from './log.ts'

export interface ChainOptions {
  /** The next source starts beside the one before after so many milliseconds; 0: strict order. */
  readonly hedgeDelayMs: number
  /** A start that nothing has answered ends after so many milliseconds. */
  readonly startTimeoutMs: number
  /** A start lives on so long after its last requester has gone. */
  readonly lingerMs: number
  /** A response that has begun is given up after so many milliseconds without a byte from any source. */
  readonly responseStallLimitMs: number
  readonly log: Log
}

interface Start {
  readonly infohash: string
  readonly promise: Promise<Walked>
  readonly controller: AbortController
  requesters: number
  linger: NodeJS.Timeout | undefined
}

/** How many infohashes the chain remembers the engaged source of. */
const ENGAGED_LIMIT = 1000
const RETRY_PAUSE_MS = { first: 250, longest: 5000 }

/**
 * The sources in their order. Opens a request by walking them; the file it gives out survives the death of the source
 * behind it: when that breaks in the middle of a read, the next source that has the same bytes goes on at the exact
 * byte. Only verified files are spliced: equal ETags of verified files mean equal bytes.
 */
export class SourceChain {
  readonly #sources: Source[] = []
  readonly #starts = new Map<string, Start>()
  /** The start of each infohash that nobody waits for any more: the latest only, for a player leaves a place behind with each seek. */
  readonly #lingering = new Map<string, Start>()
  readonly #engaged = new Map<string, string>()
  readonly #closing = new AbortController()
  readonly #options: ChainOptions

  constructor (options: ChainOptions) {
    this.#options = options
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

  /**
   * Finds a source for the request. Requests for the same place of the same file share one walk, which lives on for
   * the linger time after its last requester has gone, so that a retry finds its clocks running.
   * Throws NothingServes, or the signal's reason.
   */
  async open (request: StreamRequest, signal: AbortSignal): Promise<Walked> {
    this.#closing.signal.throwIfAborted()
    const key = JSON.stringify(request)
    const start = this.#starts.get(key) ?? this.#begin(key, request)
    start.requesters++
    clearTimeout(start.linger)
    try {
      const walked = await abortable(start.promise, signal)
      return { ...walked, file: this.#spliced(walked.file, request) }
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
    const before = this.#lingering.get(start.infohash)
    if (before !== undefined && before !== start && before.requesters === 0) {
      before.controller.abort(new CodedError('START_TIMEOUT', 'the client went on to another place'))
    }
    this.#lingering.set(start.infohash, start)
    start.linger = setTimeout(() => {
      start.controller.abort(new CodedError('START_TIMEOUT', 'nobody waits for this start any more'))
    }, this.#options.lingerMs)
    start.linger.unref()
  }

  #begin (key: string, request: StreamRequest): Start {
    const controller = new AbortController()
    const signal = AbortSignal.any([controller.signal, this.#closing.signal])
    const promise = this.#walk(request, this.#sources, this.#engaged.get(request.infohash), signal)
    const start: Start = { infohash: request.infohash, promise, controller, requesters: 0, linger: undefined }
    this.#starts.set(key, start)
    const forget = (): void => {
      clearTimeout(start.linger)
      if (this.#starts.get(key) === start) this.#starts.delete(key)
      if (this.#lingering.get(start.infohash) === start) this.#lingering.delete(start.infohash)
    }
    promise.then(forget, forget)
    return start
  }

  async #walk (request: StreamRequest, sources: readonly Source[], engaged: string | undefined, signal: AbortSignal): Promise<Walked> {
    const { hedgeDelayMs, startTimeoutMs } = this.#options
    const walked = await walkSources(sources, request, { hedgeDelayMs, timeoutMs: startTimeoutMs, engaged }, signal)
    // HEAD brings no bytes: who answers it has shown nothing.
    if (request.head === null) return walked
    this.#engaged.delete(request.infohash)
    if (walked.file.isLocal) return walked
    this.#engaged.set(request.infohash, walked.file.source)
    const [oldest] = this.#engaged.keys()
    if (oldest !== undefined && this.#engaged.size > ENGAGED_LIMIT) this.#engaged.delete(oldest)
    return walked
  }

  #spliced (file: SourceFile, request: StreamRequest): SourceFile {
    return { ...file, read: (range, signal) => this.#read(file, request, range, AbortSignal.any([signal, this.#closing.signal])) }
  }

  async * #read (file: SourceFile, request: StreamRequest, range: ByteRange, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    let current = file
    let position = range.start
    let lastByteAt = performance.now()
    let failures = 0
    while (position <= range.end) {
      signal.throwIfAborted()
      try {
        for await (const chunk of current.read({ start: position, end: range.end }, signal)) {
          const fitting = chunk.subarray(0, range.end - position + 1)
          if (fitting.length === 0) continue
          position += fitting.length
          yield fitting
          lastByteAt = performance.now()
          failures = 0
        }
        if (position > range.end) return
        throw new CodedError('FILE_CHANGED', `${current.source} ended at byte ${position} of ${range.end + 1}`)
      } catch (error) {
        signal.throwIfAborted()
        const { code, message } = asCoded(error, 'SOURCE_FAILED')
        if (!file.isVerified || reasonCodes[code].isFinal) throw error
        this.#options.log.warn({ infohash: request.infohash, source: current.source, position, code }, `source lost in the middle of a response: ${message}`)
        current = await this.#next(file, current, request, position, lastByteAt, failures++, signal)
      }
    }
  }

  /** A source that goes on with the same bytes at `position`, asked for until the stall limit: the lost one last. */
  async #next (
    file: SourceFile, lost: SourceFile, request: StreamRequest, position: number, lastByteAt: number, failures: number, signal: AbortSignal
  ): Promise<SourceFile> {
    const deadline = lastByteAt + this.#options.responseStallLimitMs
    const others = this.#sources.filter(({ name }) => name !== lost.source)
    const sources = [...others, ...this.#sources.filter(({ name }) => name === lost.source)]
    let pauseMs = failures === 0 ? 0 : RETRY_PAUSE_MS.first * 2 ** Math.min(failures - 1, 4)
    let refusals: readonly Refusal[] = []
    while (true) {
      const leftMs = deadline - performance.now()
      if (leftMs <= pauseMs) {
        const why = refusals.map(({ source, message }) => `${source}: ${message}`).join('; ') || `${lost.source} broke`
        throw new CodedError('STALLED', `no byte from any source for ${this.#options.responseStallLimitMs} ms (${why})`)
      }
      if (pauseMs > 0) await pause(pauseMs, signal)
      try {
        const stop = AbortSignal.any([signal, AbortSignal.timeout(Math.max(1, Math.ceil(deadline - performance.now())))])
        const { file: next } = await this.#walk({ ...request, head: { start: position } }, sources, undefined, stop)
        if (next.isVerified && next.etag === file.etag && next.lengthBytes === file.lengthBytes) {
          this.#options.log.info({ infohash: request.infohash, source: next.source, position }, 'response goes on from another source')
          return next
        }
        refusals = [{ source: next.source, code: 'FILE_CHANGED', message: 'it holds other bytes', isTemporary: false }]
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof NothingServes) refusals = error.refusals
      }
      pauseMs = Math.min(Math.max(pauseMs * 2, RETRY_PAUSE_MS.first), RETRY_PAUSE_MS.longest)
    }
  }
}
