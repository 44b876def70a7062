import { createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { bytesFrom, startApp } from '../helper.ts'
import { listenOnLoopback } from '../loopback.ts'
import { startSeed } from '../services/swarm/webtorrent-seed.ts'
import { tellFigure } from '../soak.ts'
import { freePort, makeTorrent, startDht, startSeeder, startTracker, temporaryDirectory, testBytes, testWith, until } from '../testnet.ts'
import type { TestTorrent } from '../testnet.ts'
import type { Test } from 'tap'

/** How peers are found: with little that works, soon, and again after a restart. */

const p2pOnly = { ENABLE_P2P: 'true', ENABLE_HTTP_FALLBACK: 'false' }
const sha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex')

async function filmOf (name: string, trackers: readonly string[] = []): Promise<{ film: Buffer, torrent: TestTorrent }> {
  const film = testBytes(3_000_000, name)
  return { film, torrent: await makeTorrent({ 'Film.mp4': film }, { pieceLength: 65_536, trackers }) }
}

/** Milliseconds until the first byte; the rest is compared. */
async function firstByteMs (t: Test, stream: string, film: Buffer): Promise<number> {
  const startedAt = performance.now()
  const response = await fetch(stream)
  let ms = 0
  const chunks: Uint8Array[] = []
  for await (const chunk of response.body ?? []) {
    if (ms === 0) ms = performance.now() - startedAt
    chunks.push(chunk)
  }
  t.equal(sha1(Buffer.concat(chunks)), sha1(film), 'the film is equal')
  return ms
}

/** A UDP port of 127.0.0.1 that swallows all it is sent, and tells how much that was. */
async function startSilence (t: Test): Promise<{ address: string, counts: { datagrams: number } }> {
  const socket = createSocket('udp4')
  const counts = { datagrams: 0 }
  socket.on('message', () => { counts.datagrams++ })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  t.teardown(() => { socket.close() })
  return { address: `127.0.0.1:${socket.address().port}`, counts }
}

testWith(t, 'a restart with all bootstrap nodes dead: the DHT is as it was, and the first byte is there at once', async (t) => {
  const { bootstrap } = await startDht(t, 8)
  const { film, torrent } = await filmOf('restart')
  const directory = join(await temporaryDirectory(t), 'cache')
  const file = join(directory, '.self-streme/dht.json')
  const before = await startApp(t, { ...p2pOnly, TORRENT_DOWNLOAD_PATH: directory, DHT_BOOTSTRAP: bootstrap.slice(0, 2).join(',') })
  await until('it knows the DHT', () => (before.app.swarm?.network.dhtNodes ?? 0) >= 5)
  await before.app.close()
  const saved = JSON.parse(await readFile(file, 'utf8'))
  t.ok(saved.nodes.length >= 5, `${saved.nodes.length} nodes were saved`)
  await startSeeder(t, torrent, { dht: bootstrap })
  const dead = [(await startSilence(t)).address, (await startSilence(t)).address, `127.0.0.1:${await freePort()}`]
  const after = await startApp(t, { ...p2pOnly, TORRENT_DOWNLOAD_PATH: directory, DHT_BOOTSTRAP: dead.join(',') })
  await until('the swarm is ready', () => after.app.swarm?.status.state === 'ready')
  const ms = await firstByteMs(t, `${after.url}/stream/proxy/${torrent.infohash}`, film)
  tellFigure(t, 'first byte by saved DHT nodes, bootstrap dead', `${Math.round(ms)} ms`)
  await after.app.close()
  t.equal(JSON.parse(await readFile(file, 'utf8')).nodeId, saved.nodeId, 'and we are who we were')
})

testWith(t, 'a hostile dht.json does no harm', async (t) => {
  const { bootstrap } = await startDht(t, 4)
  const { film, torrent } = await filmOf('hostile')
  const trap = await startSilence(t)
  const directory = join(await temporaryDirectory(t), 'cache')
  const { app } = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory })
  await app.close()
  const nodes = Array.from({ length: 900 }, () => trap.address)
  await writeFile(join(directory, '.self-streme/dht.json'), JSON.stringify({ version: 1, nodeId: 'f'.repeat(40), nodes }))
  await startSeeder(t, torrent, { dht: bootstrap })
  // Guarded: nodes that a file names are strangers, and may not be on this machine.
  const guarded = await startApp(t, { ...p2pOnly, TORRENT_DOWNLOAD_PATH: directory, DHT_BOOTSTRAP: bootstrap.join(','), HTTP_ALLOW_PRIVATE_NETWORKS: 'false' })
  await until('the swarm is ready', () => guarded.app.swarm?.status.state === 'ready')
  await until('it has asked the bootstrap nodes', () => (guarded.app.swarm?.network.dhtNodes ?? 0) > 0)
  await guarded.app.close()
  t.equal(trap.counts.datagrams, 0)
  await writeFile(join(directory, '.self-streme/dht.json'), JSON.stringify({ version: 1, nodeId: 'f'.repeat(40), nodes }))
  const open = await startApp(t, { ...p2pOnly, TORRENT_DOWNLOAD_PATH: directory, DHT_BOOTSTRAP: bootstrap.join(',') })
  const ms = await firstByteMs(t, `${open.url}/stream/proxy/${torrent.infohash}`, film)
  t.ok(ms < 5_000, `hundreds of dead nodes hold up nobody: the first byte came after ${Math.round(ms)} ms`)
})

