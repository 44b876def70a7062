import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { deadlines } from '../../services/deadlines.ts'
import { urgencies } from '../../services/pieces/demand.ts'
import { SharesFile } from '../../services/swarm/shares-file.ts'
import type { Swarm, SwarmOptions, SwarmTorrent } from '../../services/swarm/swarm.ts'
import { tellFigure } from '../soak.ts'
import { makeTorrent, startSeeder, temporaryDirectory, testBytes, testWith, until } from '../testnet.ts'
import type { TestTorrent } from '../testnet.ts'
import { openStore, recordingLog, startSwarm, wantAll } from '../services/swarm/swarm-setup.ts'

const MB = 1_000_000
const limit = MB
const transports = ['tcp', 'utp'] as const
const pieceLength = 262_144

/** A swarm's process that has this torrent, or all of it but its last piece. */
async function startOwner (t: Test, torrent: TestTorrent, options: Partial<SwarmOptions>, lacks = 0): Promise<{ swarm: Swarm, swarmTorrent: SwarmTorrent, address: string }> {
  const swarm = await startSwarm(t, options)
  const store = await openStore(t, torrent)
  const bytes = Buffer.concat(torrent.files.map((file) => file.bytes))
  for (let i = 0; i < store.geometry.pieceCount - lacks; i++) await store.write(store.geometry.piece(i), bytes.subarray(i * pieceLength, (i + 1) * pieceLength))
  const swarmTorrent = swarm.join(torrent.infohash, { torrent: torrent.torrent, trackers: [], peers: [], store })
  const { tcp, utp } = swarm.network.ports
  return { swarm, swarmTorrent, address: `127.0.0.1:${tcp ?? utp}` }
}

/** Bytes a second from the first byte on, over three seconds. */
async function rateOf (count: () => Promise<number>): Promise<number> {
  while (await count() === 0) await sleep(20)
  // What may come at once has come.
  await sleep(500)
  const before = await count()
  const startedAt = performance.now()
  await sleep(3_000)
  const after = await count()
  return (after - before) / (performance.now() - startedAt) * 1000
}

function checkRate (t: Test, what: string, rate: number): void {
  tellFigure(t, `${what} of ${limit / 1000} KB/s, held`, (rate / limit).toFixed(2))
  t.ok(rate > 0.8 * limit && rate < 1.2 * limit, `${what}: ${Math.round(rate / 1000)} of ${limit / 1000} KB/s`)
}

testWith(t, 'UPLOAD_LIMIT holds, over TCP and over uTP', async (t) => {
  const torrent = await makeTorrent({ 'film.mkv': testBytes(12 * MB, 'upload limit') }, { pieceLength })
  await Promise.all(transports.map(async (transport) => {
    const { address } = await startOwner(t, torrent, { uploadLimitBytes: limit, transport })
    const leech = await startSeeder(t, torrent, { isLeech: true, transport, peers: [address] })
    checkRate(t, `UPLOAD_LIMIT over ${transport}`, await rateOf(async () => (await leech.counts()).downloaded))
  }))
})

testWith(t, 'DOWNLOAD_LIMIT holds, over TCP and over uTP, and both with two peers', async (t) => {
  const torrent = await makeTorrent({ 'film.mkv': testBytes(12 * MB, 'download limit') }, { pieceLength })
  const seeders = await Promise.all([1, 2].map(async () => await startSeeder(t, torrent)))
  await Promise.all(transports.map(async (transport) => {
    const swarm = await startSwarm(t, { downloadLimitBytes: limit, transport })
    const store = await openStore(t, torrent)
    const swarmTorrent = swarm.join(torrent.infohash, { torrent: torrent.torrent, trackers: [], peers: seeders.map(({ address }) => address), store })
    wantAll(swarmTorrent, store)
    checkRate(t, `DOWNLOAD_LIMIT over ${transport}`, await rateOf(async () => {
      // Told twice a second.
      await once(swarmTorrent, 'stats')
      return swarmTorrent.receivedBytes
    }))
  }))
})

/** One that has given back its ratio, and is started again. */
async function givesItsRatio (t: Test): Promise<void> {
  const torrent = await makeTorrent({ 'film.mkv': testBytes(8 * MB, 'ratio') }, { pieceLength })
  const directory = await temporaryDirectory(t)
  const log = recordingLog()
  const { swarm, swarmTorrent, address } = await startOwner(t, torrent, { seedRatio: 0.5, uploadLimitBytes: 4 * MB, sharesFile: await SharesFile.open({ directory, log }) })
  const leech = await startSeeder(t, torrent, { isLeech: true, peers: [address] })
  await until('it gives to others', () => swarmTorrent.isSeeding)
  await until('it has given half of it', () => swarmTorrent.stats.uploadedBytes >= 4 * MB)
  await until('it is not worth going on', () => !swarmTorrent.isSeeding)
  const { shares } = swarmTorrent
  t.ok(shares.uploadedBytes < 4.3 * MB, `${shares.uploadedBytes} bytes`)
  t.equal(shares.downloadedBytes, 8 * MB)
  t.notOk((await leech.counts()).isSeeding)
  await swarm.close()
  await leech.stop()

  const again = await startOwner(t, torrent, { seedRatio: 0.5, sharesFile: await SharesFile.open({ directory, log }) })
  const other = await startSeeder(t, torrent, { isLeech: true, peers: [again.address] })
  await until('somebody is connected', async () => (await other.counts()).connected.length > 0)
  await sleep(1_000)
  t.equal((await other.counts()).downloaded, 0)
  t.same(again.swarmTorrent.shares, shares)
}

/** One that may give nothing but while something is missing. */
async function givesForWhatIsMissing (t: Test): Promise<void> {
  const torrent = await makeTorrent({ 'film.mkv': testBytes(2 * MB, 'panel') }, { pieceLength })
  const { swarmTorrent, address } = await startOwner(t, torrent, { seedRatio: 0 }, 1)
  const want = swarmTorrent.demand.open()
  const store = await openStore(t, torrent)
  want.set([{ first: store.geometry.piece(7), last: store.geometry.piece(7), urgency: urgencies.waiting }])
  const leech = await startSeeder(t, torrent, { isLeech: true, peers: [address] })
  await until('it gets all that is here', async () => (await leech.counts()).downloaded >= 7 * pieceLength)
  t.notOk(swarmTorrent.isSeeding, 'for others alone it would not go on')
  want.release()
  await leech.stop()
  await sleep(deadlines.reciprocityMs + 200)
  const late = await startSeeder(t, torrent, { isLeech: true, peers: [address] })
  await until('somebody is connected', async () => (await late.counts()).connected.length > 0)
  await sleep(1_000)
  t.equal((await late.counts()).downloaded, 0)
}

// Together, for they mostly wait.
testWith(t, 'peers get no more than SEED_RATIO, after a restart neither; with 0, as on a panel, only while something is missing', async (t) => {
  await Promise.all([givesItsRatio(t), givesForWhatIsMissing(t)])
})
