import type { Request, Torrent, Wire } from 'webtorrent'
import { askFor, askToo, markWaiting, roomOf, takeBack, takeOver, unaskedBlocks } from './internals/asking.ts'
import { cancelRequests } from './internals/pieces.ts'
import { PeerRate } from './peer-rate.ts'
import { askAgain, blockBytes, shareOut } from './picker.ts'
import type { AskedPeer, OwedBlock, UnaskedPiece } from './picker.ts'
import type { Window } from './window.ts'

/** While a reader waits, it is looked so often who is late. */
const watchMs = 100
/** Not more often than this, however much comes. */
const lateMs = 25
/** Of so many pieces at a time, the most urgent ones that are not there: the end of everything is among them, too. */
const latePieces = 8
/** What is late may be asked of a peer beyond what it should have under way, up to so many blocks. */
const lateRoom = 16
/** A new peer gets so many blocks, so that it is known how fast it is. */
const trialBlocks = 2
/** A peer that has less than this part of the fastest one's rate keeps its work when a reader jumps. */
const fastPart = 0.25

interface WirePeer extends AskedPeer {
  readonly wire: Wire
}

interface Owed extends OwedBlock<WirePeer> {
  readonly rank: number
  readonly askedOf: WirePeer[]
  expectedMs: number
}

/** What of a torrent is asked of whom, and again of whom. Its peers ask WebTorrent's own picker no more. */
export class Picking {
  readonly #torrent: Torrent
  readonly #mayClaim: (wire: Wire) => boolean
  readonly #now: () => number
  readonly #rates = new WeakMap<Wire, PeerRate>()
  /** The order in which a peer was asked: what it answers first. */
  readonly #turns = new WeakMap<Request, number>()
  #turn = 0
  #order: readonly number[] = []
  #waiting: readonly number[] = []
  /** Pieces with blocks that several were asked for. */
  readonly #doubled = new Set<number>()
  #isScheduled = false
  #lastLateAt = -Infinity
  #timer: NodeJS.Timeout | null = null

