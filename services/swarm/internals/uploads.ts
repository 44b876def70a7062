import type { Torrent, Wire } from 'webtorrent'
import type { Taker, UploadQueue } from '../upload-queue.ts'

/** Blocks that are read for a peer at a time, and bytes that wait to be sent to it. */
const most = { reads: 8, waitingBytes: 131_072 } as const

/** A peer as the queue sees it. */
export class WireTaker implements Taker {
  readonly #wire: Wire

  constructor (wire: Wire) {
    this.#wire = wire
  }

  get isFull (): boolean {
    const { peerRequests, _readableState: { buffered } } = this.#wire
    return peerRequests.length >= most.reads || buffered >= most.waitingBytes
  }
}

/**
 * Lets a peer have what it asks for through the queue only, in the 'wire' event. By itself WebTorrent reads all that it
 * asks for into memory, whether it takes it or not, and a limit holds up our own requests behind the blocks.
 *
 * @param mayUnchoke asked whenever WebTorrent would let the peer ask.
 */
export function serveThrough (torrent: Torrent, wire: Wire, queue: UploadQueue<WireTaker>, mayUnchoke: () => boolean): void {
  const taker = new WireTaker(wire)
  const { _onRequest: onRequest, _onCancel: onCancel, choke, unchoke, _read: read } = wire
  const refuse = (piece: number, offset: number, length: number): void => { if (wire.hasFast && !wire.destroyed) wire.reject(piece, offset, length) }
  wire.unchoke = () => { if (mayUnchoke()) unchoke.call(wire) }
  wire.choke = () => {
    choke.call(wire)
    for (const { piece, offset, length } of queue.drop(taker)) refuse(piece, offset, length)
  }
  wire._onRequest = (piece, offset, length) => {
    // It refuses what it is choked for.
    if (wire.amChoking) {
      onRequest.call(wire, piece, offset, length)
      return
    }
    const isTaken = queue.ask(taker, piece, offset, length, () => {
      // WebTorrent answers nothing for what is not there: gone since, or never said to be.
      if (torrent.ready && torrent.bitfield.get(piece)) onRequest.call(wire, piece, offset, length)
      else refuse(piece, offset, length)
    })
    if (!isTaken) refuse(piece, offset, length)
  }
  wire._onCancel = (piece, offset, length) => {
    queue.cancel(taker, piece, offset, length)
    onCancel.call(wire, piece, offset, length)
  }
  // Called when it has room for more.
  wire._read = (done) => {
    read.call(wire, done)
    queue.serve()
  }
  wire.on('upload', () => { queue.serve() })
  wire.once('close', () => { queue.drop(taker) })
}

/** Lets no peer ask for anything any more. */
export function chokeAll (torrent: Torrent): void {
  for (const wire of torrent.wires) wire.choke()
}

/** Lets peers ask again: those who want something at once, of whom WebTorrent chooses a few every ten seconds. */
export function unchokeInterested (torrent: Torrent): void {
  for (const wire of torrent.wires) if (wire.peerInterested) wire.unchoke()
  torrent._rechoke()
}
