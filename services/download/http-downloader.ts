import { createHash } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { asCoded, CodedError } from '../errors.ts'
import { formatBytes, withoutSecrets } from '../format.ts'
import { Demand, urgencies } from '../pieces/demand.ts'
import { MirrorFault } from './mirror.ts'
import { MirrorRecord } from './mirror-record.ts'
import { PieceMemory } from './piece-memory.ts'
import { streamRun } from './piece-run.ts'
import { RightOfWay } from './right-of-way.ts'
import { RunPlan } from './run-plan.ts'
import { Speed } from './speed.ts'
import type { Log } from '../log.ts'
import type { Filler } from '../pieces/filler.ts'
import type { PieceIndex } from '../pieces/geometry.ts'
import type { PieceStore } from '../pieces/piece-store.ts'
import type { Metadata } from '../torrent/metadata.ts'
import type { Fetcher } from './fetcher.ts'
import type { Mirror } from './mirror.ts'
import type { Run } from './piece-run.ts'

export interface HttpDownloaderOptions {
  readonly metadata: Metadata
  readonly store: PieceStore
  readonly mirrors: readonly Mirror[]
  readonly fetcher: Pick<Fetcher, 'get'>
  readonly log: Log
  readonly maxConnections?: number
  /** Where each connection takes the memory for its piece; by default, memory of this download's own. */
  readonly memory?: PieceMemory
  /** From a request to its reply's headers. */
  readonly headersTimeoutMs?: number
  /** A body that brings next to nothing for so long is given up. */
  readonly idleTimeoutMs?: number
  /** How long a mirror is left alone after its first failure; doubled for each further one. */
  readonly firstBackoffMs?: number
}

const PIECES_IN_MEMORY_BYTES = 64 * 1024 * 1024
/** Between two requests of one player nobody wants anything; what is under way goes on for so long. */
const GRACE_MS = 1000
const PROGRESS_INTERVAL_MS = 5000
const STORE_RETRY_MS = 1000
const MAX_STORE_RETRY_MS = 30_000
const HOPELESS_STORE_FAILURES = 3

/** The reason of a run that was ended by ourselves: nobody is to blame. */
const NOT_NEEDED = new Error('the run is not needed any more')

/**
 * Fills a piece store from HTTP mirrors: the missing pieces that are wanted, the most urgent first, in runs of neighbouring
 * pieces over a few connections. Mirrors are believed nothing: a reply has to say that it is what was asked for, and each
 * piece is hashed by the store. A mirror that lied once is not asked again; one that failed is, after a while.
 *
 * Event `failed`: no mirror is left that may deliver what is wanted (HTTP_MIRRORS_FAILED), or the store takes nothing
 * (STORE_FAILED). What may be tried again is tried again, so `failure` can become null later.
 */
export class HttpDownloader extends EventEmitter<{ failed: [CodedError] }> implements Filler {
  readonly name = 'http-fallback'
  readonly peersConnected = 0
  readonly demand = new Demand()
  readonly #options: HttpDownloaderOptions
  readonly #store: PieceStore
  readonly #records: readonly MirrorRecord[]
  readonly #maxRuns: number
  readonly #memory: PieceMemory
  readonly #runs = new Set<Run>()
  readonly #ended = new Set<Promise<void>>()
  readonly #plan: RunPlan
  readonly #rightOfWay: RightOfWay
  readonly #announced = new Set<MirrorRecord>()
  readonly #speed = new Speed()
  #grace: NodeJS.Timeout | undefined
  #retry: NodeJS.Timeout | undefined
  #isScheduled = false
  #isClosed = false
  #receivedBytes = 0
  #deliveredBytes = 0
  #progressAt = performance.now()
  #storeFailures = 0
  #storeRetryAt = -Infinity
  #storeError: CodedError | null = null
  #failure: CodedError | null = null

