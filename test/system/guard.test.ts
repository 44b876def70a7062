import { createHash } from 'node:crypto'
import { createServer } from 'node:net'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import t from 'tap'
import { bytesFrom, startApp } from '../helper.ts'
import { makeTorrent, startSeeder, startTracker, testBytes, testWith, until } from '../testnet.ts'

/** The whole server as it is by default, against a libtorrent seeder that the operator's own tracker knows. */

testWith(t, 'a magnet full of traps plays, and nothing on this machine is touched that the operator did not name', async (t) => {
  const touches: string[] = []
  const trap = createServer((socket) => {
    touches.push('tcp')
    socket.destroy()
  }).listen(0, '127.0.0.1')
  await once(trap, 'listening')
  const address = trap.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const datagrams = createSocket('udp4').on('message', () => { touches.push('udp') }).bind(port, '127.0.0.1')
  await once(datagrams, 'listening')
  t.teardown(() => {
    trap.close()
    datagrams.close()
  })

  const own = await startTracker(t)
  const strangers = await startTracker(t)
  const film = testBytes(10_000_000, 'guarded film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 262_144, trackers: [own.url] })
  const seeder = await startSeeder(t, torrent)
  await until('our tracker knows the seeder', () => own.peersOf(torrent.infohash).includes(seeder.address))

  const { url } = await startApp(t, { ENABLE_P2P: 'true', ENABLE_HTTP_FALLBACK: 'true', HTTP_ALLOW_PRIVATE_NETWORKS: 'false', TRACKERS: own.url })
  const traps = [
    strangers.url, strangers.url.replace('127.0.0.1', 'localhost'), 'http://169.254.169.254/latest/meta-data/',
    `http://127.0.0.1:${port}/announce`, `ws://localhost:${port}`, `wss://127.0.0.1:${port}`, `udp://localhost:${port}`, `udp://127.1:${port}/announce`
  ]
  const magnet = new URL(`magnet:?xt=urn:btih:${torrent.infohash}`)
  const parameters = [...traps.map((each) => ['tr', each]), ...['ws', 'as', 'xs'].map((name) => [name, `http://127.0.0.1:${port}/film.mp4`]), ['x.pe', `127.0.0.1:${port}`], ['x.pe', `localhost:${port}`]]
  const added = await fetch(`${url}/api/torrents`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ magnetUri: `${magnet.href}${parameters.map(([name = '', value = '']) => `&${name}=${encodeURIComponent(value)}`).join('')}` })
  })
  t.ok(added.ok, `${added.status} ${await added.text()}`)
  const query = traps.map((each) => `tr=${encodeURIComponent(each)}`).join('&')
  const played = await bytesFrom(`${url}/stream/proxy/${torrent.infohash}?${query}`)
  t.equal(createHash('sha1').update(played).digest('hex'), createHash('sha1').update(film).digest('hex'))
  t.same(touches, [])
  t.same(strangers.events, [])
})
