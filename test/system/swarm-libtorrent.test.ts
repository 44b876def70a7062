import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { urgencies } from '../../services/pieces/demand.ts'
import { makeTorrent, startDht, startSeeder, startTracker, testBytes, testWith, until } from '../testnet.ts'
import { attachFromSwarm, isAlive, openStore, sameFiles, startSwarm, verified, wantAll } from '../services/swarm/swarm-setup.ts'

const content = testBytes(20_000_003, 'libtorrent')

testWith(t, 'a libtorrent seeder found by a tracker, from a bare infohash -> the whole file', async (t) => {
  const tracker = await startTracker(t)
  const torrent = await makeTorrent({ 'film.mkv': content }, { pieceLength: 262_144, trackers: [tracker.url] })
  await startSeeder(t, torrent)
  const swarm = await startSwarm(t)
  const swarmTorrent = swarm.join(torrent.infohash, { torrent: null, trackers: [tracker.url], peers: [], store: null })
  const store = await attachFromSwarm(t, swarmTorrent, torrent)
  wantAll(swarmTorrent, store)
  await verified(store)
  await sameFiles(t, store, torrent)
  await until('all bytes are counted', () => swarmTorrent.receivedBytes >= content.length)
})

testWith(t, 'a libtorrent seeder found by the DHT alone, from a bare infohash -> the whole file', async (t) => {
  const dht = await startDht(t, 8)
  const torrent = await makeTorrent({ 'film.mkv': content }, { pieceLength: 262_144 })
  const seeder = await startSeeder(t, torrent, { dht: dht.bootstrap })
  t.equal(await dht.peerOf(torrent.infohash), seeder.address)
  const swarm = await startSwarm(t, { dhtBootstrap: dht.bootstrap })
  const swarmTorrent = swarm.join(torrent.infohash, { torrent: null, trackers: [], peers: [], store: null })
  const store = await attachFromSwarm(t, swarmTorrent, torrent)
  wantAll(swarmTorrent, store)
  await verified(store)
  await sameFiles(t, store, torrent)
  await until('the nodes are counted', () => swarm.network.dhtNodes > 0)
})

for (const transport of ['tcp', 'utp'] as const) {
  testWith(t, `a libtorrent seeder that has only ${transport} -> the whole file`, async (t) => {
    const torrent = await makeTorrent({ 'film.mkv': content }, { pieceLength: 262_144 })
    const seeder = await startSeeder(t, torrent, { transport })
    const swarm = await startSwarm(t)
    if (transport === 'utp' && !swarm.network.hasUtp) {
      t.pass('no uTP on this machine', { skip: 'no uTP on this machine' })
      return
    }
    const swarmTorrent = swarm.join(torrent.infohash, { torrent: null, trackers: [], peers: [seeder.address], store: null })
    const store = await attachFromSwarm(t, swarmTorrent, torrent)
    wantAll(swarmTorrent, store)
    await verified(store)
    await sameFiles(t, store, torrent)
  })
}

testWith(t, 'a libtorrent seeder that has only IPv6: we dial it, and another time it comes to us', async (t) => {
  const torrent = await makeTorrent({ 'film.mkv': content }, { pieceLength: 262_144 })
  for (const isDialled of [true, false]) {
    const swarm = await startSwarm(t)
    const own = `[::1]:${swarm.network.ports.tcp ?? 0}`
    const joined = isDialled ? null : swarm.join(torrent.infohash, { torrent: null, trackers: [], peers: [], store: null })
    // A torrent that is not there yet has no peers.
    if (joined !== null) await once(joined, 'stats', { signal: AbortSignal.timeout(10_000) })
    const seeder = await startSeeder(t, torrent, { address: '[::1]', ...(isDialled ? { isPassive: true } : { peers: [own] }) })
    const swarmTorrent = joined ?? swarm.join(torrent.infohash, { torrent: null, trackers: [], peers: [seeder.address], store: null })
    const store = await attachFromSwarm(t, swarmTorrent, torrent)
    wantAll(swarmTorrent, store)
    await verified(store)
    await sameFiles(t, store, torrent)
    t.ok((await seeder.counts()).uploaded >= content.length)
    swarmTorrent.leave()
    await seeder.stop()
  }
})

testWith(t, 'a seeder that comes into the DHT after we have looked -> it is found', async (t) => {
  const dht = await startDht(t, 4)
  const torrent = await makeTorrent({ 'film.mkv': testBytes(300_000, 'late') })
  const swarm = await startSwarm(t, { dhtBootstrap: dht.bootstrap })
  const swarmTorrent = swarm.join(torrent.infohash, { torrent: null, trackers: [], peers: [], store: null })
  await dht.peerOf(torrent.infohash)
  t.equal(swarmTorrent.stats.peersConnected, 0)
  await startSeeder(t, torrent, { dht: dht.bootstrap, isPassive: true })
  await attachFromSwarm(t, swarmTorrent, torrent)
})

