import { timeUp, within } from './clock.ts'
import { asCoded, CodedError, reasonCodes } from './errors.ts'
import { NothingServes } from './source-walk.ts'
import type { Clock } from './clock.ts'
import type { ReasonCode } from './errors.ts'
import type { ByteRange } from './pieces/geometry.ts'
import type { SourceFile } from './source.ts'

/** What a response tells about itself while it runs. Byte positions are those of the file. */
export interface SpliceObserver {
  /** A source goes on from this byte. */
  engaged (source: string, position: number): void
  /** It delivered all before this byte, and no more. */
  lost (source: string, position: number, code: ReasonCode, message: string): void
  /** The client waits from now on. */
  waiting (): void
  /** So long it did: for this source, or (null) while another was looked for. */
  waited (source: string | null, ms: number): void
  /** So many bytes went to the client. */
  delivered (bytes: number): void
}

export interface SpliceOptions {
  /** Where the response begins, and who opened it. Only a verified file is ever continued by another. */
  readonly file: SourceFile
  readonly by: string
  readonly range: ByteRange
  /**
   * Finds a file that `accepts` takes, readable at `position`, within `limitMs`; `lost` is who opened the one that broke.
   * Throws NothingServes, or the signal's reason.
   */
  readonly reopen: (want: Reopen, signal: AbortSignal) => Promise<Opened>
  /** A source that neither delivers nor receives anything for so long is taken for dead, whatever it promises. */
  readonly silenceMs: number
  /** After so long without progress from any source the response ends with STALLED. The client's own time does not count. */
  readonly stallLimitMs: number
  readonly clock: Clock
  readonly observer: SpliceObserver
}

/** A file, and the name in the chain of the source that opened it. */
export interface Opened {
  readonly file: SourceFile
  readonly by: string
}

export interface Reopen {
  readonly position: number
  readonly lost: string
  readonly limitMs: number
  readonly accepts: (file: SourceFile) => boolean
}

/** Progress is a block: less than the smallest piece never comes verified. */
const PROGRESS_BYTES = 16 * 1024
const RETRY_PAUSE_MS = { first: 250, longest: 5000 }
/** One that receives and hands out nothing, as with a large piece, is waited for so many stall limits. */
const RECEIVING_TURNS = 4
/** A source that gives nothing so often in a row gives nothing. */
const EMPTY_CHUNKS_LIMIT = 100

const ENDED = new CodedError('SOURCE_TIMEOUT', 'the response goes on without this source, or has ended')

/**
 * The bytes of a range, each once and in order, from a file that may die and be continued by others with the same bytes,
 * any number of times. Position is counted here and nowhere else, by what was handed out: a source is asked for the
 * first byte that was not, gives as much as it likes, and is cut where the range ends.
 *
 * Throws STALLED when no source makes progress for `stallLimitMs`; what an unverified file threw; a reason that is final
 * for every source; or the signal's reason, at once, also while a source never answers.
 */
export async function * splice (options: SpliceOptions, signal: AbortSignal): AsyncGenerator<Uint8Array, void, void> {
  const { file, range, observer } = options
  const patience = new Patience(options)
  let current: Opened = options
  let position = range.start
  let failures = 0
  let progressAt = position
  observer.engaged(current.file.source, position)
  while (position <= range.end) {
    try {
      for await (const chunk of chunksOf(current.file, { start: position, end: range.end }, patience, options, signal)) {
        const fitting = chunk.subarray(0, range.end - position + 1)
        position += fitting.length
        observer.delivered(fitting.length)
        patience.received(fitting.length)
        yield fitting
        if (position > range.end) break
      }
      if (position > range.end) return
      throw new CodedError('FILE_CHANGED', `${current.file.source} ended at byte ${position} of ${range.end + 1}`)
    } catch (error) {
      signal.throwIfAborted()
      const { code, message } = asCoded(error, 'SOURCE_FAILED')
      observer.lost(current.file.source, position, code, message)
      if (!file.isVerified || reasonCodes[code].isFinal) throw error
      failures = position - progressAt >= PROGRESS_BYTES ? 0 : failures + 1
      progressAt = position
      current = await successor(current, position, failures, patience, options, signal)
      observer.engaged(current.file.source, position)
    }
  }
}

