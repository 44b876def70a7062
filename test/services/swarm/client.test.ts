import { createSocket } from 'node:dgram'
import { EventEmitter, once } from 'node:events'
import { connect, createServer } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import WebTorrent from 'webtorrent'
import { chooseListening, openClient } from '../../../services/swarm/client.ts'
import type { OpenedClient } from '../../../services/swarm/client.ts'
import { DhtSocket } from '../../../services/swarm/dht-socket.ts'
import type { Datagrams } from '../../../services/swarm/dht-socket.ts'
import { dialNoTcp, takeConnection } from '../../../services/swarm/internals/ports.ts'
import type { HostOptions } from '../../../services/swarm/messages.ts'
import { choosePort } from '../../../services/swarm/ports.ts'
import { makeTorrent, testBytes, until } from '../../testnet.ts'
import { startSeed } from './webtorrent-seed.ts'

const film = await makeTorrent({ 'film.mkv': testBytes(100_000, 'film') })
const alone: HostOptions = {
  windowBytes: 1,
  port: 0,
  previousPort: null,
  transport: 'both',
  isPortShared: false,
  trackers: [],
  dhtBootstrap: [],
  dht: null,
  iceServers: [],
  staticPeers: [],
  blocklistPath: null,
  uploadLimitBytes: -1,
  downloadLimitBytes: -1,
  seedRatio: 1,
  isPortMappingEnabled: false,
  isLsdEnabled: false,
  stunServers: [],
  isPanel: false,
  allowPrivateNetworks: true
}

async function open (t: Test, choices: Partial<HostOptions> = {}): Promise<OpenedClient & { readonly port: number }> {
  const options = { ...alone, ...choices }
  const listening = await chooseListening(options)
  const opened = await openClient(WebTorrent, options, listening, { mayAsk: () => true, onError: (error) => { t.fail(error.message) } })
  t.teardown(() => {
    opened.client._connPool?.utpServer?.unref()
    opened.client.destroy()
  })
  return { ...opened, port: listening.port }
}

/** What a node of the DHT says to a ping (BEP 5). */
async function ping (port: number): Promise<string> {
  const socket = createSocket('udp4')
  try {
    socket.send('d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe', port, '127.0.0.1')
    const [answer] = await once(socket, 'message', { signal: AbortSignal.timeout(5_000) })
    return String(answer)
  } finally {
    socket.close()
  }
}