  /** Throws HTTP_NO_MIRROR when there is none. */
  constructor (options: HttpDownloaderOptions) {
    super()
    const { store, mirrors, maxConnections = 4, memory = new PieceMemory(PIECES_IN_MEMORY_BYTES), firstBackoffMs = 500 } = options
    if (mirrors.length === 0) throw new CodedError('HTTP_NO_MIRROR', 'the torrent names no web seed and no mirror is configured: there is nowhere to download from')
    this.#options = options
    this.#store = store
    this.#records = mirrors.map((mirror) => new MirrorRecord(mirror, firstBackoffMs))
    this.#maxRuns = maxConnections
    this.#memory = memory
    // A piece that is still to be checked is most likely right; if it is not, 'dropped' says so.
    const isThere = (piece: PieceIndex): boolean => store.has(piece) || store.isUnchecked(piece)
    this.#plan = new RunPlan({ store: { geometry: store.geometry, metadata: store.metadata, has: isThere }, records: this.#records, runs: this.#runs })
    this.#rightOfWay = new RightOfWay(this.#schedule)
    this.demand.on('change', this.#schedule)
    store.on('verified', this.#onVerified)
    store.on('dropped', this.#schedule)
    store.on('finished', this.#onFinished)
  }

  get receivedBytes (): number { return this.#receivedBytes }
  get isHopeful (): boolean { return this.#failure === null }
  get failure (): CodedError | null { return this.#failure }

  get state (): string {
    if (this.#failure !== null) return this.#failure.message
    const active = new Set([...this.#runs].map(({ record }) => record.mirror.name))
    if (active.size > 0) return `mirror ${[...active].join(', ')} at ${formatBytes(this.#speed.bytesPerSecond)}/s`
    return `${this.#records.filter(({ isHopeful }) => isHopeful).length} of ${this.#records.length} mirrors usable, idle`
  }

  /** Of the files that the store keeps: how many of their bytes are verified, whoever brought them; and the speed of this download. */
  get progress (): { readonly verifiedBytes: number, readonly totalBytes: number, readonly bytesPerSecond: number } {
    let verifiedBytes = 0
    let totalBytes = 0
    for (const [fileIndex] of this.#store.layout.files) {
      verifiedBytes += this.#store.verifiedBytesOf(fileIndex)
      totalBytes += this.#options.metadata.files[fileIndex]?.lengthBytes ?? 0
    }
    return { verifiedBytes, totalBytes, bytesPerSecond: this.#speed.bytesPerSecond }
  }

  /** Ends all runs; nothing is fetched or written after it has resolved. */
  async close (): Promise<void> {
    this.#isClosed = true
    this.#memory.forget(this.#schedule)
    this.demand.off('change', this.#schedule)
    this.#store.off('verified', this.#onVerified)
    this.#store.off('dropped', this.#schedule)
    this.#store.off('finished', this.#onFinished)
    clearTimeout(this.#grace)
    clearTimeout(this.#retry)
    for (const run of this.#runs) run.stop.abort(NOT_NEEDED)
    await Promise.all(this.#ended)
  }

  readonly #schedule = (): void => {
    if (this.#isScheduled || this.#isClosed) return
    this.#isScheduled = true
    // Readers set their wishes one after the other, often several in one turn: they are looked at together.
    setImmediate(() => {
      this.#isScheduled = false
      if (!this.#isClosed) this.#update()
    })
  }

  readonly #onVerified = (): void => {
    if (this.#failure !== null) this.#schedule()
  }

  readonly #onFinished = (fileIndex: number): void => {
    if (this.#deliveredBytes > 0) this.#say(`Download complete: ${formatBytes(this.#options.metadata.files[fileIndex]?.lengthBytes ?? 0)}`)
  }

  /** Brings the runs in line with what is wanted. Called whenever either may have changed, and safe to call at any time. */
  #update (): void {
    const now = performance.now()
    this.#takeDemand(now)
    for (const run of this.#runs) {
      if (!this.#plan.isWanted(run.current)) run.stop.abort(NOT_NEEDED)
    }
    if (now >= this.#storeRetryAt) this.#startRuns(now)
    this.#judge()
    this.#planRetry(now)
  }

  #takeDemand (now: number): void {
    const ranges = this.demand.ranges()
    if (ranges.length > 0) {
      clearTimeout(this.#grace)
      this.#grace = undefined
      if (this.#plan.ranges.length === 0) {
        for (const record of this.#records) record.forgive(now)
        this.#storeFailures = 0
        this.#storeRetryAt = -Infinity
      }
      this.#plan.ranges = ranges
    } else if (this.#plan.ranges.length > 0) {
      this.#grace ??= setTimeout(() => {
        this.#grace = undefined
        if (this.demand.ranges().length === 0) this.#plan.ranges = []
        this.#schedule()
      }, GRACE_MS)
    }
  }

  #startRuns (now: number): void {
    const { pieceLength } = this.#options.metadata
    while (this.#runs.size < this.#maxRuns) {
      const run = this.#plan.next(now, this.#rightOfWay.isHeld ? urgencies.waiting : urgencies.background)
      if (run === null) return
      if (!this.#memory.take(pieceLength, this.#schedule)) break
      this.#start(run)
    }
    // One at a time: an aborted run makes way when it has ended.
    if (![...this.#runs].some(({ stop }) => stop.signal.aborted)) this.#plan.leastUrgent(now)?.stop.abort(NOT_NEEDED)
  }

  #start (run: Run): void {
    if (run.urgency === urgencies.waiting) this.#clearTheWay(run)
    this.#runs.add(run)
    run.record.activeRuns++
    const ended = this.#receive(run).catch((error: unknown) => { this.#blame(run, error) }).finally(() => {
      run.record.activeRuns--
      this.#runs.delete(run)
      this.#ended.delete(ended)
      this.#memory.release(this.#options.metadata.pieceLength)
      this.#rightOfWay.release(run)
      this.#schedule()
    })
    this.#ended.add(ended)
  }

  /** A reader began to wait, at the start or after a seek: what else its mirror sends would only slow that piece down. */
  #clearTheWay (run: Run): void {
    this.#rightOfWay.claim(run)
    for (const other of this.#runs) {
      if (other.record === run.record && this.#plan.urgencyOf(other.current) < urgencies.waiting) other.stop.abort(NOT_NEEDED)
    }
  }

  async #receive (run: Run): Promise<void> {
    const { fetcher, headersTimeoutMs = 10_000, idleTimeoutMs = 10_000 } = this.#options
    const { geometry } = this.#store
    let startedAt = performance.now()
    let bytes = Buffer.allocUnsafeSlow(geometry.lengthOf(run.current))
    let filled = 0
    const onReceived = (bytes: number): void => {
      this.#rightOfWay.progressed(run)
      this.#count(bytes)
    }
    const onAsked = (url: URL): void => { this.#announce(run, url) }
    for await (const chunk of streamRun(run, { store: this.#store, fetcher, headersTimeoutMs, idleTimeoutMs, onAsked, onReceived })) {
      filled += chunk.copy(bytes, filled)
      if (filled < bytes.length) continue
      await this.#deliver(run, bytes, performance.now() - startedAt)
      this.#rightOfWay.release(run)
      const next = this.#plan.following(run)
      if (next === null) return
      run.current = next
      startedAt = performance.now()
      bytes = Buffer.allocUnsafeSlow(geometry.lengthOf(next))
      filled = 0
    }
  }

  #count (bytes: number): void {
    this.#receivedBytes += bytes
    this.#speed.add(bytes)
    const now = performance.now()
    if (now - this.#progressAt < PROGRESS_INTERVAL_MS) return
    this.#progressAt = now
    const { verifiedBytes, totalBytes, bytesPerSecond } = this.progress
    const percent = (totalBytes === 0 ? 0 : verifiedBytes / totalBytes * 100).toFixed(1)
    this.#say(`Progress: ${percent}% (${formatBytes(verifiedBytes)}/${formatBytes(totalBytes)}) @ ${formatBytes(bytesPerSecond)}/s`)
  }

  /** Hands a whole piece to the store, which believes nothing; a mirror that lied is out, with all its runs. */
  async #deliver (run: Run, bytes: Buffer, elapsedMs: number): Promise<void> {
    const { record, current: piece } = run
    if (this.#store.has(piece)) return
    try {
      if (await this.#store.write(piece, bytes)) {
        record.delivered(bytes.length, elapsedMs)
        this.#deliveredBytes += bytes.length
        this.#storeFailures = 0
        return
      }
    } catch (error) {
      this.#storeFailed(asCoded(error, 'STORE_FAILED'))
      run.stop.abort(NOT_NEEDED)
      return
    }
    // The store also declines a piece whose files changed while it was written; who is put out must have lied.
    if (createHash('sha1').update(bytes).digest().equals(this.#options.metadata.hashOf(piece))) return
    record.quarantine(piece, bytes.length)
    this.#options.log.warn({ infohash: this.#options.metadata.infohash, mirror: record.mirror.name, piece, badBytes: record.badBytes }, '[Hybrid] A mirror sent wrong bytes and is not asked again')
    for (const other of this.#runs) {
      if (other.record === record) other.stop.abort(NOT_NEEDED)
    }
  }

  #storeFailed (error: CodedError): void {
    this.#storeError = error
    // Runs that fail side by side met the same trouble: it counts once.
    if (performance.now() < this.#storeRetryAt) return
    this.#storeFailures++
    const backoffMs = Math.min(STORE_RETRY_MS * 2 ** (this.#storeFailures - 1), MAX_STORE_RETRY_MS)
    this.#storeRetryAt = performance.now() + backoffMs
    if (error.code !== 'STORE_CLOSED') this.#options.log.warn({ infohash: this.#options.metadata.infohash, err: error }, '[Hybrid] A downloaded piece could not be stored')
  }

  #blame ({ record, startedAt }: Run, error: unknown): void {
    if (error === NOT_NEEDED || this.#isClosed) return
    const before = record.outcome
    const now = performance.now()
    if (error instanceof MirrorFault) {
      const { verdict, file } = error
      if (verdict.kind === 'failed') record.failed(verdict.why, { startedAt, now, retryAfterMs: verdict.retryAfterMs, isBusy: verdict.isBusy })
      else if (verdict.kind === 'not-here') record.lacks(file, verdict.why)
      else record.ignoresRange(verdict.why)
    } else {
      const { code, message } = asCoded(error, 'SOURCE_FAILED')
      if (code === 'ADDRESS_REFUSED') record.refuse(message)
      else record.failed(message, { startedAt, now })
    }
    if (record.outcome !== before) this.#options.log.warn({ infohash: this.#options.metadata.infohash, mirror: record.mirror.name }, `[Hybrid] Mirror failed: ${record.outcome}`)
  }

  #judge (): void {
    const wasHopeful = this.#failure === null
    if (this.#storeFailures >= HOPELESS_STORE_FAILURES) this.#failure = this.#storeError
    else if (this.#records.some(({ isHopeful }) => isHopeful) && !this.#plan.isStranded) this.#failure = null
    else this.#failure = new CodedError('HTTP_MIRRORS_FAILED', `no mirror can deliver: ${this.#records.map(({ outcome }) => outcome).join('; ')}`)
    if (wasHopeful && this.#failure !== null) {
      this.#options.log.warn({ infohash: this.#options.metadata.infohash, code: this.#failure.code }, `[Hybrid] HTTP download failed: ${this.#failure.message}`)
      this.emit('failed', this.#failure)
    }
  }

  /** Wakes up when the next mirror, or the store, may be tried again. */
  #planRetry (now: number): void {
    clearTimeout(this.#retry)
    if (this.#plan.ranges.length === 0) return
    const times = [this.#storeRetryAt, ...this.#records.filter(({ isOut }) => !isOut).map(({ retryAt }) => retryAt)].filter((time) => time > now)
    if (times.length > 0) this.#retry = setTimeout(this.#schedule, Math.ceil(Math.min(...times) - now))
  }

  #announce (run: Run, url: URL): void {
    if (this.#announced.has(run.record)) return
    const isFirst = this.#announced.size === 0
    this.#announced.add(run.record)
    this.#say(`Downloading from ${run.record.mirror.name}...`)
    this.#say(`URL: ${withoutSecrets(url)}`)
    if (isFirst) this.#say(`Size: ${formatBytes(this.progress.totalBytes || this.#options.metadata.lengthBytes)}`)
  }

  #say (line: string): void {
    this.#options.log.info({ infohash: this.#options.metadata.infohash }, `[Hybrid] ${line}`)
  }
}
