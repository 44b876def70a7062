import type WebTorrent from 'webtorrent'
import type { Dht, Torrent } from 'webtorrent'
import type { Socket } from 'node:net'
import type { UtpServer } from 'utp-native'

/** Stops listening on TCP; connections that are there live on. Call it after 'listening'. */
export function closeTcp (client: WebTorrent): void {
  client._connPool?.tcpServer?.close()
}

/** Says under which port WebTorrent is reached where that is not the one it listens on. */
export function setTorrentPort (client: WebTorrent, port: number): void {
  client.torrentPort = port
}

/**
 * Gives the client, made with `utp: false`, this bound uTP server: peers are dialled from it, and its connections are
 * taken. The client closes it at its end.
 */
export function useUtp (client: WebTorrent, server: UtpServer): void {
  const pool = client._connPool
  if (pool === null) return
  server.on('connection', pool._onUTPConnectionBound)
  pool.utpServer = server
  client.utp = true
}

/** Gives the client, made with `dht: false`, this DHT. Call it before the first torrent. The client ends it. */
export function useDht (client: WebTorrent, dht: Dht): void {
  // Each torrent listens to it.
  dht.setMaxListeners(0)
  client.dht = dht
}

/** Takes a connection that a peer began, on whatever port. */
export function takeConnection (client: WebTorrent, socket: Socket): void {
  if (client._connPool === null) socket.destroy()
  else client._connPool._onTCPConnectionBound(socket)
}

/** Dials no peer over TCP: neither those that uTP cannot reach nor IPv6 ones. WebRTC peers are not dialled. */
export function dialNoTcp (torrent: Torrent): void {
  const addPeer = torrent._addPeer.bind(torrent)
  torrent._addPeer = (peer, type, source) => typeof peer === 'string' && type === 'tcp' ? null : addPeer(peer, type, source)
}