async function canConnect (port: number, host = '127.0.0.1'): Promise<boolean> {
  const socket = connect(port, host)
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

/** How a peer with this transport gets in: the type of its connection here. */
async function incoming (t: Test, { client, port }: { client: WebTorrent, port: number }, choices: object): Promise<unknown> {
  const seed = await startSeed(t, film, choices)
  const torrent = client.add(`magnet:?xt=urn:btih:${film.infohash}`)
  seed.torrent.addPeer(`127.0.0.1:${port}`)
  await once(torrent, 'wire', { signal: AbortSignal.timeout(15_000) })
  return [...torrent._peers?.values() ?? []].map((peer) => Reflect.get(peer, 'type'))
}

t.test('TCP, uTP and the DHT share one port', async (t) => {
  const opened = await open(t)
  const { ports, port, client } = opened
  t.match(ports, { tcp: port, utp: port, dht: port, isOnePort: false, wanted: 0, missing: [] })
  t.match(await ping(port), /^d1:rd2:id20:/)
  t.ok(await canConnect(port))
  t.equal(client.torrentPort, port)
  t.ok(client.dht && client.dht.address().port === port)
  t.same(await incoming(t, opened, {}), ['utpIncoming'])
  t.match(await ping(port), /^d1:rd2:id20:/, 'the DHT answers while uTP is used')
})

t.test('IPv6 peers get in over TCP', async (t) => {
  const { port } = await open(t)
  t.ok(await canConnect(port, '::1'))
})

t.test('TORRENT_TRANSPORT=tcp: no uTP, the DHT has the UDP port to itself', async (t) => {
  const opened = await open(t, { transport: 'tcp' })
  const { ports, port, client } = opened
  t.match(ports, { tcp: port, utp: null, dht: port, missing: [] })
  t.notOk(client.utp)
  t.match(await ping(port), /^d1:rd2:id20:/)
  t.same(await incoming(t, opened, { utp: false }), ['tcpIncoming'])
})

t.test('TORRENT_TRANSPORT=utp: nothing listens on TCP, and nobody is dialled over it', async (t) => {
  const opened = await open(t, { transport: 'utp' })
  const { ports, port, client } = opened
  t.match(ports, { tcp: null, utp: port, dht: port, missing: [] })
  t.notOk(await canConnect(port))
  t.notOk(client._connPool?.tcpServer?.listening, 'nor on the port that WebTorrent begins with')
  const torrent = client.add(`magnet:?xt=urn:btih:${'ab'.repeat(20)}`)
  dialNoTcp(torrent)
  await once(torrent, 'infoHash')
  t.equal(torrent.addPeer('[::1]:5000'), false)
  t.equal(torrent._addPeer('127.0.0.1:5000', 'tcp'), null, 'as WebTorrent does when uTP has failed')
  t.equal(torrent.addPeer('127.0.0.1:5000'), true)
  t.same(await incoming(t, opened, {}), ['utpIncoming'])
})

t.test('one port for HTTP too: TCP is left alone, and connections that somebody hands over are taken', async (t) => {
  const http = createServer()
  http.listen(0)
  await once(http, 'listening')
  t.teardown(() => { http.close() })
  const address = http.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  const opened = await open(t, { port, isPortShared: true })
  t.match(opened.ports, { tcp: port, utp: port, dht: port, isOnePort: true, missing: [] })
  t.equal(opened.client.torrentPort, port, 'the port to announce')
  t.notOk(opened.client._connPool?.tcpServer?.listening)
  http.on('connection', (socket) => { takeConnection(opened.client, socket) })
  t.same(await incoming(t, opened, { utp: false }), ['tcpIncoming'])
})

t.test('one port, and its UDP side is taken -> uTP and the DHT go out from another, and it is said', async (t) => {
  const socket = createSocket('udp4')
  socket.bind(0)
  await once(socket, 'listening')
  t.teardown(() => { socket.close() })
  const { port } = socket.address()
  const { ports } = await open(t, { port, isPortShared: true })
  t.equal(ports.tcp, port)
  t.not(ports.utp, port)
  t.same(ports.missing, [{ what: 'one port', reason: `UDP port ${port} is taken by another program` }])
})

t.test('the port is taken -> another, and it is said', async (t) => {
  const taken = createServer()
  taken.listen(0)
  await once(taken, 'listening')
  t.teardown(() => { taken.close() })
  const address = taken.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  const { ports } = await open(t, { port })
  t.match(ports, { wanted: port, missing: [{ what: 'port', reason: `port ${port} is taken by another program` }] })
  t.not(ports.tcp, port)
})

t.test('the DHT cannot be made to send where nothing can be sent', async (t) => {
  const sent: unknown[] = []
  const udp: Datagrams & EventEmitter = Object.assign(new EventEmitter(), {
    address: () => ({ port: 1, address: '0.0.0.0', family: 'IPv4' }),
    send (...args: Parameters<Datagrams['send']>) {
      sent.push(`${args[4]}:${args[3]}`)
      args[5](null)
    }
  })
  const socket = new DhtSocket(udp)
  const send = async (port: number, host: string): Promise<Error | null> => await new Promise(resolve => { socket.send(Buffer.from('d'), 0, 1, port, host, resolve) })
  for (const [port, host] of [[1, '::1'], [0, '127.0.0.1'], [65536, '127.0.0.1'], [NaN, '127.0.0.1'], [1, 'example.org'], [1, '']] as const) {
    t.match(await send(port, host), { message: `nothing can be sent to ${host}:${port}` })
  }
  t.equal(await send(6881, '127.0.0.1'), null)
  t.same(sent, ['127.0.0.1:6881'])
  const slab = Buffer.alloc(128 * 1024)
  const [heard] = await Promise.all([once(socket, 'message'), udp.emit('message', slab.subarray(0, 4), { address: '127.0.0.1', port: 1 })])
  t.equal(heard[0].buffer.byteLength, 4, 'what the routing table keeps is no slice of a large buffer')
  const closed = once(socket, 'close')
  socket.close()
  socket.close()
  await closed
  t.match(await send(6881, '127.0.0.1'), Error)
  t.equal(udp.listenerCount('message'), 0, 'the port itself lives on')
})

t.test('a process that comes back chooses the port that it had', async (t) => {
  const previousPort = await choosePort([0], { tcp: true, udp: true })
  const { port } = await open(t, { previousPort })
  t.equal(port, previousPort)
  await until('it listens', async () => await canConnect(port))
})
