import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import type WebTorrent from 'webtorrent'
import type { Torrent, Wire } from 'webtorrent'
import { dialTcpBesideUtp, guardRedials, keepIncomingPeers, punch } from '../../../services/swarm/internals/connections.ts'
import { neighbourOf, offerExtension, sayPort } from '../../../services/swarm/internals/wires.ts'
import type { Neighbour } from '../../../services/swarm/neighbour.ts'
import { peerFlags } from '../../../services/swarm/neighbour.ts'
import { freePort, makeTorrent, testBytes, until } from '../../testnet.ts'
import { startClient, startSeed } from './webtorrent-seed.ts'

/** The private calls into WebTorrent that introductions need, between real clients. */

const film = await makeTorrent({ 'film.mkv': testBytes(640_000, 'film') }, { pieceLength: 65_536 })
const limit = (): { signal: AbortSignal } => ({ signal: AbortSignal.timeout(20_000) })

async function startLeech (t: Test, options = {}): Promise<{ client: WebTorrent, torrent: Torrent }> {
  const client = await startClient(t, options)
  const torrent = client.add(`magnet:?xt=urn:btih:${film.infohash}`, { deselect: true })
  torrent.on('error', (error: Error) => { t.fail(error.message) })
  await once(torrent, 'infoHash', limit())
  return { client, torrent }
}

/** The peer at the other end of the next connection, which says that it listens at `port` and takes messages. */
async function nextNeighbour (torrent: Torrent, port: number, messages: string[]): Promise<{ wire: Wire, neighbour: Neighbour }> {
  return await new Promise((resolve, reject) => {
    torrent.once('wire', (wire: Wire) => {
      sayPort(wire, port)
      offerExtension(wire, 'ut_holepunch', (message) => { messages.push(Buffer.from(message).toString()) })
      const neighbour = neighbourOf(torrent, wire)
      if (neighbour === null) reject(new Error('it is no neighbour'))
      else wire.once('extended', () => { resolve({ wire, neighbour }) })
    })
  })
}

for (const utp of [true, false]) {
  t.test(`a connection by ${utp ? 'uTP' : 'TCP'}: both know who and where the other is, and exchange messages`, async (t) => {
    const seed = await startSeed(t, film, { utp })
    const { client, torrent } = await startLeech(t)
    if (!client.utp) return t.pass('no uTP on this machine', { skip: 'no uTP on this machine' })
    dialTcpBesideUtp(client, () => 200)
    const messages: string[] = []
    const [ours, theirs] = [nextNeighbour(torrent, 1111, messages), nextNeighbour(seed.torrent, 2222, messages)]
    torrent.addPeer(seed.address)
    const [{ neighbour: them }, { wire, neighbour: us }] = await Promise.all([ours, theirs])
    const { port } = them.remote
    t.same([them.isUtp, them.isOutgoing, us.isUtp, us.isOutgoing], [utp, true, utp, false])
    t.equal(`127.0.0.1:${port}`, seed.address)
    t.same(them.listening, them.remote, 'where it was dialled')
    t.same(us.listening, { address: '127.0.0.1', port: utp ? client.torrentPort : 1111 }, 'where its uTP comes from; by TCP where it says')
    t.equal(us.peerId, client.peerId)
    t.equal(us.flags & (peerFlags.hasUtp | peerFlags.hasHolepunch), (utp ? peerFlags.hasUtp : 0) | peerFlags.hasHolepunch)
    t.ok(us.flags & peerFlags.prefersEncryption, 'WebTorrent encrypts')
    await until('the seed is seen as one', () => them.flags & peerFlags.isSeed)
    us.send('ut_nothing', Buffer.from('to nobody'))
    us.send('ut_holepunch', Buffer.from('hello'))
    await until('it has arrived', () => messages.includes('hello'))
    t.same(messages, ['hello'])
    const closed = once(wire, 'close', limit())
    us.close()
    await closed
    us.send('ut_holepunch', Buffer.from('too late'))
  })
}

t.test('a hole is knocked at with fresh SYNs from the listening port, then left alone', async (t) => {
  const { client, torrent } = await startLeech(t)
  if (!client.utp) return t.pass('no uTP on this machine', { skip: 'no uTP on this machine' })
  dialTcpBesideUtp(client, () => 500)
  const wall = createSocket('udp4')
  t.teardown(() => { wall.close() })
  wall.bind(0, '127.0.0.1')
  await once(wall, 'listening')
  const connections = new Set<number>()
  const sources = new Set<number>()
  wall.on('message', (message, { port }) => {
    // BEP 29: the type, 4 for SYN, in the high half of the first byte; the connection id at 2.
    if (message[0] === 0x41) connections.add(message.readUInt16BE(2))
    sources.add(port)
  })
  const address = `127.0.0.1:${wall.address().port}`
  torrent.addPeer(address)
  await until('the usual dial is under way', () => connections.size === 1)
  const dialled = torrent._peers?.get(address)
  const startedAt = performance.now()
  t.ok(punch(client, torrent, address))
  t.not(torrent._peers?.get(address), dialled, 'in its place')
  await until('it has failed', () => torrent._peers?.has(address) === false && performance.now() - startedAt > 2_000)
  t.ok(performance.now() - startedAt > 3_500 && performance.now() - startedAt < 6_000, `after ${Math.round(performance.now() - startedAt)} ms`)
  t.equal(connections.size, 1 + 8)
  t.same([...sources], [client.torrentPort])
  t.equal(torrent._numPending, 0)
})

t.test('a hole that opens late is found within a second; what waited to be dialled still is', async (t) => {
  const { client, torrent } = await startLeech(t)
  if (!client.utp) return t.pass('no uTP on this machine', { skip: 'no uTP on this machine' })
  const torrentPort = await freePort()
  t.ok(punch(client, torrent, `127.0.0.1:${torrentPort}`))
  const seed = await startSeed(t, film, { torrentPort })
  const startedAt = performance.now()
  await once(torrent, 'wire', limit())
  t.ok(performance.now() - startedAt < 1_500, `after ${Math.round(performance.now() - startedAt)} ms`)
  t.notOk(punch(client, torrent, seed.address), 'there is nothing more to punch')
  const full = Object.assign(client, { maxConns: 1 })
  t.notOk(punch(full, torrent, '127.0.0.1:9'), 'no room')
})

t.test('who is connected is not dialled again, whoever dialled first', async (t) => {
  const seed = await startSeed(t, film, { utp: false })
  const { torrent } = await startLeech(t, { utp: false })
  keepIncomingPeers(torrent)
  let isThere = false
  guardRedials(torrent, (address) => isThere && address === seed.address)
  isThere = true
  t.notOk(torrent.addPeer(seed.address))
  isThere = false
  t.ok(torrent.addPeer(seed.address))
  await once(torrent, 'wire', limit())
})
