import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:net'
import t from 'tap'
import { makeTorrent, startDht, startTracker, testBytes, until } from '../../testnet.ts'
import { serve } from '../download/origin.ts'
import { attachFromSwarm, openStore, sameFiles, startSwarm, verified, wantAll } from './swarm-setup.ts'
import { startSeed } from './webtorrent-seed.ts'
import type { Test } from 'tap'

/** The process of the swarm as it is by default: what strangers name may not be on this machine or in its networks. */

const strict = { allowPrivateNetworks: false }
const film = await makeTorrent({ 'film.mkv': testBytes(600_001, 'guarded film') }, { pieceLength: 65_536 })

interface Trap {
  /** `127.0.0.1:port`, TCP and UDP. */
  readonly port: number
  readonly touches: string[]
}

/** Something on this machine that nobody is to touch, over TCP or UDP. */
async function setTrap (t: Test): Promise<Trap> {
  const touches: string[] = []
  const server = createServer((socket) => {
    touches.push('tcp')
    socket.destroy()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const socket = createSocket('udp4')
  socket.on('message', () => { touches.push('udp') })
  socket.bind(port, '127.0.0.1')
  await once(socket, 'listening')
  t.teardown(() => {
    server.close()
    socket.close()
  })
  return { port, touches }
}

function trackersAt (port: number): string[] {
  return [
    `http://127.0.0.1:${port}/announce`, `http://localhost:${port}/announce`, `http://[::ffff:127.0.0.1]:${port}/announce`, `http://2130706433:${port}/announce`,
    `ws://localhost:${port}/`, `ws://127.0.0.1:${port}/`, `wss://localhost.:${port}/`, `https://localhost:${port}/announce`,
    `udp://127.0.0.1:${port}/announce`, `udp://localhost:${port}/announce`, `udp://0x7f.1:${port}`, `udp://localhost.:${port}`, 'http://169.254.169.254/announce', 'udp://0.0.0.0:53'
  ]
}

t.test('trackers on this machine that a magnet or a .torrent names are not asked; the operator\'s own is, and may know peers here', async (t) => {
  const trap = await setTrap(t)
  const own = await startTracker(t)
  const named = await makeTorrent({ 'film.mkv': testBytes(600_001, 'named') }, { pieceLength: 65_536, trackers: trackersAt(trap.port) })
  const seed = await startSeed(t, named)
  const swarm = await startSwarm(t, { ...strict, trackers: [own.url] })
  // The seed announces itself where the swarm asks.
  await fetch(`${own.url}?info_hash=${named.infohash.replace(/../g, '%$&')}&peer_id=-XX0001-000000000000&port=${seed.address.split(':')[1] ?? ''}&left=0&uploaded=0&downloaded=0&compact=1&event=started`)
  const torrent = swarm.join(named.infohash, { torrent: null, trackers: trackersAt(trap.port), peers: [], store: null })
  const store = await attachFromSwarm(t, torrent, named)
  torrent.attach(store, named.torrent)
  torrent.addTrackers(trackersAt(trap.port).map((url) => `${url}#later`))
  wantAll(torrent, store)
  await verified(store)
  await sameFiles(t, store, named)
  torrent.leave()
  await until('our tracker knows that we left', () => own.events.some(({ event }) => event === 'stop'))
  t.same(trap.touches, [])
})

t.test('a tracker of the operator that redirects to this machine is not followed', async (t) => {
  const trap = await setTrap(t)
  const { url, requests } = await serve(t, (_request, response) => { response.writeHead(302, { location: `http://127.0.0.1:${trap.port}/secret` }).end() })
  const seed = await startSeed(t, film)
  const swarm = await startSwarm(t, { ...strict, trackers: [`${url.href}announce`], staticPeers: [seed.address] })
  const torrent = swarm.join(film.infohash, { torrent: null, trackers: [], peers: [], store: null })
  const store = await attachFromSwarm(t, torrent, film)
  wantAll(torrent, store)
  await verified(store)
  await until('the tracker was asked', () => requests.length > 0)
  torrent.leave()
  await until('it was told that we leave', () => requests.some((path) => path.includes('event=stopped')))
  t.same(trap.touches, [])
})

t.test('peers on this machine: those of the operator are dialled, those of a magnet are not', async (t) => {
  const trap = await setTrap(t)
  const seed = await startSeed(t, film)
  const swarm = await startSwarm(t, { ...strict, staticPeers: [seed.address] })
  const torrent = swarm.join(film.infohash, { torrent: null, trackers: [], peers: [`127.0.0.1:${trap.port}`, `[::ffff:127.0.0.1]:${trap.port}`, `localhost:${trap.port}`], store: null })
  torrent.addPeers([`127.0.0.1:${trap.port}`, `127.1:${trap.port}`])
  const store = await attachFromSwarm(t, torrent, film)
  wantAll(torrent, store)
  await verified(store)
  await sameFiles(t, store, film)
  t.same(trap.touches, [])
  await until('one peer is known', () => torrent.stats.peersKnown === 1)
})

t.test('HTTP_ALLOW_PRIVATE_NETWORKS: what strangers name on this machine is asked', async (t) => {
  const tracker = await startTracker(t)
  const swarm = await startSwarm(t, { allowPrivateNetworks: true })
  swarm.join(film.infohash, { torrent: null, trackers: [tracker.url.replace('127.0.0.1', 'localhost')], peers: [], store: null })
  await until('it is asked', () => tracker.peersOf(film.infohash).length === 1)
})

t.test('nodes of the DHT on this machine are asked only where the operator named them', async (t) => {
  const { bootstrap } = await startDht(t, 4)
  const [first = ''] = bootstrap
  const swarm = await startSwarm(t, { ...strict, dhtBootstrap: [first] })
  const lifted = await startSwarm(t, { allowPrivateNetworks: true, dhtBootstrap: [first] })
  await until('without the guard all are known', () => lifted.network.dhtNodes >= 4)
  await until('with it the one of the operator is', () => swarm.network.dhtNodes === 1)
})

t.test('web seeds of a .torrent are none of the swarm\'s business', async (t) => {
  const { url, requests } = await serve(t, (_request, response) => { response.writeHead(404).end() })
  const named = await makeTorrent({ 'film.mkv': testBytes(600_001, 'web seeded') }, { pieceLength: 65_536, webSeeds: [url.href] })
  t.same(named.metadata.webSeeds, [url.href])
  const seed = await startSeed(t, named)
  const swarm = await startSwarm(t)
  const store = await openStore(t, named)
  const torrent = swarm.join(named.infohash, { torrent: named.torrent, trackers: [], peers: [], store })
  wantAll(torrent, store)
  torrent.addPeers([seed.address])
  await verified(store)
  t.same(requests, [])
})
