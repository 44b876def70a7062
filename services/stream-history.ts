import type { EventBus } from './events.ts'
import type { ReasonCode } from './errors.ts'
import type { ByteRange } from './pieces/geometry.ts'
import type { Refusal, Timing } from './source-walk.ts'
import type { SpliceObserver } from './splice.ts'

/** Which source served which bytes of a response. */
export interface Segment {
  readonly source: string
  readonly fromByte: number
  /** The first byte that it did not deliver any more; null while it goes on. */
  toByte: number | null
  /** Why it did not go on; null where it had delivered everything, or goes on. */
  why: { readonly code: ReasonCode, readonly message: string } | null
}

/** One response, as `/stream/status` tells it. Times are ISO 8601, stalls seconds. */
export interface ResponseRecord {
  readonly id: number
  readonly fileIndex: number | null
  readonly range: ByteRange
  readonly startedAt: string
  endedAt: string | null
  outcome: 'running' | 'complete' | 'client left' | 'cut'
  deliveredBytes: number
  /** How often another source went on. */
  changes: number
  /** The latest segments. */
  readonly segments: Segment[]
  /** By what was waited for: a source's name, or `change` while another source was looked for. */
  readonly stallSeconds: Record<string, number>
  /** Since when (Date.now()) the client waits for the next byte; null while it does not. */
  waitingSince: number | null
}

/** How the last start of an infohash ended. */
export interface StartRecord {
  readonly at: string
  readonly source: string | null
  readonly timings: readonly Timing[]
  readonly refusals: readonly Refusal[]
}

export interface InfohashHistory {
  readonly running: readonly ResponseRecord[]
  readonly last: ResponseRecord | null
  readonly start: StartRecord | null
}

/** All responses of a source, or those parts of them that it served. */
export interface Served {
  /** Responses that it serves now. */
  open: number
  bytes: number
}

interface Entry {
  readonly running: Set<ResponseRecord>
  last: ResponseRecord | null
  start: StartRecord | null
}

const INFOHASH_LIMIT = 500
const SEGMENT_LIMIT = 50
/** Waiting for less than this is no stall: no player notices. */
const STALL_MS = 250

export type ResponseTrace = SpliceObserver & { end (outcome: ResponseRecord['outcome']): void }

/** What became of the latest starts and responses, for people and for the API; bounded, in memory only. */
export class StreamHistory {
  readonly #entries = new Map<string, Entry>()
  readonly #events: EventBus
  readonly #served = new Map<string, Served>()
  #lastId = 0

  constructor (events: EventBus) {
    this.#events = events
  }

  of (infohash: string): InfohashHistory {
    const { running = [], last = null, start = null } = this.#entries.get(infohash) ?? {}
    return { running: [...running], last, start }
  }

  /** What each source has served since the start of the server. */
  get served (): ReadonlyMap<string, Readonly<Served>> {
    return this.#served
  }

  /** Responses that run now, and what all of them since the start of the server have handed out. */
  totals (): { open: number, deliveredBytes: number } {
    let open = 0
    let deliveredBytes = 0
    for (const served of this.#served.values()) {
      open += served.open
      deliveredBytes += served.bytes
    }
    return { open, deliveredBytes }
  }

  /** Somebody asks, and sources are looked for. */
  starting (infohash: string, fileIndex: number | null): void {
    this.#events.emit({ type: 'start', infohash, fileIndex })
  }

  /** The start ended, `ms` milliseconds after it was asked for. */
  started (infohash: string, start: Omit<StartRecord, 'at'>, ms: number): void {
    this.#entry(infohash).start = { at: new Date().toISOString(), ...start }
    if (start.source !== null) this.#events.emit({ type: 'started', infohash, source: start.source, timings: start.timings, ms })
    else this.#events.emit({ type: 'refused', infohash, refusals: start.refusals })
  }

  /** A response begins; it tells its story to what this returns. */
  begin (infohash: string, fileIndex: number | null, range: ByteRange): ResponseTrace {
    const entry = this.#entry(infohash)
    const record: ResponseRecord = {
      id: ++this.#lastId,
      fileIndex,
      range,
      startedAt: new Date().toISOString(),
      endedAt: null,
      outcome: 'running',
      deliveredBytes: 0,
      changes: -1,
      segments: [],
      stallSeconds: {},
      waitingSince: null
    }
    entry.running.add(record)
    const about = { infohash, response: record.id }
    let served: Served | null = null
    const serveFrom = (source: string | null): void => {
      if (served !== null) served.open--
      served = source === null ? null : this.#servedBy(source)
      if (served !== null) served.open++
    }
    return {
      engaged: (source, position) => {
        serveFrom(source)
        record.changes++
        record.segments.push({ source, fromByte: position, toByte: null, why: null })
        if (record.segments.length > SEGMENT_LIMIT) record.segments.shift()
        this.#events.emit({ type: 'source', ...about, source, position })
      },
      lost: (source, position, code, message) => {
        const segment = record.segments.at(-1)
        if (segment !== undefined) Object.assign(segment, { toByte: position, why: { code, message } })
        this.#events.emit({ type: 'lost', ...about, source, position, code, message })
      },
      waiting: () => { record.waitingSince ??= Date.now() },
      waited: (source, ms) => {
        record.waitingSince = null
        if (ms < STALL_MS) return
        const cause = source ?? 'change'
        record.stallSeconds[cause] = (record.stallSeconds[cause] ?? 0) + ms / 1000
        this.#events.emit({ type: 'stall', ...about, source, ms })
      },
      delivered: (bytes) => {
        record.deliveredBytes += bytes
        if (served !== null) served.bytes += bytes
      },
      end: (outcome) => {
        if (record.outcome !== 'running') return
        // A client that has everything may leave before we know that it has.
        record.outcome = record.deliveredBytes === range.end - range.start + 1 ? 'complete' : outcome
        record.endedAt = new Date().toISOString()
        record.waitingSince = null
        serveFrom(null)
        const segment = record.segments.at(-1)
        if (segment !== undefined) segment.toByte ??= range.start + record.deliveredBytes
        entry.running.delete(record)
        entry.last = record
        this.#events.emit({ type: 'end', ...about, outcome: record.outcome, deliveredBytes: record.deliveredBytes })
      }
    }
  }

  #servedBy (source: string): Served {
    const served = this.#served.get(source) ?? { open: 0, bytes: 0 }
    this.#served.set(source, served)
    return served
  }

  #entry (infohash: string): Entry {
    const entry = this.#entries.get(infohash) ?? { running: new Set(), last: null, start: null }
    this.#entries.delete(infohash)
    this.#entries.set(infohash, entry)
    for (const [oldest, { running }] of this.#entries) {
      if (this.#entries.size <= INFOHASH_LIMIT) break
      if (running.size === 0) this.#entries.delete(oldest)
    }
    return entry
  }
}