testWith(t, 'a file of many, with names of all kinds -> it and nothing else', async (t) => {
  const torrent = await makeTorrent({
    'S01/e1 100%.mkv': testBytes(300_000, '1'), 'S01/פרק #2?.mkv': testBytes(500_001, '2'), 'S01/e3.mkv': testBytes(300_000, '3')
  }, { name: 'עונה 1' })
  const seeder = await startSeeder(t, torrent)
  const swarm = await startSwarm(t)
  const store = await openStore(t, torrent, [1])
  const swarmTorrent = swarm.join(torrent.infohash, { torrent: torrent.torrent, trackers: [], peers: [seeder.address], store })
  const range = store.geometry.rangeOfFile(1)
  if (range === null) throw new Error('no bytes')
  const { first, last } = store.geometry.piecesOf(range)
  swarmTorrent.demand.open().set([{ first, last, urgency: urgencies.readAhead }])
  await until('it is whole', () => store.isFinished(1))
  await sameFiles(t, store, torrent)
  t.ok((await seeder.counts()).uploaded < 600_000, 'the others were not fetched')
})

testWith(t, 'a reader that jumps gets its piece before the rest', async (t) => {
  const torrent = await makeTorrent({ 'film.mkv': content }, { pieceLength: 65_536 })
  const seeder = await startSeeder(t, torrent, { uploadLimit: 1_000_000 })
  const swarm = await startSwarm(t)
  const store = await openStore(t, torrent)
  const swarmTorrent = swarm.join(torrent.infohash, { torrent: torrent.torrent, trackers: [], peers: [seeder.address], store })
  const want = wantAll(swarmTorrent, store)
  await verified(store, [0, 1])
  const startedAt = performance.now()
  want.set([{ first: store.geometry.piece(300), last: store.geometry.piece(300), urgency: urgencies.waiting }])
  await verified(store, [300])
  t.ok(performance.now() - startedAt < 5_000, `after ${Math.round(performance.now() - startedAt)} ms`)
  t.ok(store.verifiedCount < 150)
})

testWith(t, 'the swarm process is killed in the middle of a download -> it goes on, and nothing is fetched twice', async (t) => {
  const tracker = await startTracker(t)
  const torrent = await makeTorrent({ 'film.mkv': content }, { pieceLength: 65_536, trackers: [tracker.url] })
  const seeder = await startSeeder(t, torrent, { uploadLimit: 4_000_000 })
  const swarm = await startSwarm(t)
  const swarmTorrent = swarm.join(torrent.infohash, { torrent: null, trackers: [tracker.url], peers: [], store: null })
  const store = await attachFromSwarm(t, swarmTorrent, torrent)
  wantAll(swarmTorrent, store)
  await until('a third is there', () => store.verifiedCount > 100 && swarmTorrent.receivedBytes > 0)
  const { pid } = swarm
  if (pid === null) throw new Error('no process')
  process.kill(pid, 'SIGKILL')
  await until('it is gone', () => !isAlive(pid))
  const received = swarmTorrent.receivedBytes
  t.ok(received > 0)
  await verified(store)
  t.not(swarm.pid, pid)
  await sameFiles(t, store, torrent)
  t.ok(swarmTorrent.receivedBytes >= received, 'the count only grows')
  const { uploaded } = await seeder.counts()
  t.ok(uploaded < content.length * 1.3, `the seeder gave ${uploaded} bytes for ${content.length}`)
})

testWith(t, 'we serve what we have: a libtorrent leecher gets the file from us', async (t) => {
  const torrent = await makeTorrent({ 'film.mkv': content }, { pieceLength: 262_144 })
  const swarm = await startSwarm(t)
  const store = await openStore(t, torrent)
  for (let i = 0; i < torrent.metadata.pieceCount; i++) await store.write(store.geometry.piece(i), content.subarray(i * 262_144, (i + 1) * 262_144))
  const swarmTorrent = swarm.join(torrent.infohash, { torrent: torrent.torrent, trackers: [], peers: [], store })
  const leech = await startSeeder(t, torrent, { isLeech: true, peers: [`127.0.0.1:${swarm.network.ports.tcp}`] })
  await until('it has all', async () => (await leech.counts()).isSeeding, 60_000)
  t.ok((await readFile(join(leech.directory, 'film.mkv'))).equals(content))
  await until('it is counted', () => swarmTorrent.stats.uploadedBytes >= content.length)
})
