import { lookup } from 'node:dns'
import { isIP } from 'node:net'
import type WebTorrent from 'webtorrent'
import type { Client as TrackerClient } from 'bittorrent-tracker'
import type { Dht, LocalDiscovery, Torrent } from 'webtorrent'
import type { DhtState } from '../dht-file.ts'

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

/**
 * Calls back with what becomes of each query of the DHT: the node's answer, or null where it was silent. Of other failures
 * nothing is said. Call it before guardDht.
 */
export function watchDht (client: WebTorrent, onOutcome: (node: string, answer: { readonly ip?: unknown } | null) => void): void {
  const socket = client.dht ? client.dht._rpc.socket : null
  if (socket === null) return
  const query = socket.query.bind(socket)
  socket.query = (peer, message, callback) => query(peer, message, (error, answer, node) => {
    if (error === null && typeof answer === 'object' && answer !== null) onOutcome(peer.host, answer)
    else if (error !== null && 'code' in error && error.code === 'ETIMEDOUT') onOutcome(peer.host, null)
    callback?.(error, answer, node)
  })
}

/** Who the DHT knows, those first that it has heard of last, so many at most. */
export function dhtState ({ nodeId, nodes }: Dht, most: number): DhtState {
  const latest = [...nodes.toArray()].sort((a, b) => (b.seen ?? 0) - (a.seen ?? 0)).slice(0, most)
  return { nodeId: Buffer.from(nodeId).toString('hex'), nodes: latest.map(({ host, port }) => `${host}:${port}`) }
}

/**
 * Asks nodes that were known earlier whether they still are there, a few at a time, until enough are known: those that
 * answer are known from then on. None of them is put into the table unasked, for a search asks the bootstrap nodes only
 * where that has next to nobody, and would wait for those that are gone.
 *
 * @param nodes `ip:port`.
 */
export function greetNodes (dht: Dht, nodes: readonly string[], { atOnce = 8, enough = 50 } = {}): void {
  const left = [...nodes]
  const greet = (): void => {
    const [host = '', port] = left.shift()?.split(':') ?? []
    if (port === undefined || dht.destroyed || dht.nodes.count() >= enough) return
    dht._sendPing({ host, port: Number(port) }, greet)
  }
  for (let i = 0; i < atOnce; i++) greet()
}

/** Nodes in the DHT's routing table. */
export function dhtNodes (client: WebTorrent): number {
  return client.dht ? client.dht.nodes.count() : 0
}

/** Tells the DHT of another port, now and from now on. */
export function announcePort ({ discovery }: Torrent, port: number): void {
  // One that is made later begins with the client's.
  if (discovery === null) return
  // While it announces the old one it takes no other.
  if (discovery._dhtAnnouncing) discovery.once('dhtAnnounce', () => { discovery.updatePort(port) })
  else discovery.updatePort(port)
}

/** Says which port this client is to tell its tracker. */
export function setTrackerPort (client: TrackerClient, port: number): void {
  client._port = port
}
