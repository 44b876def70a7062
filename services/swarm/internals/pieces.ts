import type { Torrent, Wire } from 'webtorrent'

/** Takes a piece that somebody else has written and verified: tells the peers, and wants it no longer. */
export function markFilled (torrent: Torrent, piece: number): void {
  if (torrent.bitfield.get(piece)) return
  torrent._markVerified(piece)
  for (const wire of torrent.wires) {
    wire.have(piece)
    cancelRequests(wire, (requested) => requested === piece)
  }
  torrent._checkDone()
}

/** Takes back a piece that is not there any more: tells the peers, and may be told to want it again. */
export function markDropped (torrent: Torrent, piece: number): void {
  if (!torrent.bitfield.get(piece)) return
  torrent._markUnverified(piece)
  for (const wire of torrent.wires) wire.lt_donthave.donthave(piece)
  torrent._checkDone()
}

/** Cancels what was asked of the peers for pieces that nobody wants now, so that what is wanted does not queue behind it. */
export function cancelUnwanted (torrent: Torrent, isWanted: (piece: number) => boolean): void {
  for (const wire of torrent.wires) cancelRequests(wire, (piece) => !isWanted(piece))
}

/** Takes back what the peer was asked for of these pieces; it is to be asked for again. */
export function cancelRequests (wire: Wire, isMeant: (piece: number) => boolean): void {
  for (const { piece, offset, length } of [...wire.requests]) {
    if (isMeant(piece)) wire.cancel(piece, offset, length)
  }
}

/** Bytes held in memory for pieces that are begun, not complete, and not meant to be kept. */
export function heldBytes (torrent: Torrent, isKept: (piece: number) => boolean): number {
  let bytes = 0
  for (const [index, piece] of torrent.pieces.entries()) {
    if (piece !== null && piece._buffer !== null && !piece._flushed && !isKept(index)) bytes += piece.length - piece.missing
  }
  return bytes
}

/** The pieces that are begun, and what of them is missing: blocks of them were asked for, and they are not verified yet. */
export function begunPieces (torrent: Torrent): Array<[piece: number, missingBytes: number]> {
  const begun: Array<[number, number]> = []
  for (const [index, piece] of torrent.pieces.entries()) if (piece !== null && isBegun(torrent, index)) begun.push([index, piece.missing])
  return begun
}

/** Is it one of these? */
export function isBegun (torrent: Torrent, index: number): boolean {
  const piece = torrent.pieces[index]
  if (piece === null || piece === undefined || piece._buffer === null) return false
  return piece._reservations > (piece._cancellations?.length ?? 0) || piece.missing < piece.length
}

/** Forgets the blocks of pieces that are begun, not complete, and not meant to be kept. */
export function dropHeld (torrent: Torrent, isKept: (piece: number) => boolean): void {
  for (const [index, piece] of torrent.pieces.entries()) {
    if (piece === null || piece._buffer === null || piece._flushed || isKept(index)) continue
    for (const wire of torrent.wires) cancelRequests(wire, (requested) => requested === index)
    // Makes a new, empty piece; a late answer for the old one is dropped. It was not verified before, so nothing else changes.
    torrent._markUnverified(index)
  }
}
