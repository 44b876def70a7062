import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import type WebTorrent from 'webtorrent'
import type { Torrent, Wire } from 'webtorrent'
import type { UtpConnection, UtpServer } from 'utp-native'
import { noticeUtpEnds } from '../../../services/swarm/internals/utp-ends.ts'
import { makeTorrent, testBytes, until } from '../../testnet.ts'
import { startClient, startSeed } from './webtorrent-seed.ts'

/** The end of a uTP connection as libtorrent tells it, which libutp does not understand. */

const film = await makeTorrent({ 'film.mkv': testBytes(640_000, 'film') }, { pieceLength: 65_536 })
const limit = (): { signal: AbortSignal } => ({ signal: AbortSignal.timeout(20_000) })

/** A FIN (BEP 29) with libtorrent's extension: the reason for which it closes. */
function endFor (reason: number): Buffer {
  const packet = Buffer.alloc(26)
  packet[0] = 0x11
  packet[1] = 3
  packet[21] = 4
  packet.writeUInt32BE(reason, 22)
  return packet
}

async function startLeech (t: Test): Promise<{ client: WebTorrent, torrent: Torrent, server: UtpServer } | null> {
  const client = await startClient(t)
  const server = client._connPool?.utpServer ?? null
  if (!client.utp || server === null) return null
  noticeUtpEnds(client, server)
  const torrent = client.add(`magnet:?xt=urn:btih:${film.infohash}`, { deselect: true })
  torrent.on('error', (error: Error) => { t.fail(error.message) })
  await once(torrent, 'infoHash', limit())
  return { client, torrent, server }
}

function tell (server: UtpServer, address: string, reason: number): void {
  const [host = '', port] = address.split(':')
  server.emit('message', endFor(reason), { address: host, port: Number(port) })
}

t.test('a packet that says that the peer left, while it does not: its connection stays', async (t) => {
  const seed = await startSeed(t, film)
  const leech = await startLeech(t)
  if (leech === null) return t.pass('no uTP on this machine', { skip: 'no uTP on this machine' })
  leech.torrent.addPeer(seed.address)
  const [wire]: Wire[] = await once(leech.torrent, 'wire', limit())
  await once(leech.torrent, 'metadata', limit())
  leech.server.emit('message', Buffer.from('d1:rd2:ide1:y1:re'), { address: '127.0.0.1', port: Number(seed.address.split(':')[1]) })
  tell(leech.server, '127.0.0.1:9', 1)
  tell(leech.server, seed.address, 1)
  await new Promise((resolve) => { setTimeout(resolve, 2_500) })
  t.equal(leech.torrent.wires[0], wire)
  t.equal(leech.torrent.wires.length, 1)
})

t.test('a peer that left is gone in two seconds', async (t) => {
  const seed = await startSeed(t, film)
  const leech = await startLeech(t)
  if (leech === null) return t.pass('no uTP on this machine', { skip: 'no uTP on this machine' })
  leech.torrent.addPeer(seed.address)
  const [wire]: Wire[] = await once(leech.torrent, 'wire', limit())
  await once(leech.torrent, 'metadata', limit())
  await until('it has said what it had to say', () => wire?.peerChoking === false)
  // It hears and says nothing any more.
  for (const theirs of seed.torrent.wires) theirs.extended = () => {}
  const startedAt = performance.now()
  tell(leech.server, seed.address, 2)
  await once(wire ?? leech.torrent, 'close', limit())
  t.ok(performance.now() - startedAt < 4_000, `after ${Math.round(performance.now() - startedAt)} ms`)
})

t.test('a peer that chose its own dial over ours -> we dial once more at once, then less often', async (t) => {
  const leech = await startLeech(t)
  const wall = await startLeech(t)
  if (leech === null || wall === null) return t.pass('no uTP on this machine', { skip: 'no uTP on this machine' })
  const address = `127.0.0.1:${wall.client.torrentPort}`
  let dials = 0
  wall.client._connPool?.utpServer?.removeAllListeners('connection')
  wall.client._connPool?.utpServer?.on('connection', (connection: UtpConnection) => {
    dials++
    // One that is open at the end of the process crashes libutp.
    t.teardown(() => { connection.destroy() })
  })
  leech.torrent.addPeer(address)
  const startedAt = performance.now()
  for (let i = 1; i <= 6; i++) {
    await until(`dial ${i}`, () => leech.server.connections.some((each) => each._connected && !each.destroyed))
    tell(leech.server, address, 1)
  }
  t.ok(performance.now() - startedAt < 8_000, `six dials in ${Math.round(performance.now() - startedAt)} ms`)
  t.ok(dials >= 1)
  t.equal(leech.torrent._peers?.size, 0, 'the next one is 2 s away')
})
