import { lookup } from 'node:dns'
import { connect, isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import type WebTorrent from 'webtorrent'
import type { LocalDiscovery, Torrent, Wire } from 'webtorrent'
import { Dial } from './dial.ts'
import { deadlines } from '../deadlines.ts'

/** A peer that was reached and says nothing for so long is let go, and dialled anew: WebTorrent itself waits 25 s. */
const maxSilent = 1000

/**
 * Every private call into WebTorrent 3.0.21, one function each. Each has a test that shows what an upgrade broke.
 */

/**
 * uTP first, TCP beside it. By itself WebTorrent dials four times by uTP, 5 s each with growing waits between, before
 * it tries TCP: 42 s for a peer that has only TCP. Call it once, after 'listening'.
 *
 * @param delayMs how long uTP is alone.
 */
export function dialTcpBesideUtp (client: WebTorrent, delayMs: number): void {
  const server = client._connPool?.utpServer
  if (server === undefined || server === null) return
  const connectUtp = server.connect.bind(server)
  /** Peers that a dial reached and that said nothing; they are dialled the other way round. */
  const silent = new Set<string>()
  server.connect = (port, host) => {
    const ways = [() => connectUtp(port, host), () => connect({ port, host })] as const
    const [first, second] = silent.delete(`${host}:${port}`) ? [ways[1], ways[0]] : ways
    const onSilence = (): void => { if (silent.size < maxSilent) silent.add(`${host}:${port}`) }
    // Typed as what WebTorrent takes it for: up to 'connect' it asks no more of a connection than Dial has.
    const dial = new Dial(first, second, delayMs, (winner) => { adopt(client, dial, winner, onSilence) })
    return dial as unknown as Duplex
  }
}

/** Gives the peer that waits for this dial the connection itself, so that no byte goes through a stream in between. */
function adopt (client: WebTorrent, dial: Dial, winner: Duplex, onSilence: () => void): void {
  for (const torrent of client.torrents) {
    for (const peer of torrent._peers?.values() ?? []) {
      if (peer.conn !== dial) continue
      peer.conn = winner
      // A client that still holds an earlier connection of ours answers the new one with silence, then forgets the old.
      const timer = setTimeout(() => {
        if ((peer.wire?.peerId ?? null) !== null) return
        onSilence()
        // Both at once: a uTP connection closes only when the other side answers, which is what it does not do.
        peer.destroy(new Error('no handshake'))
        dial.destroy()
      }, deadlines.handshakeMs)
      timer.unref()
      winner.once('close', () => { clearTimeout(timer) })
      return
    }
  }
  winner.destroy()
}

/**
 * Lets an incoming connection live beside our own dial to the same address. `_peers` is keyed by ip:port, and the end
 * of a failed dial destroys whatever sits under its key by then: the good connection of a punched hole, above all.
 */
export function keepIncomingPeers (torrent: Torrent): void {
  const addIncomingPeer = torrent._addIncomingPeer.bind(torrent)
  torrent._addIncomingPeer = (peer) => {
    const address = peer.id
    for (let i = 2; torrent._peers?.has(peer.id) === true; i++) peer.id = `${address}#${i}`
    addIncomingPeer(peer)
  }
}

/**
 * Keeps back the metadata that peers send, and that of a `.torrent` the torrent was added with, until the returned
 * function is called: then the torrent gets this `.torrent` and exactly this bitfield, hashes nothing, keeps the peers
 * it has and becomes ready. Call it right after `add`, and the returned function once, after 'infoHash'.
 */
export function holdMetadata (torrent: Torrent, infohash: string): (metadata: Uint8Array, bitfield: Uint8Array) => Promise<void> {
  const onMetadata = torrent._onMetadata.bind(torrent)
  torrent._onMetadata = async () => {}
  // WebTorrent hashes a re-encoding: of an info dictionary with unsorted keys it would take another infohash.
  const keepInfohash = (): void => { torrent.infoHash = infohash }
  torrent.on('_infoHash', keepInfohash)
  torrent.on('metadata', keepInfohash)
  return async (metadata, bitfield) => {
    torrent._startupBitfield = bitfield
    // It would read and hash one piece of each file, and hash everything when there are none.
    torrent._verifyPieces = (done) => { done(null) }
    await onMetadata(metadata)
  }
}

/** Calls back with the raw info dictionary that this peer has sent (BEP 9), its hash checked. */
export function onInfo (wire: Wire, callback: (info: Uint8Array) => void): void {
  // The event's own argument is a re-encoding.
  wire.ut_metadata.on('metadata', () => {
    if (wire.ut_metadata.metadata !== undefined) callback(wire.ut_metadata.metadata)
  })
}

/**
 * Selects exactly these ranges of pieces, in this order, and nothing else. All get priority 0: what has a priority is
 * shuffled after each request, across priorities. As stream selections they are not merged with their neighbours,
 * which would lose the order too.
 *
 * @param critical pieces whose blocks may be taken away from a slow peer.
 */
export function select (torrent: Torrent, ranges: ReadonlyArray<readonly [from: number, to: number]>, critical: readonly number[]): void {
  torrent._selections.clear()
  for (const [from, to] of ranges) torrent._selections.insert({ from, to, offset: 0, priority: 0, isStreamSelection: true })
  torrent._critical = []
  for (const piece of critical) torrent._critical[piece] = true
  torrent._updateSelections()
}

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

function cancelRequests (wire: Wire, isMeant: (piece: number) => boolean): void {
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
  for (const [index, piece] of torrent.pieces.entries()) {
    if (piece !== null && piece._buffer !== null && (piece._reservations > (piece._cancellations?.length ?? 0) || piece.missing < piece.length)) begun.push([index, piece.missing])
  }
  return begun
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

/**
 * Asks a new peer for what is most urgent. By itself WebTorrent tries an unknown peer with one block from the end of
 * the least urgent range, and asks for the rest only after the answer.
 */
export function trustFromStart (wire: Wire): void {
  wire.downloaded ||= 1
}

const blockBytes = 16_384
/** Requests that a new peer gets at once, beside the two that WebTorrent always makes. */
const firstBlocks = 6

/**
 * Lets the number of requests under way grow as fast as the peer answers them. WebTorrent asks for what the peer gave
 * in a second, as an average of five: from two requests on that takes half a minute with a peer that answers in pulses
 * (Transmission), or from far away. Here a peer that has just begun to deliver counts as a little faster than it is
 * yet, and one that gets faster as twice as fast as in the last second, so that a slow one is soon seen as such.
 *
 * @param now milliseconds.
 */
export function growPipeline (wire: Wire, now: () => number = performance.now.bind(performance)): void {
  const average = wire.downloadSpeed
  /** Bytes in each tenth of the last second; the tenth that began at `tick * 100` ms is at `tick % 10`. */
  const tenths: number[] = Array(10).fill(0)
  let tick = 0
  let unchokedAtMs: number | null = null
  let firstAtMs: number | null = null
  wire.on('unchoke', () => { unchokedAtMs ??= now() })
  wire.downloadSpeed = (bytes = 0) => {
    const nowMs = now()
    const nowTick = Math.floor(nowMs / 100)
    for (let gone = Math.max(tick + 1, nowTick - 9); gone <= nowTick; gone++) tenths[gone % 10] = 0
    tick = nowTick
    tenths[tick % 10] = (tenths[tick % 10] ?? 0) + bytes
    if (bytes > 0) firstAtMs ??= nowMs
    const measured = average(bytes)
    const lastSecond = tenths.reduce((sum, tenth) => sum + tenth, 0)
    // Of the first second there is no average yet that it could exceed.
    const isGrowing = (firstAtMs !== null && nowMs - firstAtMs < 2_000) || lastSecond > measured * 1.2
    const atFirst = unchokedAtMs !== null && nowMs - unchokedAtMs < 1_000 ? firstBlocks * blockBytes : 0
    return Math.max(measured, atFirst, isGrowing ? lastSecond * 2 : lastSecond)
  }
}

/** Ignores what peers offer to a choked client (BEP 6): WebTorrent would fetch those pieces whether selected or not. */
export function ignoreAllowedFast (wire: Wire): void {
  wire.on('allowed-fast', () => { wire.peerAllowedFastSet.length = 0 })
}

/** Peers with a place in the table: connected ones, and ones that are dialled or wait for it. */
export function peerCounts (torrent: Torrent): { connected: number, connecting: number } {
  let connecting = 0
  for (const peer of torrent._peers?.values() ?? []) if (!peer.connected) connecting++
  return { connected: torrent.wires.length, connecting }
}

/**
 * Makes local discovery harmless. As it comes, a host without a network destroys the torrent (its send fails), a
 * malformed datagram of a neighbour kills the process, and neighbours are dialled whatever torrent they announce.
 * Call it right after `add`.
 */
export function tameLocalDiscovery (torrent: Torrent): void {
  const startDiscovery = torrent._startDiscovery.bind(torrent)
  let tamed: LocalDiscovery | null = null
  torrent._startDiscovery = () => {
    startDiscovery()
    const lsd = torrent.discovery?.lsd ?? null
    if (lsd === null || lsd === tamed) return
    tamed = lsd
    const parseAnnounce = lsd._parseAnnounce.bind(lsd)
    lsd._parseAnnounce = (announce) => {
      try {
        return parseAnnounce(announce)
      } catch {
        return null
      }
    }
    lsd.removeAllListeners('error')
    lsd.on('error', () => {})
    const onPeer = lsd.listeners('peer')
    lsd.removeAllListeners('peer')
    lsd.on('peer', (address: unknown, infohash: unknown) => {
      if (String(infohash).toLowerCase() !== torrent.infoHash) return
      for (const listener of onPeer) listener.call(lsd, address, infohash)
    })
  }
}

/**
 * Dials only who passes. `addPeer` is where all of them come by: trackers, the DHT, local discovery, PEX, and ourselves.
 *
 * @param mayDial is asked with `ip:port` and who named it.
 */
export function guardPeers (torrent: Torrent, mayDial: (address: string, source: string | undefined) => boolean): void {
  const addPeer = torrent.addPeer.bind(torrent)
  torrent.addPeer = (peer, source) => {
    if (typeof peer === 'string' && !mayDial(peer, source)) return false
    return addPeer(peer, source)
  }
}

/**
 * Asks only those nodes of the DHT that pass; others are as good as silent. Names are bootstrap nodes of the operator:
 * nodes that others name come as addresses (BEP 5, compact node info).
 *
 * @param mayAsk is asked with `ip:port`.
 */
export function guardDht (client: WebTorrent, mayAsk: (address: string) => boolean): void {
  const socket = client.dht ? client.dht._rpc.socket : null
  if (socket === null) return
  const query = socket.query.bind(socket)
  socket.query = (peer, message, callback) => {
    const isNamed = isIP(peer.host) === 0
    const host = isIP(peer.host) === 6 ? `[${peer.host}]` : peer.host
    if (!isNamed && !mayAsk(`${host}:${peer.port}`)) {
      queueMicrotask(() => {
        callback?.(new Error('this node may not be asked'), null, peer)
        socket.emit('update')
        socket.emit('postupdate')
      })
      return
    }
    if (!isNamed) return query(peer, message, callback)
    lookup(peer.host, { family: 4 }, (error, address) => {
      if (error !== null || socket.destroyed) callback?.(error ?? new Error('the DHT is closed'), null, peer)
      else query({ host: address, port: peer.port }, message, callback)
    })
  }
}

/** Nodes in the DHT's routing table. */
export function dhtNodes (client: WebTorrent): number {
  return client.dht ? client.dht.nodes.count() : 0
}
