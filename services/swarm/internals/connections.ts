import { EventEmitter } from 'node:events'
import { Socket, connect } from 'node:net'
import type { Duplex } from 'node:stream'
import type WebTorrent from 'webtorrent'
import type { Torrent, Wire } from 'webtorrent'
import { deadlines } from '../../deadlines.ts'
import { Dial } from '../dial.ts'
import type { DialPace } from '../dial.ts'

/** A peer that was reached and says nothing for so long is let go, and dialled anew: WebTorrent itself waits 25 s. */
const maxSilent = 1000
const maxPlain = 1000

/**
 * uTP first, TCP beside it. By itself WebTorrent dials four times by uTP, 5 s each with growing waits between, before
 * it tries TCP: 42 s for a peer that has only TCP. Call it once, after 'listening'.
 *
 * @param delayMs how long uTP is alone; asked for each dial.
 */
export function dialTcpBesideUtp (client: WebTorrent, delayMs: () => number): void {
  const server = client._connPool?.utpServer
  if (server === undefined || server === null) return
  const connectUtp = server.connect.bind(server)
  connectsByUtp.set(server, connectUtp)
  /** Peers that a dial reached and that said nothing; they are dialled the other way round. */
  const silent = new Set<string>()
  server.connect = (port, host) => {
    const address = `${host}:${port}`
    const ways = [() => connectUtp(port, host), () => connect({ port, host, noDelay: true })]
    if (silent.delete(address)) ways.reverse()
    return dialAs(client, ways, { delayMs: delayMs() }, () => { if (silent.size < maxSilent) silent.add(address) })
  }
}

/** What `connect` of a uTP server was before it dialled TCP, too. */
const connectsByUtp = new WeakMap<object, (port: number, host: string) => Duplex>()

function dialAs (client: WebTorrent, ways: ReadonlyArray<() => Duplex>, pace: DialPace, onSilence: () => void): Duplex {
  const dial = new Dial(ways, pace, (winner) => { adopt(client, dial, winner, onSilence) })
  // Typed as what WebTorrent takes it for: up to 'connect' it asks no more of a connection than Dial has.
  return dial as unknown as Duplex
}

/** A hole is knocked at so often. */
const punchMs = 500

/**
 * Dials a peer in the way that opens a hole: by uTP from the listening socket, with fresh SYNs every 500 ms for 4 s, for
 * libutp repeats its own only after 3 s. An earlier dial that is under way there is given up; one that fails in this way
 * is not repeated.
 *
 * @returns false where there is no uTP, no room for a connection, or the peer is connected.
 */
