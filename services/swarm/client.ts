import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { Client as Dht } from 'bittorrent-dht'
import type { UtpServer } from 'utp-native'
import type WebTorrent from 'webtorrent'
import { DhtSocket } from './dht-socket.ts'
import type { Datagrams } from './dht-socket.ts'
import { greetNodes, guardDht, watchDht } from './internals/discovery.ts'
import { closeTcp, setTorrentPort, useDht, useUtp } from './internals/ports.ts'
import { noticeUtpEnds } from './internals/utp-ends.ts'
import type { HostOptions } from './messages.ts'
import { choosePort, isFree } from './ports.ts'
import type { ListeningPorts } from '../nat/network-report.ts'

/** Where the swarm is to listen. */
export interface Listening {
  /** The one number for TCP and UDP. */
  readonly port: number
  /** Of UDP, where that could not be had on `port`. */
  readonly udpPort: number
  readonly missing: ListeningPorts['missing']
}

/** Chooses the port. It is free until somebody takes it. */
export async function chooseListening ({ port: wanted, previousPort, transport, isPortShared }: HostOptions): Promise<Listening> {
  if (isPortShared) {
    if (await isFree(wanted, { tcp: false, udp: true })) return { port: wanted, udpPort: wanted, missing: [] }
    const reason = `UDP port ${wanted} is taken by another program`
    // Not what anybody is told, but peers can be dialled and the DHT asked from it.
    return { port: wanted, udpPort: await choosePort([0], { tcp: false, udp: true }), missing: [{ what: 'one port', reason }] }
  }
  const port = await choosePort([wanted, ...(previousPort === null ? [] : [previousPort])], { tcp: transport !== 'utp', udp: true })
  const isOther = wanted !== 0 && port !== wanted
  return { port, udpPort: port, missing: isOther ? [{ what: 'port', reason: `port ${wanted} is taken by another program` }] : [] }
}

export interface Opening {
  /** May this node of the DHT, `ip:port`, be asked? */
  readonly mayAsk: (address: string) => boolean
  /** What became of each question to a node of the DHT, as watchDht tells it. */
  readonly onNode?: (node: string, answer: { readonly ip?: unknown } | null) => void
  /** What went wrong on UDP later; the rest works on. */
  readonly onError: (error: Error) => void
}

export interface OpenedClient {
  readonly client: WebTorrent
  readonly ports: ListeningPorts
}

/**
 * A WebTorrent that listens: TCP and uTP on the port, as far as the transport is on, and the DHT on the same UDP port,
 * whoever has it. Trackers are off: each torrent has clients of its own for them.
 */
export async function openClient (Client: typeof WebTorrent, options: HostOptions, { port, udpPort, missing: missed }: Listening, { mayAsk, onNode, onError }: Opening): Promise<OpenedClient> {
  const { transport, isPortShared, dhtBootstrap } = options
  const missing = [...missed]
  const hasListener = transport !== 'utp' && !isPortShared
  const client = new Client({
    torrentPort: hasListener ? port : 0,
    dht: false,
    tracker: false,
    utp: false,
    // Ours is offered on each wire.
    utPex: false,
    lsd: options.isLsdEnabled,
    // Forwarding does it.
    natUpnp: false,
    natPmp: false,
    webSeeds: false,
    // The other way blocks wait in a queue: here our own requests would wait behind them.
    downloadLimit: options.downloadLimitBytes
  })
  await once(client, 'listening')
  // It cannot do without one.
  if (!hasListener) closeTcp(client)
  setTorrentPort(client, port)

  let utp: UtpServer | null = null
  try {
    if (transport !== 'tcp') utp = await openUtp(udpPort, onError)
  } catch (error) {
    missing.push({ what: 'utp', reason: `uTP is not to be had on this machine: ${whyNot(error)}` })
  }
  if (!Client.WEBRTC_SUPPORT) missing.push({ what: 'webrtc', reason: 'WebRTC is not to be had on this machine, so peers in browsers are not reached: the optional package @roamhq/wrtc is not installed' })
  if (utp !== null) {
    useUtp(client, utp)
    noticeUtpEnds(client, utp)
  }
  const udp = utp ?? await openUdp(udpPort, onError)
  const known = options.dht
  const dht = new Dht({ nodeId: known?.nodeId ?? client.nodeId, bootstrap: dhtBootstrap.length === 0 ? false : dhtBootstrap, socket: new DhtSocket(udp) })
  dht.on('error', onError)
  useDht(client, dht)
  if (onNode !== undefined) watchDht(client, onNode)
  guardDht(client, mayAsk)
  dht.listen()
  greetNodes(dht, known?.nodes ?? [])
  return {
    client,
    ports: {
      tcp: transport === 'utp' ? null : port,
      utp: utp === null ? null : udpPort,
      dht: udpPort,
      isOnePort: isPortShared,
      wanted: options.port,
      missing
    }
  }
}

/** Not every platform has a binary for it, nor does everybody install what is optional. */
function whyNot (error: unknown): string {
  if (error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND') return 'the optional package utp-native is not installed'
  return error instanceof Error ? error.message : String(error)
}

/** Rejects where the platform has no uTP, and where the port is taken after all. */
async function openUtp (port: number, onError: (error: Error) => void): Promise<UtpServer> {
  // Not imported above: it is a native module, and not everywhere.
  const { default: utp } = await import('utp-native')
  const server = utp.createServer()
  server.listen(port)
  await once(server, 'listening')
  server.on('error', onError)
  server.setSendBufferSize(1024 * 1024)
  server.setRecvBufferSize(1024 * 1024)
  return server
}

async function openUdp (port: number, onError: (error: Error) => void): Promise<Datagrams> {
  const socket = createSocket('udp4')
  socket.bind(port)
  await once(socket, 'listening')
  socket.on('error', onError)
  // The DHT does not close what others may use; the process ends with WebTorrent.
  socket.unref()
  return socket
}
