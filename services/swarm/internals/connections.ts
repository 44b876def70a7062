import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import type WebTorrent from 'webtorrent'
import type { Torrent } from 'webtorrent'
import { deadlines } from '../../deadlines.ts'
import { Dial } from '../dial.ts'

/** A peer that was reached and says nothing for so long is let go, and dialled anew: WebTorrent itself waits 25 s. */
const maxSilent = 1000

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

/** Peers with a place in the table: connected ones, and ones that are dialled or wait for it. */
export function peerCounts (torrent: Torrent): { connected: number, connecting: number } {
  let connecting = 0
  for (const peer of torrent._peers?.values() ?? []) if (!peer.connected) connecting++
  return { connected: torrent.wires.length, connecting }
}
