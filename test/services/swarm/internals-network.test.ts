import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import type WebTorrent from 'webtorrent'
import type { ClientOptions, Torrent } from 'webtorrent'
import { dialTcpBesideUtp, originOf } from '../../../services/swarm/internals/connections.ts'
import { announcePort, setTrackerPort, watchDht } from '../../../services/swarm/internals/discovery.ts'
import { Client as DhtNode } from 'bittorrent-dht'
import { Client as TrackerClient } from 'bittorrent-tracker'
import { makeTorrent, startTracker, temporaryDirectory, testBytes, until } from '../../testnet.ts'
import { startClient, startSeed } from './webtorrent-seed.ts'

/** As internals.test.ts, for the calls that tell of the network. */

const film = await makeTorrent({ 'film.mkv': testBytes(100_000, 'film') })
const signal = (): AbortSignal => AbortSignal.timeout(20_000)

async function startLeech (t: Test, options: ClientOptions = {}): Promise<{ client: WebTorrent, torrent: Torrent }> {
  const client = await startClient(t, options)
  const torrent = client.add(`magnet:?xt=urn:btih:${film.infohash}`, { path: await temporaryDirectory(t) })
  await once(torrent, 'infoHash', { signal: signal() })
  return { client, torrent }
}

t.test('what nodes of the DHT say of us is heard, and who is silent is known', async (t) => {
  const node = createSocket('udp4')
  const silent = createSocket('udp4')
  t.teardown(() => { node.close(); silent.close() })
  for (const socket of [node, silent]) {
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
  }
  node.on('message', (bytes, { address, port }) => {
    // The transaction id is the two bytes behind `1:t2:` (BEP 5).
    const id = bytes.subarray(bytes.lastIndexOf('1:t2:') + 5).subarray(0, 2)
    node.send(Buffer.concat([Buffer.from('d2:ip6:'), Buffer.from([45, 67, 1, 2, 0x1a, 0xe1]), Buffer.from('1:rd2:id20:01234567890123456789e1:t2:'), id, Buffer.from('1:y1:re')]), port, address)
  })
  const client = await startClient(t, { dht: { bootstrap: false } })
  const outcomes = new Map<string, Uint8Array>()
  if (!client.dht) throw new Error('no DHT')
  watchDht(client, (host, answer) => { outcomes.set(answer === null ? 'silent' : host, answer?.ip instanceof Uint8Array ? answer.ip : Buffer.alloc(0)) })
  for (const { port } of [node.address(), silent.address()]) client.dht.addNode({ host: '127.0.0.1', port })
  await until('both outcomes are known', () => outcomes.size === 2)
  t.same(Buffer.from(outcomes.get('127.0.0.1') ?? []), Buffer.from([45, 67, 1, 2, 0x1a, 0xe1]))
})

t.test('who began a connection is known, and what it goes over', async (t) => {
  const seed = await startSeed(t, film)
  const began = once(seed.torrent, 'wire', { signal: signal() })
  const { client, torrent } = await startLeech(t, { utp: false })
  torrent.addPeer(seed.address)
  const [wire] = await once(torrent, 'wire', { signal: signal() })
  const [theirs] = await began
  t.same(originOf(torrent, wire), { transport: 'tcp', isUnasked: false })
  t.same(originOf(seed.torrent, theirs), { transport: 'tcp', isUnasked: true })
  t.equal(client.utp, false)
  const other = await startLeech(t)
  if (other.client.utp) {
    dialTcpBesideUtp(other.client, () => 10_000)
    const again = once(seed.torrent, 'wire', { signal: signal() })
    other.torrent.addPeer(seed.address)
    const [overUtp] = await once(other.torrent, 'wire', { signal: signal() })
    t.same(originOf(other.torrent, overUtp), { transport: 'utp', isUnasked: false })
    t.same(originOf(seed.torrent, (await again)[0]), { transport: 'utp', isUnasked: true })
  }
})

t.test('a dial that uTP began and TCP won counts as TCP', async (t) => {
  const seed = await startSeed(t, film, { utp: false })
  const { client, torrent } = await startLeech(t)
  if (!client.utp) return
  dialTcpBesideUtp(client, () => 50)
  torrent.addPeer(seed.address)
  const [wire] = await once(torrent, 'wire', { signal: signal() })
  t.equal(wire.type, 'utpOutgoing')
  t.same(originOf(torrent, wire), { transport: 'tcp', isUnasked: false })
})

t.test('another port is told to the DHT, also while the first is still being told', async (t) => {
  const node = new DhtNode({ bootstrap: false })
  const ports: number[] = []
  node.on('announce', ({ port }: { port: number }) => { ports.push(port) })
  await new Promise<void>(resolve => { node.listen(0, '127.0.0.1', resolve) })
  t.teardown(async () => { await new Promise<void>(resolve => { node.destroy(resolve) }) })
  const { client, torrent } = await startLeech(t, { dht: { bootstrap: [`127.0.0.1:${node.address().port}`] } })
  await until('it is being told', () => torrent.discovery?._dhtAnnouncing)
  announcePort(torrent, 7_001)
  await until('the node knows the second', () => ports.includes(7_001))
  t.same(ports, [client.torrentPort, 7_001])
  announcePort(torrent, 7_002)
  await until('and the third', () => ports.includes(7_002))
})

t.test('another port is told to a tracker', async (t) => {
  const { url, peersOf } = await startTracker(t)
  const client = new TrackerClient({ infoHash: film.infohash, peerId: '2d'.repeat(20), announce: [url], port: 7_000 })
  t.teardown(async () => { await new Promise<void>(resolve => { client.destroy(resolve) }) })
  client.on('error', () => {})
  client.start()
  await until('it knows the first', () => peersOf(film.infohash).includes('127.0.0.1:7000'))
  setTrackerPort(client, 7_001)
  client.update()
  await until('it knows the second', () => peersOf(film.infohash).includes('127.0.0.1:7001'))
})
