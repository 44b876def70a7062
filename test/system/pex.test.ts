import t from 'tap'
import { makeTorrent, startSeeder, testBytes, testWith, until } from '../testnet.ts'
import { attachFromSwarm, openStore, sameFiles, startSwarm, verified, wantAll } from '../services/swarm/swarm-setup.ts'

/** Peer exchange with libtorrent, on loopback. */

const content = testBytes(3_000_001, 'pex')
const makeFilm = async (name: string) => await makeTorrent({ 'film.mkv': content }, { name, pieceLength: 65_536 })
/** A peer that has next to nothing to give and gives it slowly, but knows others. */
const gossip = { isLeech: true, uploadLimit: 5_000, downloadLimit: 5_000, keepsRedundant: true }

testWith(t, 'only peer exchange: the seeder is found by a peer that has nothing itself -> the whole file', async (t) => {
  const film = await makeFilm('only-pex.mkv')
  const seeder = await startSeeder(t, film, { isPassive: true })
  const go = await startSeeder(t, film, { ...gossip, peers: [seeder.address] })
  // Its first message is its only one for a minute.
  await until('it knows the seeder', async () => (await go.counts()).connected.length === 1)
  const swarm = await startSwarm(t)
  const torrent = swarm.join(film.infohash, { torrent: null, trackers: [], peers: [go.address], store: null })
  const store = await attachFromSwarm(t, torrent, film)
  wantAll(torrent, store)
  await verified(store)
  await sameFiles(t, store, film)
  t.ok((await seeder.counts()).uploaded > content.length * 0.8, 'from the seeder')
})

testWith(t, 'we tell: two libtorrent peers that know only us find each other', async (t) => {
  const film = await makeFilm('we-tell.mkv')
  const seeder = await startSeeder(t, film)
  const leech = await startSeeder(t, film, { isLeech: true })
  const swarm = await startSwarm(t, { uploadLimitBytes: 1_000, downloadLimitBytes: 1_000 })
  const store = await openStore(t, film)
  swarm.join(film.infohash, { torrent: film.torrent, trackers: [], peers: [seeder.address, leech.address], store })
  await until('the leech is whole', async () => (await leech.counts()).isSeeding)
  t.ok((await seeder.counts()).uploaded >= content.length, 'from the seeder')
})

testWith(t, 'nothing of it in a private torrent', async (t) => {
  const film = await makeTorrent({ 'film.mkv': content }, { name: 'private.mkv', pieceLength: 65_536, isPrivate: true })
  const seeder = await startSeeder(t, film)
  // Slow enough to hear of the seeder meanwhile.
  const leech = await startSeeder(t, film, { isLeech: true, downloadLimit: 1_000_000, keepsRedundant: true })
  const swarm = await startSwarm(t)
  const store = await openStore(t, film)
  const torrent = swarm.join(film.infohash, { torrent: film.torrent, trackers: [], peers: [seeder.address, leech.address], store })
  wantAll(torrent, store)
  await verified(store)
  await until('the leech has it from us', async () => (await leech.counts()).isSeeding)
  t.equal((await leech.counts()).connected.length, 1, 'and from nobody else')
})
