import type { Request, Torrent, Wire } from 'webtorrent'

const blockBytes = 16_384
/** A peer is given more to answer once so much of what it may have is answered: not a packet for each block. */
const refillPart = 0.75

/**
 * Leaves it to `run` to ask the peers, each time when WebTorrent would: after answers, and when peers change. Nothing is
 * selected in WebTorrent itself.
 */
export function takeOver (torrent: Torrent, run: () => void): void {
  torrent._updateWireWrapper = run
}

/** Says which pieces readers wait for, and tells each peer whether it has anything that we have not. */
export function markWaiting (torrent: Torrent, pieces: readonly number[]): void {
  torrent._updateInterest()
  torrent._critical = []
  for (const piece of pieces) torrent._critical[piece] = true
}

/** How many of these blocks more the peer may be asked for; it may allow fewer itself (BEP 10, `reqq`). */
export function roomOf (wire: Wire, blocks: number): number {
  const { reqq } = wire.peerExtendedHandshake
  const most = Math.min(blocks, typeof reqq === 'number' && reqq > 0 ? reqq : Infinity)
  return wire.requests.length > most * refillPart ? 0 : most - wire.requests.length
}

/** Blocks of the piece that nobody was asked for. */
export function unaskedBlocks (torrent: Torrent, index: number): number {
  const piece = torrent.pieces[index]
  if (piece === null || piece === undefined || piece._flushed) return 0
  return Math.ceil(piece.length / blockBytes) - piece._reservations + (piece._cancellations?.length ?? 0)
}

/**
 * Asks the peer for a block of the piece that nobody was asked for, and gives the request; null: there is none, or it may
 * not be asked. What was taken from this peer and it owes all the same is left to others.
 */
export function askFor (torrent: Torrent, wire: Wire, index: number): Request | null {
  const piece = torrent.pieces[index]
  const cancelled = piece?._cancellations ?? []
  if (cancelled.length === 0) return request(torrent, wire, index)
  const own: number[] = []
  for (const block of cancelled.splice(0)) {
    // What has come by another way since it was to be asked for again.
    if (piece?._buffer?.[block] !== undefined) continue
    const isOwn = wire.requests.some((request) => request.piece === index && request.offset === block * blockBytes)
    if (isOwn) own.push(block)
    else cancelled.push(block)
  }
  const asked = request(torrent, wire, index)
  cancelled.push(...own)
  return asked
}

/** Asks the peer for a block that others were asked for, too; null: it may not be asked. */
export function askToo (torrent: Torrent, wire: Wire, index: number, block: number): Request | null {
  const piece = torrent.pieces[index]
  if (piece === null || piece === undefined || piece._flushed) return null
  // The last of these is what the next request is for.
  piece.cancel(block)
  const asked = request(torrent, wire, index)
  if (asked === null) piece._cancellations?.pop()
  return asked
}

/** WebTorrent has a limit of its own, by the peer's speed over five seconds. */
function request (torrent: Torrent, wire: Wire, index: number): Request | null {
  const speed = wire.downloadSpeed
  wire.downloadSpeed = () => Infinity
  const isAsked = torrent._request(wire, index, false)
  wire.downloadSpeed = speed
  return isAsked ? wire.requests.at(-1) ?? null : null
}

/** Where the block is there, takes back what others were asked for it. */
export function takeBack (torrent: Torrent, index: number, offset: number): void {
  const piece = torrent.pieces[index]
  const block = offset / blockBytes
  // It may have come for a piece that was wrong, and is begun anew since.
  if (piece !== null && piece !== undefined && !piece._flushed && piece._buffer?.[block] === undefined) return
  for (const wire of torrent.wires) {
    const request = wire.requests.find((request) => request.piece === index && request.offset === offset)
    if (request !== undefined) wire.cancel(index, offset, request.length)
  }
  // Each of them gave it back to be asked for again.
  const cancellations = piece?._cancellations
  for (let at = cancellations?.indexOf(block) ?? -1; at !== -1; at = cancellations?.indexOf(block) ?? -1) cancellations?.splice(at, 1)
}
