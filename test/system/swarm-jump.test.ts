import t from 'tap'
import { urgencies } from '../../services/pieces/demand.ts'
import { makeTorrent, startSeeder, testBytes, testWith, until } from '../testnet.ts'
import { openStore, startSwarm, verified } from '../services/swarm/swarm-setup.ts'

testWith(t, 'a reader that jumps takes back hundreds of requests, and keeps its only peer', async (t) => {
  const torrent = await makeTorrent({ 'film.mkv': testBytes(40_000_000, 'jump') }, { pieceLength: 1_048_576 })
  const seeder = await startSeeder(t, torrent, { uploadLimit: 4_000_000 })
  const swarm = await startSwarm(t)
  const store = await openStore(t, torrent)
  const piece = (index: number) => store.geometry.piece(index)
  const swarmTorrent = swarm.join(torrent.infohash, { torrent: torrent.torrent, trackers: [], peers: [seeder.address], store })
  const want = swarmTorrent.demand.open()
  for (const start of [0, 20, 10]) {
    want.set([{ first: piece(start), last: piece(start), urgency: urgencies.waiting }, { first: piece(start + 1), last: piece(start + 9), urgency: urgencies.readAhead }])
    await verified(store, [start, start + 1])
  }
  await until('it is still there', () => swarmTorrent.stats.peersConnected === 1)
})
