import { once } from 'node:events'
import t from 'tap'
import { tellFigure } from '../soak.ts'
import { makeTorrent, startAria2, startQbittorrent, startTracker, startTransmission, testBytes, testWith, until } from '../testnet.ts'
import { attachFromSwarm, sameFiles, startSwarm, verified, wantAll } from '../services/swarm/swarm-setup.ts'

const content = testBytes(8_000_001, 'clients')

testWith(t, 'aria2, which has only TCP, as the only seeder, from a bare infohash and a tracker -> bytes within 3 s, then the whole file', async (t) => {
  const tracker = await startTracker(t)
  const torrent = await makeTorrent({ 'film.mkv': content }, { pieceLength: 131_072, trackers: [tracker.url] })
  const seeder = await startAria2(t, torrent)
  await until('the tracker knows it', () => tracker.peersOf(torrent.infohash).includes(seeder.address))
  const swarm = await startSwarm(t)
  const startedAt = performance.now()
  const swarmTorrent = swarm.join(torrent.infohash, { torrent: null, trackers: [tracker.url], peers: [], store: null })
  const store = await attachFromSwarm(t, swarmTorrent, torrent)
  wantAll(swarmTorrent, store)
  await once(store, 'verified', { signal: AbortSignal.timeout(60_000) })
  const ms = performance.now() - startedAt
  t.ok(ms < 3_000, `the first piece came after ${Math.round(ms)} ms`)
  tellFigure(t, 'aria2 as the only seeder, first piece', `${Math.round(ms)} ms`)
  await verified(store)
  await sameFiles(t, store, torrent)
})

for (const [name, start] of [['Transmission', startTransmission], ['qBittorrent', startQbittorrent]] as const) {
  testWith(t, `${name} as the only seeder, found by a tracker -> the whole file`, async (t) => {
    const tracker = await startTracker(t)
    const torrent = await makeTorrent({ 'film.mkv': content, 'poster.jpg': testBytes(33_333, 'poster') }, { pieceLength: 131_072, trackers: [tracker.url] })
    const seeder = await start(t, torrent)
    await until('the tracker knows it', () => tracker.peersOf(torrent.infohash).includes(seeder.address))
    const swarm = await startSwarm(t)
    const startedAt = performance.now()
    const swarmTorrent = swarm.join(torrent.infohash, { torrent: null, trackers: [tracker.url], peers: [], store: null })
    const store = await attachFromSwarm(t, swarmTorrent, torrent)
    wantAll(swarmTorrent, store)
    await once(store, 'verified', { signal: AbortSignal.timeout(60_000) })
    tellFigure(t, `${name} as the only seeder, first piece`, `${Math.round(performance.now() - startedAt)} ms`)
    await verified(store)
    await sameFiles(t, store, torrent)
  })
}
