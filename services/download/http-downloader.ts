import { createHash } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { asCoded, CodedError } from '../errors.ts'
import { formatBytes } from '../format.ts'
import { Demand, urgencies } from '../pieces/demand.ts'
import { Assemblies } from './assemblies.ts'
import { Disputes } from './disputes.ts'
import { DownloadJournal } from './download-journal.ts'
import { MirrorRecord } from './mirror-record.ts'
import { MirrorScores } from './mirror-scores.ts'
import { PieceMemory } from './piece-memory.ts'
import { streamRun } from './piece-run.ts'
import { RightOfWay } from './right-of-way.ts'
import { RunPlan } from './run-plan.ts'
import { StoreTrouble } from './store-trouble.ts'
import { WantedRanges } from './wanted-ranges.ts'
import { deadlines } from '../deadlines.ts'
import type { Log } from '../log.ts'
import type { PieceRange, Urgency } from '../pieces/demand.ts'
import type { DownloadProgress, Filler } from '../pieces/filler.ts'
import type { PieceIndex } from '../pieces/geometry.ts'
import type { PieceStore } from '../pieces/piece-store.ts'
import type { Metadata, TorrentFile } from '../torrent/metadata.ts'
import type { Fetcher } from './fetcher.ts'
import type { Mirror } from './mirror.ts'
import type { PieceAssembly } from './piece-assembly.ts'
import type { AcceptedVerdict } from './range-reply.ts'
import type { Run } from './run.ts'

export interface HttpDownloaderOptions {
  readonly metadata: Metadata
  readonly store: PieceStore
  readonly mirrors: readonly Mirror[]
  readonly fetcher: Pick<Fetcher, 'get'>
  readonly log: Log
  /** Those that bring nothing at the moment do not count, up to as many again. */
  readonly maxConnections?: number
  /** Where the memory for pieces on their way comes from; by default, memory of this download's own. */
  readonly memory?: PieceMemory
  /** What is known of mirrors from other downloads. */
  readonly scores?: MirrorScores
  /** So long after the last reader has gone, what it wanted is still fetched, in the background. */
  readonly lingerMs?: number
  /** From a request to its reply's headers. */
  readonly headersTimeoutMs?: number
  /** A body that brings next to nothing for so long is given up. */
  readonly idleTimeoutMs?: number
  /** How long a mirror is left alone after its first failure; doubled for each further one. */
  readonly firstBackoffMs?: number
  /** The same after a wrong piece. */
  readonly firstQuarantineMs?: number
}

const PIECES_IN_MEMORY_BYTES = 64 * 1024 * 1024
/** Of so many mirrors that are not usable its state says why. */
const OUTCOMES_TOLD = 3
/** How often what readers wait for is looked at while it is under way. */
const WATCH_INTERVAL_MS = 250

/** Of a mirror that was not measured yet, where another filler is at work. */
const UNKNOWN_BYTES_PER_SECOND = 1_000_000

/** The reason of a run that was ended by ourselves: nobody is to blame. */
const NOT_NEEDED = new Error('the run is not needed any more')

