import { Disputes } from '../download/disputes.ts'
import type { Part } from '../download/piece-assembly.ts'
import type { Bans, PeerIdentity } from './bans.ts'
import type { Assembled, BlockJudge } from './internals/blocks.ts'

const blockBytes = 16_384
/** A piece that nobody waits for, and one that a reader waits for, is left so long to a suspect that works on it alone. */
const patienceMs = { usual: 15_000, waiting: 1_500 }

/** A connection, as far as it matters here. */
export interface Sender {
  readonly peerChoking: boolean
  readonly peerPieces: { get (piece: number): boolean }
}

export interface LiarsOptions<Wire extends Sender> {
  readonly bans: Bans
  readonly pieceLength: () => number
  /** Who the peer at the other end is; null: nobody who could be named. */
  readonly identityOf: (wire: Wire) => PeerIdentity | null
  /** Whom blocks of this piece were asked of that have not come; null between them. */
  readonly askedFor: (piece: number) => ReadonlyArray<Wire | null>
  readonly wires: () => readonly Wire[]
  /** Does a reader wait for it? */
  readonly isWaitedFor: (piece: number) => boolean
  /** Is it of use for this piece: it has not refused it, and answers? */
  readonly isAtWork: (wire: Wire, piece: number) => boolean
  /** The bytes of a piece that somebody else has filled; null: they cannot be had. */
  readonly readPiece: (piece: number) => Promise<Uint8Array | null>
  /** A wrong piece of this peer is proven. `isBanned`: it was one too many. */
  readonly onLie: (who: PeerIdentity, piece: number, isBanned: boolean) => void
  readonly now?: () => number
}

/** One peer for as long as it is connected. */
interface Peer {
  readonly identity: PeerIdentity | null
  /** Wrong pieces that were proven. */
  lies: number
  /** It had a part in a wrong piece, and has brought none that was right by itself since then. */
  isSuspect: boolean
  /** Pieces that it works on alone, and since when. */
  readonly alone: Map<number, number>
}

/**
 * Finds out which peers of a torrent send wrong data. A wrong piece of one peer is a proof. Of one that several brought
 * together it is kept what each had sent (as hashes), until the right bytes are there and tell; and all of them are
 * suspects: from then on each of them gets pieces for itself alone, which prove what it is. One that has brought a right
 * piece alone may work with the others again, unless it has ever lied. So an honest peer is never taken for a liar, and
 * the piece that a reader waits for is not left to a suspect where others can bring it.
 */
export class Liars<Wire extends Sender> implements BlockJudge<Wire> {
  readonly #options: LiarsOptions<Wire>
  readonly #peers = new WeakMap<Wire, Peer>()
  /** Those of the connected that work alone. */
  readonly #loners = new Set<Wire>()
  readonly #disputes = new Disputes<Peer>()
  readonly #now: () => number

