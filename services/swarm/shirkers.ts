import { deadlines } from '../deadlines.ts'

/** A piece that it has refused is not asked of it for so long. */
const refusalMs = 30_000
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
  refusals: number
  readonly refused: Map<number, number>
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
    return work === undefined || work.refused.size === 0 || (work.refused.get(piece) ?? -Infinity) < this.#now()
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
    work.refusals = 0
    work.busySince = this.#now()
    work.blocksThen = ++this.#blocks
  }

  /** It has rejected a request (BEP 6). A choking peer does so to all of them; another one does not have what it said. */
  onReject (wire: Wire, piece: number): void {
    if (wire.peerChoking) return
    const work = this.#of(wire)
    if (work.refused.size >= mostRefused) work.refused.clear()
    work.refused.set(piece, this.#now() + refusalMs)
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
      // Under a limit all are slow; then there is nobody who would be faster.
      const areOthersFaster = this.#blocks - work.blocksThen >= 2 * wires.length
      if (!areOthersFaster && !wires.some((other) => other !== wire && !other.peerChoking && other.requests.length === 0)) continue
      this.#options.release(wire)
    }
  }

  #of (wire: Wire): Work {
    let work = this.#work.get(wire)
    if (work === undefined) {
      work = { busySince: this.#now(), blocksThen: this.#blocks, hasDelivered: false, refusals: 0, refused: new Map() }
      this.#work.set(wire, work)
    }
    return work
  }
}