/** The chunks of one source, none of them empty, for as long as it makes progress. It is told to stop at the end, and not waited for. */
async function * chunksOf (file: SourceFile, range: ByteRange, patience: Patience, options: SpliceOptions, signal: AbortSignal): AsyncGenerator<Uint8Array, void, void> {
  const stop = new AbortController()
  const iterator = file.read(range, AbortSignal.any([signal, stop.signal]))[Symbol.asyncIterator]()
  let empty = 0
  try {
    while (true) {
      const { done, value } = await arrival(iterator, file, patience, options, signal)
      if (done === true) return
      if (value.length > 0) {
        empty = 0
        yield value
      } else if (++empty > EMPTY_CHUNKS_LIMIT) {
        throw new CodedError('SOURCE_FAILED', `${file.source} delivers nothing but empty chunks`)
      }
    }
  } finally {
    stop.abort(ENDED)
    void (async () => { await iterator.return?.() })().catch(() => {})
  }
}

/** The source's next chunk. Throws STALLED when it is silent for too long, and nothing comes in behind it either. */
async function arrival (iterator: AsyncIterator<Uint8Array>, file: SourceFile, patience: Patience, { silenceMs, stallLimitMs, clock, observer }: SpliceOptions, signal: AbortSignal): Promise<IteratorResult<Uint8Array>> {
  const next = iterator.next()
  const since = clock.now()
  observer.waiting()
  try {
    for (let received = file.progress?.() ?? 0; ;) {
      const result = await patience.spend(within(next, Math.min(silenceMs, patience.leftMs), clock, signal))
      if (result !== timeUp) return result
      const now = file.progress?.() ?? 0
      const isReceiving = now - received >= PROGRESS_BYTES && clock.now() - since < RECEIVING_TURNS * stallLimitMs
      if (!isReceiving) throw new CodedError('STALLED', `${file.source} delivered nothing for ${Math.round(clock.now() - since)} ms`)
      received = now
      patience.renew()
    }
  } finally {
    observer.waited(file.source, clock.now() - since)
  }
}

/** The file that goes on, looked for until the response's patience is over. */
async function successor (lost: Opened, position: number, failures: number, patience: Patience, options: SpliceOptions, signal: AbortSignal): Promise<Opened> {
  const { file, reopen, stallLimitMs, clock, observer } = options
  const accepts = (other: SourceFile): boolean => other.isVerified && other.etag === file.etag && other.lengthBytes === file.lengthBytes
  const since = clock.now()
  observer.waiting()
  let pauseMs = failures <= 1 ? 0 : Math.min(RETRY_PAUSE_MS.first * 2 ** (failures - 2), RETRY_PAUSE_MS.longest)
  let why = `${lost.file.source} broke`
  try {
    while (true) {
      if (patience.leftMs <= pauseMs) throw new CodedError('STALLED', `no progress from any source for ${stallLimitMs} ms (${why})`)
      if (pauseMs > 0) await patience.spend(within(new Promise<never>(() => {}), pauseMs, clock, signal))
      const limitMs = patience.leftMs
      try {
        const next = await patience.spend(within(reopen({ position, lost: lost.by, limitMs, accepts }, signal), limitMs, clock, signal))
        if (next !== timeUp && accepts(next.file)) return next
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof NothingServes && error.refusals.length > 0) why = error.message
      }
      pauseMs = Math.min(Math.max(pauseMs * 2, RETRY_PAUSE_MS.first), RETRY_PAUSE_MS.longest)
    }
  } finally {
    observer.waited(null, clock.now() - since)
  }
}

/** How much longer a response waits for its sources; each progress renews it. */
class Patience {
  readonly #limitMs: number
  readonly #clock: Clock
  #spentMs = 0
  #receivedBytes = 0

  constructor ({ stallLimitMs, clock }: Pick<SpliceOptions, 'stallLimitMs' | 'clock'>) {
    this.#limitMs = stallLimitMs
    this.#clock = clock
  }

  get leftMs (): number { return Math.max(0, this.#limitMs - this.#spentMs) }

  async spend<T> (waiting: Promise<T>): Promise<T> {
    const since = this.#clock.now()
    try {
      return await waiting
    } finally {
      this.#spentMs += this.#clock.now() - since
    }
  }

  received (bytes: number): void {
    this.#receivedBytes += bytes
    if (this.#receivedBytes >= PROGRESS_BYTES) this.renew()
  }

  renew (): void {
    this.#spentMs = 0
    this.#receivedBytes = 0
  }
}