  constructor (options: LiarsOptions<Wire>) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
  }

  get restricted (): ReadonlySet<Wire> {
    return this.#loners
  }

  mayAsk (wire: Wire, piece: number): boolean {
    if (this.#loners.size === 0) return true
    const isLoner = this.#loners.has(wire)
    const isWaitedFor = this.#options.isWaitedFor(piece)
    if (isLoner && isWaitedFor && this.#hasOthersFor(piece)) return false
    const now = this.#now()
    const asked = this.#options.askedFor(piece)
    for (const other of asked) {
      // Blocks of one that says nothing may never come.
      if (other === null || other === wire || !this.#options.isAtWork(other, piece)) continue
      const since = this.#loners.has(other) ? this.#of(other).alone.get(piece) ?? now : null
      // Nobody waits for ever for one that is slow: then the piece is mixed once more.
      const isOverdue = since !== null && now - since > (isWaitedFor ? patienceMs.waiting : patienceMs.usual)
      if ((isLoner || since !== null) && !isOverdue) return false
    }
    // The time begins with its first request.
    if (isLoner && !asked.includes(wire)) this.#of(wire).alone.set(piece, now)
    return true
  }

  onRight ({ piece, bytes, senders }: Assembled<Wire>): void {
    const peers = this.#peersOf(senders)
    const [only] = peers
    if (only !== undefined && peers.size === 1) only.isSuspect = false
    for (const peer of peers) if (peer.identity !== null && peer.lies === 0) this.#options.bans.vouch(peer.identity)
    this.#sort(piece)
    if (!this.#disputes.has(piece)) return
    if (bytes !== null) this.#settle(piece, bytes)
    else this.#options.readPiece(piece).then((bytes) => { if (bytes !== null) this.#settle(piece, bytes) }, () => { /* the dispute stays open */ })
  }

  onWrong ({ piece, bytes, senders }: Assembled<Wire> & { readonly bytes: Uint8Array }): void {
    const peers = this.#peersOf(senders)
    const [only] = peers
    if (only !== undefined && peers.size === 1) {
      this.#lied(only, piece)
    } else {
      const start = piece * this.#options.pieceLength()
      this.#disputes.open(piece, { span: { start, end: start + bytes.length }, bytes, parts: this.#partsOf(senders, start, start + bytes.length) })
      for (const peer of peers) peer.isSuspect = true
    }
    this.#sort(piece)
  }

  /** The connection is over. */
  forget (wire: Wire): void {
    this.#loners.delete(wire)
  }

  #settle (piece: number, bytes: Uint8Array): void {
    for (const peer of this.#disputes.settle(piece, bytes, piece * this.#options.pieceLength()).keys()) this.#lied(peer, piece)
    this.#sort(piece)
  }

  #lied (peer: Peer, piece: number): void {
    peer.lies++
    if (peer.identity !== null) this.#options.onLie(peer.identity, piece, this.#options.bans.offend(peer.identity))
  }

  /** Says anew who works alone, now that this piece is over. */
  #sort (piece: number): void {
    for (const wire of this.#options.wires()) {
      this.#of(wire).alone.delete(piece)
      if (this.#mustWorkAlone(wire)) this.#loners.add(wire)
      else this.#loners.delete(wire)
    }
  }

  #mustWorkAlone (wire: Wire): boolean {
    const { isSuspect, lies } = this.#of(wire)
    return isSuspect || lies > 0
  }

  /** Is somebody there who may work with others, has the piece and gives it? */
  #hasOthersFor (piece: number): boolean {
    return this.#options.wires().some((wire) => !this.#loners.has(wire) && !wire.peerChoking && wire.peerPieces.get(piece) && this.#options.isAtWork(wire, piece))
  }

  #of (wire: Wire): Peer {
    let peer = this.#peers.get(wire)
    if (peer === undefined) {
      peer = { identity: this.#options.identityOf(wire), lies: 0, isSuspect: false, alone: new Map() }
      this.#peers.set(wire, peer)
    }
    return peer
  }

  #peersOf (senders: ReadonlyArray<Wire | undefined>): Set<Peer> {
    const peers = new Set<Peer>()
    for (const wire of new Set(senders)) if (wire !== undefined) peers.add(this.#of(wire))
    return peers
  }

  /** Who sent what of a piece that lies from `start` to `end`; neighbours of one sender as one. */
  #partsOf (senders: ReadonlyArray<Wire | undefined>, start: number, end: number): Array<Part<Peer>> {
    const parts: Array<Part<Peer>> = []
    for (const [block, wire] of senders.entries()) {
      if (wire === undefined) continue
      const [from, to, sender] = [start + block * blockBytes, Math.min(start + (block + 1) * blockBytes, end), this.#of(wire)]
      const last = parts.at(-1)
      if (last?.sender === sender && last.end === from) parts[parts.length - 1] = { ...last, end: to }
      else parts.push({ start: from, end: to, sender })
    }
    return parts
  }
}
