import type { Piece, Request, Torrent, Wire } from 'webtorrent'

const blockBytes = 16_384

/** A piece, and whose blocks it was made of. */
export interface Assembled<Sender> {
  readonly piece: number
  /** Null where somebody else has filled the piece: these blocks were never put together. */
  readonly bytes: Uint8Array | null
  /** By block of 16 KiB, who sent the one that counted. */
  readonly senders: ReadonlyArray<Sender | undefined>
}

/** Who decides about blocks, and hears what became of them. */
export interface BlockJudge<Sender> {
  /** May this peer be asked for blocks of this piece? Asked very often. */
  mayAsk (wire: Sender, piece: number): boolean
  /** The piece is there, right. */
  onRight (assembled: Assembled<Sender>): void
  /** All blocks were there and the hash was not. */
  onWrong (assembled: Assembled<Sender> & { readonly bytes: Uint8Array }): void
}

interface Begun {
  readonly piece: Piece
  readonly senders: Array<Wire | undefined>
  bytes: Uint8Array | null
}

const failure = /^Piece (\d+) failed verification$/

/**
 * Lets `judge` decide who is asked for what, and tells it whose blocks each piece was made of. By itself WebTorrent
 * forgets that, and asks the same peers again for a piece that was wrong. Call it right after `add`.
 */
export function judgeBlocks (torrent: Torrent, judge: BlockJudge<Wire>): void {
  const begun = new Map<number, Begun>()
  const request = torrent._request.bind(torrent)
  torrent._request = (wire, index, hotswap) => {
    const piece = torrent.pieces[index]
    if (piece === null || piece === undefined || !judge.mayAsk(wire, index)) return false
    if (begun.get(index)?.piece !== piece) {
      // Pieces that were given up leave theirs behind.
      for (const [other, { piece }] of begun) if (torrent.pieces[other] !== piece) begun.delete(other)
      begun.set(index, watch(piece))
    }
    return request(wire, index, hotswap)
  }
  const markVerified = torrent._markVerified.bind(torrent)
  torrent._markVerified = (index) => {
    // Before its own pieces WebTorrent has cleared the place: others come as they are, perhaps with wrong blocks in memory.
    const isOwn = torrent.pieces[index] === null
    const found = begun.get(index)
    begun.delete(index)
    markVerified(index)
    judge.onRight({ piece: index, bytes: isOwn ? found?.bytes ?? null : null, senders: isOwn ? found?.senders ?? [] : [] })
  }
  torrent.on('warning', (warning: unknown) => {
    const index = Number(failure.exec(warning instanceof Error ? warning.message : '')?.[1] ?? NaN)
    const found = begun.get(index)
    begun.delete(index)
    if (found !== undefined && found.bytes !== null) judge.onWrong({ piece: index, bytes: found.bytes, senders: found.senders })
  })
}

/** Takes down who sends what of this piece. */
function watch (piece: Piece): Begun {
  const begun: Begun = { piece, senders: [], bytes: null }
  const set = piece.set.bind(piece)
  piece.set = (block, bytes, wire) => {
    // The first that comes counts, the others are thrown away.
    if (piece._buffer !== null && piece._buffer[block] === undefined) begun.senders[block] = wire
    return set(block, bytes, wire)
  }
  const flush = piece.flush.bind(piece)
  piece.flush = () => {
    begun.bytes = flush()
    return begun.bytes
  }
  return begun
}

/** Who was asked for blocks of this piece and has not answered yet, each once for each block. */
export function askedFor (torrent: Torrent, piece: number): ReadonlyArray<Wire | null> {
  return torrent._reservations[piece] ?? []
}

const released = new WeakSet<Request>()

/**
 * Gives the others what this peer was asked for, once each. Its own answers still count when they come first: the requests
 * are under way.
 */
export function releaseRequests (torrent: Torrent, wire: Wire): void {
  for (const request of wire.requests) {
    if (released.has(request)) continue
    released.add(request)
    const { piece: index, offset } = request
    const reserved = torrent._reservations[index]
    const at = reserved?.indexOf(wire) ?? -1
    // Of a piece that was begun anew since.
    if (reserved === null || reserved === undefined || at === -1) continue
    reserved[at] = null
    torrent.pieces[index]?.cancel(Math.floor(offset / blockBytes))
  }
}

/**
 * Calls back when the peer refuses what it was asked for (BEP 6). It answers a cancelled request in the same way, unless it
 * sends the block after all. That is no refusal, and nobody else hears of it: after a jump there are hundreds of them, and
 * what was asked for again meanwhile would count as refused.
 */
export function onRefused (wire: Wire, callback: (piece: number) => void): void {
  /** Cancelled requests that were not answered, and how many of each. */
  const cancelled = new Map<string, number>()
  const answer = (piece: number, offset: number): boolean => {
    const key = `${piece} ${offset}`
    const count = cancelled.get(key)
    if (count === undefined) return false
    if (count === 1) cancelled.delete(key)
    else cancelled.set(key, count - 1)
    return true
  }
  const cancel = wire.cancel.bind(wire)
  wire.cancel = (piece, offset, length) => {
    if (wire.hasFast && wire.requests.some((request) => request.piece === piece && request.offset === offset)) {
      const key = `${piece} ${offset}`
      cancelled.set(key, (cancelled.get(key) ?? 0) + 1)
    }
    cancel(piece, offset, length)
  }
  wire.on('piece', (piece: number, offset: number) => { answer(piece, offset) })
  const onReject = wire._onReject.bind(wire)
  wire._onReject = (piece, offset, length) => {
    if (answer(piece, offset)) return
    onReject(piece, offset, length)
    callback(piece)
  }
}

/** Asks the peers anew, each for as much as it may have under way. */
export function askAgain (torrent: Torrent): void {
  if (torrent.ready && !torrent.destroyed) torrent._update()
}