testWith(t, 'only one tracker of five is alive: one refuses, one is silent, one talks nonsense, one is silent over UDP', async (t) => {
  const alive = await startTracker(t)
  const silent = createTcpServer(() => {}).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => { silent.close() })
  const address = silent.address()
  const silentPort = typeof address === 'object' && address !== null ? address.port : 0
  const nonsense = await listenOnLoopback(t, createServer((_request, response) => { response.end('d8:intervali-5e5:peersi7ee'.repeat(100)) }))
  const deaf = await startSilence(t)
  const dead = [`http://127.0.0.1:${await freePort()}/announce`, `http://127.0.0.1:${silentPort}/announce`, `${nonsense}/announce`, `udp://${deaf.address}/announce`]
  const { film, torrent } = await filmOf('one of five', [alive.url])
  await startSeeder(t, torrent)
  await until('the seeder has announced itself', () => alive.peersOf(torrent.infohash).length > 0)
  const { app, url } = await startApp(t, { ...p2pOnly, TRACKERS: [...dead.slice(0, 2), alive.url, ...dead.slice(2)].join(',') })
  await until('the swarm is ready', () => app.swarm?.status.state === 'ready')
  const startedAt = performance.now()
  const announced = until('we have announced ourselves', () => alive.events.filter(({ event }) => event === 'start').length > 1).then(() => performance.now() - startedAt)
  const ms = await firstByteMs(t, `${url}/stream/proxy/${torrent.infohash}`, film)
  const announcedMs = Math.round(await announced)
  tellFigure(t, 'one tracker of five', `first announce after ${announcedMs} ms, first byte after ${Math.round(ms)} ms`)
  t.ok(announcedMs < 2_000, `the first announce came after ${announcedMs} ms`)
  t.ok(deaf.counts.datagrams > 0, 'the others were asked, too')
})

testWith(t, 'a tracker that comes with a later request is asked at once, while the torrent waits for peers', async (t) => {
  const tracker = await startTracker(t)
  const { film, torrent } = await filmOf('later', [tracker.url])
  await startSeeder(t, torrent)
  await until('the seeder has announced itself', () => tracker.peersOf(torrent.infohash).length > 0)
  const { app, url } = await startApp(t, p2pOnly)
  const stream = `${url}/stream/proxy/${torrent.infohash}`
  const first = bytesFrom(stream)
  await until('it looks for peers', () => app.torrents.get(torrent.infohash)?.fillers.some(({ name }) => name === 'p2p'))
  t.equal(tracker.events.length, 1)
  const second = bytesFrom(`${stream}?tr=${encodeURIComponent(tracker.url)}`)
  t.ok((await first).equals(film), 'the request that knew of none has its film, too')
  t.ok((await second).equals(film))
})

testWith(t, 'a tracker that knows an IPv6 peer (peers6)', async (t) => {
  const { film, torrent } = await filmOf('six')
  const seed = await startSeed(t, torrent, { utp: false })
  const port = Number(seed.address.split(':')[1])
  const peer = Buffer.alloc(18)
  peer.writeUInt8(1, 15)
  peer.writeUInt16BE(port, 16)
  const tracker = await listenOnLoopback(t, createServer((_request, response) => {
    response.end(Buffer.concat([Buffer.from('d8:intervali900e5:peers0:6:peers618:'), peer, Buffer.from('e')]))
  }))
  const { url } = await startApp(t, { ...p2pOnly, TRACKERS: `${tracker}/announce` })
  t.ok((await bytesFrom(`${url}/stream/proxy/${torrent.infohash}`)).equals(film))
})