export function punch (client: WebTorrent, torrent: Torrent, address: string): boolean {
  const server = client._connPool?.utpServer
  if (!client.utp || server === undefined || server === null || torrent.destroyed || torrent.paused) return false
  if (torrent._numConns + torrent._numPending >= client.maxConns) return false
  const earlier = torrent._peers?.get(address)
  if (earlier?.connected === true) return false
  earlier?.destroy()
  // It would be dialled once its turn came, and others before the one that is added here.
  const queue = (torrent._queue ?? []).splice(0).filter((peer) => peer !== earlier)
  const usual = server.connect
  const connectUtp = connectsByUtp.get(server) ?? usual.bind(server)
  server.connect = (port, host) => {
    const ways = Array.from({ length: deadlines.holeMs / punchMs }, () => () => connectUtp(port, host))
    return dialAs(client, ways, { delayMs: punchMs, limitMs: deadlines.holeMs }, () => {})
  }
  try {
    return torrent._addPeer(address, 'utp', 'ut_holepunch') !== null
  } finally {
    server.connect = usual
    torrent._queue?.push(...queue)
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
 * Has nothing to do with whom `isRefused` names: neither when they come to us (before a byte of theirs is read) nor when a
 * lost connection is dialled again, which `addPeer` does not see. WebTorrent asks its own blocklist in `addPeer` only.
 *
 * @param isRefused is asked with `ip:port`.
 */
export function guardIncoming (client: WebTorrent, isRefused: (address: string) => boolean): void {
  const pool = client._connPool
  if (pool === null) return
  const onConnection = pool._onConnection.bind(pool)
  pool._onConnection = (connection, type) => {
    if (!isRefused(`${connection.remoteAddress ?? ''}:${connection.remotePort ?? 0}`)) {
      onConnection(connection, type)
      return
    }
    connection.on('error', () => {})
    connection.destroy()
  }
}

/**
 * Leaves it to others to dial lost peers again. By itself WebTorrent does so a second after each connection that had a
 * handshake; and it waits for the connection's own end, for which uTP needs an answer of the peer that is gone.
 *
 * @param onGone is called with `ip:port` when a connection or dial is over, and there is no other one; perhaps twice.
 */
export function takeOverRedials (torrent: Torrent, onGone: (address: string) => void): void {
  const drain = torrent._drain.bind(torrent)
  torrent._drain = () => {
    const next = torrent._queue?.[0]
    drain()
    const conn = next?.conn
    if (!(conn instanceof EventEmitter)) return
    // It listens for that to dial again, after all its other listeners.
    const last = conn.listeners('close').at(-1)
    if (last !== undefined) Reflect.apply(conn.off, conn, ['close', last])
  }
  const removePeer = torrent.removePeer.bind(torrent)
  torrent.removePeer = (peer) => {
    removePeer(peer)
    if (typeof peer !== 'string' || torrent.destroyed) return
    const [address = ''] = peer.split('#')
    for (const other of torrent._peers?.keys() ?? []) if (other === address || other.startsWith(`${address}#`)) return
    onGone(address)
  }
}

/** Dials a peer that was named before. False: it may not be dialled, or there is a connection or dial already. */
export function dialAgain (client: WebTorrent, torrent: Torrent, address: string, source: string | undefined): boolean {
  if (torrent.destroyed) return false
  return torrent._addPeer(address, client.utp && !address.startsWith('[') ? 'utp' : 'tcp', source) !== null
}

/** Dials nobody whom `isRefused` names, the first time or again. */
export function guardRedials (torrent: Torrent, isRefused: (address: string) => boolean): void {
  const addPeer = torrent._addPeer.bind(torrent)
  torrent._addPeer = (peer, type, source) => typeof peer === 'string' && isRefused(peer) ? null : addPeer(peer, type, source)
}

/**
 * Dials a peer without encryption when it has hung up on an encrypted handshake (MSE): twice, because it may have been the
 * way that failed (TCP, uTP), then encrypted again. By itself WebTorrent only ever dials encrypted, and who forbids that is
 * never reached.
 */
export function dialPlainToo (client: WebTorrent, torrent: Torrent): void {
  /** Dials in a row that ended before the handshake. */
  const failures = new Map<string, number>()
  const addPeer = torrent._addPeer.bind(torrent)
  torrent._addPeer = (address, type, source) => {
    if (typeof address !== 'string') return addPeer(address, type, source)
    const { secure } = client
    const failed = failures.get(address) ?? 0
    // It is read once, when the peer is made.
    if (failed > 0) client.secure = 0
    const peer = addPeer(address, type, source)
    client.secure = secure
    peer?.once('disconnect', () => {
      if (peer.wire?.peerId !== null) return
      if (failed === 2) failures.delete(address)
      else if (failures.size < maxPlain) failures.set(address, failed + 1)
      if (failed === 0) setImmediate(() => { if (!torrent.destroyed) torrent._addPeer(address, type, source) })
    })
    return peer
  }
}

/** Lets go whom `isRefused` names: the connected, and those that are dialled or wait for it. */
export function dropPeers (torrent: Torrent, isRefused: (address: string, peerId: string | null) => boolean): void {
  for (const peer of [...torrent._peers?.values() ?? []]) {
    if (peer.addr === null || !isRefused(peer.addr, peer.wire?.peerId ?? null)) continue
    const waiting = torrent._queue?.indexOf(peer) ?? -1
    // One that is destroyed in the queue would be dialled all the same.
    if (waiting !== -1) torrent._queue?.splice(waiting, 1)
    peer.destroy(new Error('refused'))
  }
}

/** Peers with a place in the table: connected ones, and ones that are dialled or wait for it. */
export function peerCounts (torrent: Torrent): { connected: number, connecting: number } {
  let connecting = 0
  for (const peer of torrent._peers?.values() ?? []) if (!peer.connected) connecting++
  return { connected: torrent.wires.length, connecting }
}

/**
 * What a connection goes over, and whether the peer began it of itself: not while we were dialling it, too, as for the two
 * sides of a punched hole. Null for what is neither TCP nor uTP.
 */
export function originOf (torrent: Torrent, wire: Wire): { readonly transport: 'tcp' | 'utp', readonly isUnasked: boolean } | null {
  if (!/^(?:tcp|utp)/.test(wire.type)) return null
  const peer = [...torrent._peers?.values() ?? []].find((peer) => peer.wire === wire)
  if (wire.type === 'tcpIncoming' || wire.type === 'utpIncoming') return { transport: wire.type === 'tcpIncoming' ? 'tcp' : 'utp', isUnasked: peer?.id.includes('#') === false }
  // A dial that began by uTP may have been won by TCP.
  return { transport: wire.type === 'tcpOutgoing' || peer?.conn instanceof Socket ? 'tcp' : 'utp', isUnasked: false }
}
