import { deadlines } from '../deadlines.ts'

/** A piece that it has refused is not asked of it for so long, doubled each time, up to … */
const refusalMs = { first: 1_000, most: 30_000 } as const
const mostRefused = 1_000
/** One that owes an answer for so long is not counted on. */
const doubtedMs = 1_500
/** Refusals in a row, without a block between them. */
const refusals = 32

/** A connection, as far as it matters here. */
export interface Worker {
  readonly peerChoking: boolean
  readonly requests: { readonly length: number }
}

export interface ShirkersOptions<Wire extends Worker> {
  readonly wires: () => readonly Wire[]
  /** Lets others have what this one was asked for. Called each second while it is silent, for it may have been asked for more. */
  readonly release: (wire: Wire) => void
  /** Asks this one something. False: it may say nothing to that, though it is there. */
  readonly probe: (wire: Wire) => boolean
  /** Was this one asked for what a reader waits for? */
  readonly isWaitedFor: (wire: Wire) => boolean
  /** Ends a connection at which nothing comes any more; the peer may be dialled again. */
  readonly hangUp: (wire: Wire) => void
  /** Takes back what this one was asked for, and asks for it again. */
  readonly askAnew: (wire: Wire) => void
  /** This one only wastes time. */
  readonly onUseless: (wire: Wire) => void
  readonly now?: () => number
}

interface Work {
  /** Its last block, or the last time that it had nothing to do. */
  busySince: number
  /** Blocks of the whole torrent then. */
  blocksThen: number
  hasDelivered: boolean
  /** Anything came from it, however little. */
  heardAt: number
  /** It was asked whether it is still there, and whether it would answer that. */
  probedAt: number
  isAnswering: boolean
  /** Since its last block. */
  isAskedAnew: boolean
  refusals: number
  readonly refused: Map<number, { readonly until: number, readonly times: number }>
}

/**
 * Takes the work from peers of a torrent that do not do it: those that fall silent, and those that lie about what they
 * have. By itself such a peer keeps the blocks it was asked for from everybody else for half a minute.
 */
export class Shirkers<Wire extends Worker> {
  readonly #options: ShirkersOptions<Wire>
  readonly #work = new WeakMap<Wire, Work>()
  readonly #now: () => number
  #blocks = 0

  constructor (options: ShirkersOptions<Wire>) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
  }

  /** May it be asked for this piece? */
  mayAsk (wire: Wire, piece: number): boolean {
    const work = this.#work.get(wire)
    return work === undefined || work.refused.size === 0 || (work.refused.get(piece)?.until ?? -Infinity) < this.#now()
  }

  /** May it be asked for this piece, and does it answer what it was asked for? */
  isAtWork (wire: Wire, piece: number): boolean {
    const work = this.#work.get(wire)
    if (work === undefined) return true
    const isSilent = wire.requests.length > 0 && !wire.peerChoking && this.#now() - work.busySince >= doubtedMs
    return !isSilent && this.mayAsk(wire, piece)
  }

  onBlock (wire: Wire): void {
    const work = this.#of(wire)
    work.hasDelivered = true
    work.isAskedAnew = false
    work.refusals = 0
    work.busySince = this.#now()
    work.blocksThen = ++this.#blocks
  }

  onBytes (wire: Wire): void {
    this.#of(wire).heardAt = this.#now()
  }

  /** It has rejected a request (BEP 6). A choking peer does so to all of them; another one does not have what it said. */
  onReject (wire: Wire, piece: number): void {
    if (wire.peerChoking) return
    const work = this.#of(wire)
    if (work.refused.size >= mostRefused) work.refused.clear()
    const refused = work.refused.get(piece)
    // Other blocks of it were asked for at the same time.
    if (refused === undefined || refused.until < this.#now()) {
      const times = refused?.times ?? 0
      work.refused.set(piece, { until: this.#now() + Math.min(refusalMs.first * 2 ** times, refusalMs.most), times: times + 1 })
    }
    if (++work.refusals === refusals) this.#options.onUseless(wire)
  }

  /** Half a minute has gone by without an answer, and the connection is closed. */
  onTimeout (wire: Wire): void {
    if (!this.#of(wire).hasDelivered) this.#options.onUseless(wire)
  }

  /** To be called every second. */
  watch (): void {
    const now = this.#now()
    const wires = this.#options.wires()
    for (const wire of wires) {
      const work = this.#of(wire)
      if (wire.requests.length === 0 || wire.peerChoking) {
        work.busySince = now
        work.blocksThen = this.#blocks
        continue
      }
      if (now - work.busySince < deadlines.peerSilenceMs) continue
      if (this.#isWokenUp(wire, work, now)) continue
      // Under a limit all are slow; then there is nobody who would be faster.
      const areOthersFaster = this.#blocks - work.blocksThen >= 2 * wires.length
      if (!areOthersFaster && !wires.some((other) => other !== wire && !other.peerChoking && other.requests.length === 0)) continue
      this.#options.release(wire)
    }
  }

  /**
   * Asks one that gives no block whether it is there. Where a reader waits, it is dialled anew if it is not, and asked anew,
   * once, if it is: it may have lost what it was asked for.
   */
  #isWokenUp (wire: Wire, work: Work, now: number): boolean {
    const isProbed = work.probedAt >= work.busySince
    const patienceMs = work.isAnswering ? deadlines.peerSilenceMs : deadlines.peerDeafMs
    if (isProbed && (now - work.probedAt < patienceMs || !this.#options.isWaitedFor(wire))) return false
    // Half a block is a sign of life, too.
    if (isProbed && work.heardAt <= work.probedAt) {
      this.#options.hangUp(wire)
      return true
    }
    const isIdle = isProbed && !work.isAskedAnew
    if (isIdle) {
      work.isAskedAnew = true
      this.#options.askAnew(wire)
    }
    work.probedAt = now
    work.isAnswering = this.#options.probe(wire)
    return isIdle
  }

  #of (wire: Wire): Work {
    let work = this.#work.get(wire)
    if (work === undefined) {
      work = { busySince: this.#now(), blocksThen: this.#blocks, hasDelivered: false, heardAt: this.#now(), probedAt: -Infinity, isAnswering: false, isAskedAnew: false, refusals: 0, refused: new Map() }
      this.#work.set(wire, work)
    }
    return work
  }
}
