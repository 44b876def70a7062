import type { Duplex } from 'node:stream'
import type WebTorrent from 'webtorrent'
import type { Peer, Torrent } from 'webtorrent'
import type { UtpConnection, UtpServer } from 'utp-native'
import { probePeer } from './wires.ts'

/** Who is asked for something after an end, and says nothing for so long, is the one that has ended. */
const silenceMs = 2_000
const headerBytes = 20
/**
 * A peer that chose another connection is dialled once more after these times: soon, because it may have been a toss; then
 * until its own dial has failed, for which libtorrent takes 18 s. Through a hole that it punched to a port which we do not
 * come from, it takes our connection only then.
 */
const tossesMs = [250, 250, 250, 500, 1_000, ...Array<number>(15).fill(2_000)]
const mostPeers = 500
/** libtorrent's close_reason_t: it has another connection to us, or a dial. */
const duplicateReason = 1

/**
 * Hears when libtorrent closes a uTP connection. It says why in an extension of its FIN, and the libutp here takes no
 * packet with that extension for uTP (it knows two, BEP 29 has one): a peer that left would stay for half a minute with
 * all that it was asked for, and one that chose between two connections would leave us with the one it closed.
 *
 * Which connection it is stands in the packet as a number that is not known here. Where the peer has several, or the
 * handshake is done (anybody could have sent the packet), it is the one that does not answer.
 */
export function noticeUtpEnds (client: WebTorrent, server: UtpServer): void {
  const watched = new Set<UtpConnection>()
  server.on('message', (packet: Uint8Array, { address, port }: { readonly address: string, readonly port: number }) => {
    if (!isExtendedEnd(packet)) return
    const connections = server.connections.filter((each) => each._connected && !each.destroyed && each.remoteAddress === address && each.remotePort === port)
    const [only] = connections
    if (connections.length === 1 && only !== undefined && !hasHandshake(client, only)) {
      if (reasonOf(packet) === duplicateReason) tossAgain(client, only)
      end(client, only)
      return
    }
    for (const each of connections) {
      if (watched.has(each)) continue
      watched.add(each)
      watch(client, each, (isSilent) => {
        watched.delete(each)
        if (isSilent) end(client, each)
      })
    }
  })
}

/** Asks for something, and calls back after `silenceMs` with whether nothing came. */
function watch (client: WebTorrent, connection: UtpConnection, done: (isSilent: boolean) => void): void {
  const wire = ownerOf(client, connection)?.[1].wire ?? null
  const isAsked = wire !== null && wire.peerId !== null && probePeer(wire)
  let isHeard = false
  // For the while it lies before the one of the prototype.
  const push = connection.push.bind(connection)
  connection.push = (chunk: unknown, ...more) => {
    isHeard = true
    return push(chunk, ...more)
  }
  setTimeout(() => {
    Reflect.deleteProperty(connection, 'push')
    // One in the middle of its handshake has something to say, too.
    done(!isHeard && !connection.destroyed && (isAsked || !hasHandshake(client, connection)))
  }, silenceMs).unref()
}

/**
 * Dials soon once more. The peer has ended our connection before its handshake because it dials us, too: it decides by
 * chance which of both it keeps (libtorrent's peer_list::new_connection, where both listen on the same port), and its own
 * dial may be one that never arrives here. WebTorrent itself would wait longer each time.
 */
function tossAgain (client: WebTorrent, connection: Duplex): void {
  const [torrent, peer] = ownerOf(client, connection) ?? []
  if (torrent === undefined || peer === undefined || peer.addr === null) return
  const { addr, source } = peer
  const counts = tosses.get(torrent) ?? new Map<string, number>()
  tosses.set(torrent, counts)
  const count = (counts.get(addr) ?? 0) + 1
  const afterMs = tossesMs[count - 1]
  if (afterMs === undefined || counts.size > mostPeers) return
  counts.set(addr, count)
  setTimeout(() => { if (!torrent.destroyed) torrent._addPeer(addr, 'utp', source ?? undefined) }, afterMs).unref()
}

/** How often each address was dialled once more. */
const tosses = new WeakMap<Torrent, Map<string, number>>()

/** What the first extension of the packet holds, where it is libtorrent's reason; 0 for none. */
function reasonOf (packet: Uint8Array): number {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength)
  return packet[1] === 3 && packet.length >= headerBytes + 6 && packet[headerBytes + 1] === 4 ? view.getUint32(headerBytes + 2) : 0
}

/** FIN or RESET of version 1, with a first extension that libutp does not know. */
function isExtendedEnd (packet: Uint8Array): boolean {
  return packet.length >= headerBytes && (packet[0] === 0x11 || packet[0] === 0x31) && (packet[1] ?? 0) > 2
}

function ownerOf (client: WebTorrent, connection: Duplex): [Torrent, Peer] | null {
  for (const torrent of client.torrents) {
    for (const peer of torrent._peers?.values() ?? []) if (peer.conn === connection) return [torrent, peer]
  }
  return null
}

function hasHandshake (client: WebTorrent, connection: Duplex): boolean {
  return (ownerOf(client, connection)?.[1].wire?.peerId ?? null) !== null
}

/** The peer goes at once; the connection itself waits for an answer to its own FIN, which does not come. */
function end (client: WebTorrent, connection: Duplex): void {
  ownerOf(client, connection)?.[1].destroy()
  connection.destroy()
}