/**
 * Fills a piece store from HTTP mirrors: the missing pieces that are wanted, the most urgent first, over a few connections
 * (RunPlan says which, and from whom). Mirrors are believed nothing: a reply has to say that it is what was asked for, and
 * each piece is hashed by the store. A mirror that lied is not asked again for a long time; one that failed, for a short one.
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
  readonly #runs = new Set<Run>()
  readonly #ended = new Set<Promise<void>>()
  readonly #assemblies: Assemblies<MirrorRecord>
  readonly #disputes = new Disputes<MirrorRecord>()
  readonly #plan: RunPlan
  readonly #wanted: WantedRanges
  readonly #rightOfWay: RightOfWay
  readonly #journal: DownloadJournal
  readonly #storeTrouble = new StoreTrouble()
  #timer: NodeJS.Timeout | undefined
  #isScheduled = false
  #isClosed = false
  #hasDelivered = false
  #failure: CodedError | null = null

  /** Throws HTTP_NO_MIRROR when there is none. */
  constructor (options: HttpDownloaderOptions) {
    super()
    const { metadata, store, mirrors, log, maxConnections = 4, memory = new PieceMemory(PIECES_IN_MEMORY_BYTES), scores = new MirrorScores(), lingerMs = 60_000, firstBackoffMs = 500, firstQuarantineMs = 600_000 } = options
    if (mirrors.length === 0) throw new CodedError('HTTP_NO_MIRROR', 'the torrent names no web seed and no mirror is configured: there is nowhere to download from')
    this.#options = options
    this.#store = store
    this.#records = mirrors.map((mirror) => new MirrorRecord(mirror, { infohash: metadata.infohash, score: scores.of(mirror.name), firstBackoffMs, firstQuarantineMs }))
    this.#maxRuns = maxConnections
    this.#journal = new DownloadJournal({ metadata, store, log })
    this.#assemblies = new Assemblies(store.geometry, memory, this.#schedule)
    this.#wanted = new WantedRanges({ demand: this.demand, lingerMs, mayLinger: (range) => this.#mayLinger(range), onChange: this.#schedule })
    // A piece that is still to be checked is most likely right; if it is not, 'dropped' says so.
    const isThere = (piece: PieceIndex): boolean => store.has(piece) || store.isUnchecked(piece)
    this.#plan = new RunPlan({
      store: { geometry: store.geometry, metadata: store.metadata, has: isThere }, records: this.#records, runs: this.#runs, assemblies: this.#assemblies, disputes: this.#disputes, isElsewhere: (piece, urgency) => this.#isElsewhere(piece, urgency)
    })
    this.#rightOfWay = new RightOfWay(this.#schedule)
    this.demand.on('change', this.#schedule)
    store.inFlight.on('change', this.#onInFlight)
    store.on('verified', this.#onVerified)
    store.on('dropped', this.#schedule)
    store.on('finished', this.#onFinished)
  }

  get receivedBytes (): number { return this.#journal.receivedBytes }
  get isHopeful (): boolean { return this.#failure === null }
  get failure (): CodedError | null { return this.#failure }
  get progress (): DownloadProgress { return this.#journal.progress(this.#activeMirrors) }

  get state (): string {
    if (this.#failure !== null) return this.#failure.message
    const active = this.#activeMirrors
    const unusable = this.#records.filter(({ isHopeful }) => !isHopeful)
    const why = unusable.slice(0, OUTCOMES_TOLD).map(({ outcome }) => `; ${outcome}`).join('')
    if (active.length > 0) return `mirror ${active.join(', ')} at ${formatBytes(this.#journal.bytesPerSecond)}/s${why}`
    return `${this.#records.length - unusable.length} of ${this.#records.length} mirrors usable, idle${why}`
  }

  get #activeMirrors (): string[] { return [...new Set([...this.#runs].map(({ record }) => record.mirror.name))] }

  /** Ends all runs; nothing is fetched or written after it has resolved. */
  async close (): Promise<void> {
    this.#isClosed = true
    this.demand.off('change', this.#schedule)
    this.#store.inFlight.off('change', this.#onInFlight)
    this.#store.off('verified', this.#onVerified)
    this.#store.off('dropped', this.#schedule)
    this.#store.off('finished', this.#onFinished)
    this.#wanted.stop()
    clearTimeout(this.#timer)
    for (const run of this.#runs) run.stop.abort(NOT_NEEDED)
    await Promise.all(this.#ended)
    this.#store.inFlight.set(this.name, new Map())
    this.#assemblies.clear()
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

  readonly #onInFlight = (filler: string): void => {
    if (filler !== this.name && !this.demand.isEmpty) this.#schedule()
  }

  reassert (): void {
    this.#isScheduled = false
    this.#schedule()
  }

  /** A source is asked to open this: what failed is tried at once, for as often as that happens is bounded there. */
  hurry (): void {
    this.#forgive(performance.now())
    this.#schedule()
  }

  #forgive (now: number): void {
    for (const record of this.#records) record.forgive(now)
    this.#storeTrouble.clear()
  }

  /** Somebody asks anew: whatever failed may be tried at once. */
  retry (): void {
    for (const record of this.#records) record.reset()
    this.#storeTrouble.clear()
    this.#failure = null
    this.#schedule()
  }

  readonly #onVerified = (piece: PieceIndex): void => {
    if (this.#disputes.has(piece)) this.#settle(piece).catch(() => { /* it cannot be read: nobody is found out */ })
    if (this.#failure !== null) this.#schedule()
  }

  readonly #onFinished = (fileIndex: number): void => {
    if (this.#hasDelivered) this.#journal.finished(fileIndex)
  }

  /** Brings the runs in line with what is wanted. Called whenever either may have changed, and safe to call at any time. */
  #update (): void {
    const now = performance.now()
    if (this.#wanted.update()) this.#forgive(now)
    this.#plan.ranges = this.#wanted.ranges
    for (const run of this.#runs) {
      if (!this.#isOfUse(run)) run.stop.abort(NOT_NEEDED)
    }
    this.#discardLeftovers()
    if (now >= this.#storeTrouble.retryAt) this.#startRuns(now)
    this.#tellFetching()
    this.#judge()
    this.#planNextLook(now)
  }

  /** What another filler has begun is left to it, unless a reader waits and this download would have it sooner. */
  #isElsewhere (piece: PieceIndex, urgency: Urgency): boolean {
    const readyAt = this.#store.inFlight.readyAt(piece, this.name)
    if (readyAt === null || urgency < urgencies.waiting) return readyAt !== null
    const fastest = Math.max(0, ...this.#records.map((record) => record.isHopeful ? record.bytesPerSecond ?? UNKNOWN_BYTES_PER_SECOND : 0))
    const now = performance.now()
    // One that is late already may never come.
    return readyAt >= now && readyAt <= now + this.#store.geometry.lengthOf(piece) / Math.max(1, fastest) * 1000
  }

  #tellFetching (): void {
    const { geometry } = this.#store
    const pieces = new Map<PieceIndex, number>()
    for (const run of this.#runs) {
      if (run.isAborted || run.position >= run.end) continue
      const { first, last } = geometry.piecesOf({ start: run.position, end: run.end - 1 })
      for (let index: number = first; index <= last; index++) pieces.set(geometry.piece(index), Infinity)
    }
    this.#store.inFlight.set(this.name, pieces)
  }

  #isOfUse (run: Run): boolean {
    // It is delivering its last piece, and may go on afterwards.
    if (run.position >= run.end) return true
    return run.isWholeFile ? this.#plan.isNeeded(run) : this.#plan.isWanted(this.#store.geometry.pieceAt(run.position))
  }

  /** Pieces that were begun and that nobody goes on with, unless a reader waits: then somebody will at once. */
  #discardLeftovers (): void {
    for (const [piece, assembly] of this.#assemblies.entries()) {
      const { start, end } = assembly.span
      const isUnderWay = assembly.isTaken || [...this.#runs].some((run) => run.position < end && run.end > start)
      const isWaitedFor = this.#plan.isWanted(piece) && this.#plan.urgencyOf(piece) === urgencies.waiting && !assembly.isEmpty && !this.#disputes.has(piece)
      if (!isUnderWay && !isWaitedFor) this.#assemblies.close(piece)
    }
  }

  #startRuns (now: number): void {
    const atLeast = this.#rightOfWay.isHeld ? urgencies.waiting : urgencies.background
    for (;;) {
      const slots = this.#maxRuns - [...this.#runs].filter((run) => !run.isSilent(now)).length
      if (slots <= 0 || this.#runs.size >= 2 * this.#maxRuns) break
      const run = this.#plan.next(now, { atLeast, slots })
      if (run === null || !this.#assemblies.open(this.#targetOf(run))) break
      this.#start(run, now)
    }
    // One at a time: an aborted run makes way when it has ended.
    if (![...this.#runs].some(({ isAborted }) => isAborted)) this.#plan.leastUrgent(now)?.stop.abort(NOT_NEEDED)
  }

  /** The piece that a run was started for. */
  #targetOf (run: Run): PieceIndex {
    return this.#store.geometry.pieceAt(run.isWholeFile ? run.end - 1 : run.position)
  }

  #start (run: Run, now: number): void {
    if (run.urgency === urgencies.waiting && this.#isFresh(run, now)) this.#clearTheWay(run)
    this.#runs.add(run)
    run.record.activeRuns++
    const ended = this.#receive(run).catch((error: unknown) => { this.#blame(run, error) }).finally(() => {
      run.record.activeRuns--
      this.#runs.delete(run)
      this.#ended.delete(ended)
      this.#rightOfWay.release(run)
      this.#schedule()
    })
    this.#ended.add(ended)
  }

  /** Is it the first that is done for its piece, at this moment? */
  #isFresh (run: Run, now: number): boolean {
    const assembly = this.#assemblies.get(this.#targetOf(run))
    return assembly?.isEmpty === true && ![...this.#runs].some((other) => other.startedAt < now && other.position < assembly.span.end && other.end > assembly.span.start)
  }

  /** A reader began to wait, at the start or after a seek: what else its mirror sends would only slow that piece down. */
  #clearTheWay (run: Run): void {
    this.#rightOfWay.claim(run)
    for (const other of this.#runs) {
      if (other.record === run.record && this.#plan.urgencyOf(this.#store.geometry.pieceAt(other.position)) < urgencies.waiting) other.stop.abort(NOT_NEEDED)
    }
  }

  async #receive (run: Run): Promise<void> {
    const { fetcher, headersTimeoutMs = deadlines.headersMs, idleTimeoutMs = deadlines.bodyMs } = this.#options
    const { geometry } = this.#store
    const onReceived = (bytes: number): void => {
      run.received(bytes, performance.now())
      this.#rightOfWay.progressed(run)
      this.#journal.received(bytes)
    }
    const onAsked = (url: URL): void => { this.#journal.asked(run.record.mirror.name, url) }
    // It may bear more runs now.
    const onAnswered = (file: TorrentFile, verdict: AcceptedVerdict): void => {
      run.record.answered(file, verdict)
      this.#schedule()
    }
    try {
      // Runs that begin together are cut to size together, before anything is asked.
      await Promise.resolve()
      for await (const chunk of streamRun(run, { store: this.#store, fetcher, headersTimeoutMs, idleTimeoutMs, onAsked, onAnswered, onReceived })) {
        run.stop.signal.throwIfAborted()
        const start = run.position - chunk.length
        const piece = geometry.pieceAt(start)
        const assembly = this.#assemblies.get(piece)
        assembly?.put(start, chunk, run.record)
        const isReady = assembly?.isWhole === true && !assembly.isTaken
        if (isReady) await this.#deliver(run, piece, assembly)
        const isAtBorder = run.position === this.#plan.spanOf(piece).end
        if ((isAtBorder || run.position >= run.end) && !this.#goOn(run, isReady && isAtBorder ? piece : null)) return
      }
    } finally {
      run.record.measured(run.lap(performance.now()))
    }
  }

  /** Makes ready for what the run brings next. `done`: the piece that it has delivered, whose memory goes over to the next. */
  #goOn (run: Run, done: PieceIndex | null): boolean {
    const goesOn = this.#plan.goesOn(run)
    const next = goesOn ? this.#store.geometry.pieceAt(run.position) : null
    const isWorthKeeping = next !== null && this.#plan.isWanted(next) && !this.#store.has(next)
    if (done !== null && isWorthKeeping) this.#assemblies.replace(done, next)
    else if (done !== null) this.#assemblies.close(done)
    else if (isWorthKeeping) return this.#assemblies.open(next) || run.isWholeFile
    return goesOn
  }

  /** Hands a whole piece to the store, which believes nothing. */
  async #deliver (run: Run, piece: PieceIndex, assembly: PieceAssembly<MirrorRecord>): Promise<void> {
    assembly.isTaken = true
    const now = performance.now()
    run.record.measured(run.lap(now))
    for (const other of this.#runs) {
      const isAtIt = other !== run && other.position >= assembly.span.start && other.position < assembly.span.end
      if (isAtIt && (!other.isWholeFile || other.isSilent(now))) this.#lose(other, now)
    }
    run.hold()
    try {
      if (this.#store.has(piece) || await this.#store.write(piece, assembly.bytes)) {
        for (const { sender, start, end } of assembly.parts) sender.delivered(end - start, performance.now())
        this.#hasDelivered = true
        this.#storeTrouble.clear()
      } else if (!sha1(assembly.bytes).equals(this.#options.metadata.hashOf(piece))) {
        this.#findLiar(piece, assembly)
      } // else the store declined it: its files changed meanwhile, or no reader needs it any more
    } catch (error) {
      const failure = asCoded(error, 'STORE_FAILED')
      if (this.#storeTrouble.failed(failure, performance.now()) && failure.code !== 'STORE_CLOSED') this.#journal.warn('A downloaded piece could not be stored', { err: failure })
      run.stop.abort(NOT_NEEDED)
    } finally {
      run.resume(performance.now())
      this.#rightOfWay.release(run)
      // Where the run is at its end, the next piece takes over the memory.
      if (run.position !== assembly.span.end) this.#assemblies.close(piece)
    }
  }

  /** Others have brought what this run was to bring. */
  #lose (run: Run, now: number): void {
    if (run.isSilent(now) && !run.isAsking) run.record.failed('it fell silent while a reader waited', { startedAt: run.startedAt, now })
    run.record.measured(run.lap(now))
    this.#rightOfWay.release(run)
    run.stop.abort(NOT_NEEDED)
  }

  #findLiar (piece: PieceIndex, assembly: PieceAssembly<MirrorRecord>): void {
    const { senders, span } = assembly
    const [first] = senders
    if (this.#options.scores !== undefined) this.#options.scores.wrongPieces++
    if (first !== undefined && senders.size === 1) return this.#quarantine(first, piece, span.end - span.start)
    if (this.#disputes.open(piece, assembly)) {
      this.#journal.warn('A piece from several mirrors is wrong; it is fetched again to find out which of them lied', { piece, mirrors: [...senders].map(({ mirror }) => mirror.name) })
      return
    }
    for (const sender of senders) this.#quarantine(sender, piece, 0)
  }

  /** The right bytes of a disputed piece are there. */
  async #settle (piece: PieceIndex): Promise<void> {
    const { start, end } = this.#plan.spanOf(piece)
    for (const [record, badBytes] of this.#disputes.settle(piece, await this.#store.readPiece(piece, 0, end - start), start)) this.#quarantine(record, piece, badBytes)
  }

  #quarantine (record: MirrorRecord, piece: PieceIndex, badBytes: number): void {
    const file = this.#options.metadata.files[this.#store.geometry.spansOf(piece)[0]?.fileIndex ?? 0]
    if (file === undefined) return
    record.lied(file, piece, badBytes, performance.now())
    this.#journal.warn('A mirror sent wrong bytes and is not asked again for a while', { mirror: record.mirror.name, piece, badBytes: record.badBytes })
    this.#assemblies.forget(record)
    for (const run of this.#runs) {
      if (run.record === record) run.stop.abort(NOT_NEEDED)
    }
    this.#schedule()
  }

  #blame ({ record, startedAt }: Run, error: unknown): void {
    if (error === NOT_NEEDED || this.#isClosed) return
    const before = record.outcome
    record.blame(error, { startedAt, now: performance.now() })
    if (record.outcome !== before) this.#journal.warn(`Mirror failed: ${record.outcome}`, { mirror: record.mirror.name })
  }

  #judge (): void {
    const wasHopeful = this.#failure === null
    if (this.#storeTrouble.failure !== null) this.#failure = this.#storeTrouble.failure
    else if (this.#records.some(({ isHopeful }) => isHopeful) && !this.#plan.isStranded) this.#failure = null
    else this.#failure = new CodedError('HTTP_MIRRORS_FAILED', `no mirror can deliver: ${this.#records.map(({ outcome }) => outcome).join('; ')}`)
    if (wasHopeful && this.#failure !== null) {
      this.#journal.warn(`HTTP download failed: ${this.#failure.message}`, { code: this.#failure.code })
      this.emit('failed', this.#failure)
    }
  }

  /** Wakes up when the next mirror, or the store, may be tried again, and often while a reader waits. */
  #planNextLook (now: number): void {
    clearTimeout(this.#timer)
    if (this.#plan.ranges.length === 0) return
    const times = [this.#storeTrouble.retryAt, ...this.#records.filter(({ isOut }) => !isOut).map(({ retryAt }) => retryAt)].filter((time) => time > now)
    // What another filler brings may be late at any time.
    if (this.#plan.isWaitedFor || this.#store.inFlight.isShared(this.name)) times.push(now + WATCH_INTERVAL_MS)
    if (times.length > 0) this.#timer = setTimeout(this.#schedule, Math.ceil(Math.min(...times) - now))
  }

  /** What does not fit the disk is there for readers only. */
  #mayLinger ({ first, last }: PieceRange): boolean {
    if (this.#store.isDiskFull) return false
    const { start } = this.#plan.spanOf(first)
    const { end } = this.#plan.spanOf(last)
    return !this.#store.geometry.spansIn({ start, end: end - 1 }).some(({ fileIndex }) => this.#store.isWindowed(fileIndex))
  }
}

function sha1 (bytes: Uint8Array): Buffer {
  return createHash('sha1').update(bytes).digest()
}