  /**
   * To be made right after the torrent was added.
   *
   * @param mayClaim may what this peer has no room for now be left to it?
   */
  constructor (torrent: Torrent, mayClaim: (wire: Wire) => boolean = () => true, now: () => number = performance.now.bind(performance)) {
    this.#torrent = torrent
    this.#mayClaim = mayClaim
    this.#now = now
    takeOver(torrent, () => { this.#runSoon() })
  }

  onWire (wire: Wire): void {
    const rate = new PeerRate()
    this.#rates.set(wire, rate)
    wire.on('piece', (piece: number, offset: number, bytes: Uint8Array) => {
      rate.answered(bytes.length, wire.requests.length === 0, this.#now())
      if (this.#doubled.has(piece)) takeBack(this.#torrent, piece, offset)
    })
  }

  /**
   * Takes what is to be asked for now. Where a reader waits for what nobody was asked for, the fast peers drop what is less
   * urgent, so that this does not queue behind it.
   *
   * @param isUrgent is this piece wanted soon?
   */
  choose ({ pieces, waiting }: Pick<Window, 'pieces' | 'waiting'>, isUrgent: (piece: number) => boolean): void {
    const isJump = waiting.some((piece) => !this.#waiting.includes(piece) && unaskedBlocks(this.#torrent, piece) > 0)
    this.#order = pieces
    this.#waiting = waiting
    markWaiting(this.#torrent, waiting)
    for (const piece of this.#doubled) if (this.#torrent.pieces[piece] === null) this.#doubled.delete(piece)
    if (isJump) this.#makeWay(isUrgent)
    if (waiting.length > 0) this.#timer ??= setInterval(() => { this.#run() }, watchMs).unref()
    else this.#stopTimer()
    this.#runSoon()
  }

  close (): void {
    this.#stopTimer()
  }

  #stopTimer (): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  /** Once for all that comes in this turn of the loop. */
  #runSoon (): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      this.#run()
    })
  }

  #run (): void {
    const torrent = this.#torrent
    if (!torrent.ready || torrent.destroyed) return
    const now = this.#now()
    const peers = torrent.wires.filter(({ destroyed, peerChoking }) => !destroyed && !peerChoking).map((wire) => this.#peerOf(wire, now))
    if (peers.length === 0) return
    if (peers.some(({ wire }) => this.#rates.get(wire)?.isUnknown === false)) for (const { wire } of peers) this.#try(wire)
    shareOut(peers, this.#unasked(), ({ wire }, piece) => this.#note(wire, askFor(torrent, wire, piece)))
    if (now - this.#lastLateAt < lateMs) return
    // Somebody waits; or all has been asked for, and the end is not left to slow peers.
    if (this.#waiting.length === 0 && this.#unasked().next().done !== true) return
    this.#lastLateAt = now
    this.#askAgain(now)
  }

  /** Asks a peer of which nothing is known for something that nobody waits for: beside fast ones it would get nothing, however fast. */
  #try (wire: Wire): void {
    if (wire.requests.length > 0 || this.#rates.get(wire)?.isUnknown !== true) return
    for (const { piece } of this.#unasked()) {
      if (this.#waiting.includes(piece) || !wire.peerPieces.get(piece)) continue
      for (let i = 0; i < trialBlocks; i++) this.#note(wire, askFor(this.#torrent, wire, piece))
      if (wire.requests.length > 0) return
    }
  }

  * #unasked (): Generator<UnaskedPiece> {
    for (const piece of this.#order) {
      const blocks = unaskedBlocks(this.#torrent, piece)
      if (blocks > 0) yield { piece, blocks }
    }
  }

  #askAgain (now: number): void {
    const torrent = this.#torrent
    // There is nobody else to ask.
    if (torrent.wires.length < 2) return
    const ranks = new Map(this.#order.filter((piece) => torrent.pieces[piece]?._flushed === false).slice(0, latePieces).map((piece, rank) => [piece, rank]))
    if (ranks.size === 0) return
    const peers = torrent.wires.filter(({ destroyed }) => !destroyed).map((wire) => this.#peerOf(wire, now, lateRoom))
    const owed = new Map<string, Owed>()
    const waiting = new Set(this.#waiting)
    for (const peer of peers) {
      const isSilent = this.#rates.get(peer.wire)?.isSilent(now) === true
      const requests = peer.wire.requests.toSorted((a, b) => (this.#turns.get(a) ?? 0) - (this.#turns.get(b) ?? 0))
      for (const [i, { piece, offset }] of requests.entries()) {
        const rank = ranks.get(piece)
        if (rank === undefined) continue
        const block = offset / blockBytes
        const key = `${piece} ${block}`
        const entry = owed.get(key) ?? { piece, block, rank, isWaitedFor: waiting.has(piece), askedOf: [], expectedMs: Infinity }
        owed.set(key, entry)
        entry.askedOf.push(peer)
        if (!peer.wire.peerChoking && !isSilent) entry.expectedMs = Math.min(entry.expectedMs, (i + 1) * blockBytes * 1000 / peer.bytesPerSecond)
      }
    }
    // A piece is there with its last block: what would come last comes first.
    const blocks = [...owed.values()].sort((a, b) => a.rank - b.rank || (a.expectedMs === b.expectedMs ? 0 : b.expectedMs - a.expectedMs))
    askAgain(peers.filter(({ wire }) => !wire.peerChoking), blocks, ({ wire }, { piece, block }) => {
      this.#doubled.add(piece)
      return this.#note(wire, askToo(torrent, wire, piece, block))
    })
  }

  /** Takes what is not urgent back from the fast peers that have what is. */
  #makeWay (isUrgent: (piece: number) => boolean): void {
    const now = this.#now()
    const able = this.#torrent.wires.filter((wire) => !wire.peerChoking && this.#waiting.some((piece) => wire.peerPieces.get(piece)))
    const rates = able.map((wire) => this.#rates.get(wire)?.bytesPerSecond(now) ?? 0)
    const fastest = Math.max(0, ...rates)
    for (const [i, wire] of able.entries()) {
      if ((rates[i] ?? 0) < fastest * fastPart) continue
      cancelRequests(wire, (piece) => !isUrgent(piece))
      if (wire.requests.length === 0) this.#rates.get(wire)?.idle(now)
    }
  }

  #peerOf (wire: Wire, now: number, beyond = 0): WirePeer {
    const rate = this.#rates.get(wire)
    if (wire.requests.length === 0) rate?.idle(now)
    return {
      wire,
      bytesPerSecond: rate?.bytesPerSecond(now) ?? 0,
      outstandingBytes: wire.requests.length * blockBytes,
      room: Math.max(0, roomOf(wire, rate?.queueBlocks(now) ?? 0), beyond),
      mayClaim: this.#mayClaim(wire),
      has: (piece) => wire.peerPieces.get(piece)
    }
  }

  #note (wire: Wire, request: Request | null): boolean {
    if (request === null) return false
    this.#turns.set(request, this.#turn++)
    this.#rates.get(wire)?.asked(this.#now())
    return true
  }
}
