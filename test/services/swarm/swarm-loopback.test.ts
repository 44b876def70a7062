import { rename, rm } from 'node:fs/promises'
import { once } from 'node:events'
import t from 'tap'
import type { Wire } from 'webtorrent'
import { urgencies } from '../../../services/pieces/demand.ts'
import { makeTorrent, startTracker, testBytes, until } from '../../testnet.ts'
import { attachFromSwarm, openStore, sameFiles, startSwarm, verified, wantAll } from './swarm-setup.ts'
import { startSeed } from './webtorrent-seed.ts'
import type { Seed } from './webtorrent-seed.ts'

/** The real process of the swarm against a WebTorrent in this one. */

/** The pieces that the seed is asked for, each once, in their order. */
function askedOf (seed: Seed): number[] {
  const asked: number[] = []
  seed.torrent.on('wire', (wire: Wire) => { wire.on('request', (piece: number) => { if (!asked.includes(piece)) asked.push(piece) }) })
  return asked
}

const film = await makeTorrent({ 'film.mkv': testBytes(3_000_001, 'film') }, { pieceLength: 65_536 })

t.test('a bare infohash and a peer -> metadata, then the whole file', async (t) => {
  const seed = await startSeed(t, film)
  const swarm = await startSwarm(t)
  const torrent = swarm.join(film.infohash, { torrent: null, trackers: [], peers: [seed.address], store: null })
  const store = await attachFromSwarm(t, torrent, film)
  t.same(store.bitfield(), new Uint8Array(6), 'no piece was fetched before there was a store')
  wantAll(torrent, store)
  await verified(store)
  await sameFiles(t, store, film)
  await until('all bytes are counted', () => torrent.receivedBytes >= 3_000_001)
  t.match(torrent.stats, { peersKnown: 1, peersConnected: 1 })
  t.match(torrent.state, /^1 peers known, 1 connected/)
})

t.test('nothing is fetched that nobody wants, and what readers wait for comes first', async (t) => {
  const seed = await startSeed(t, film)
  const asked = askedOf(seed)
  const swarm = await startSwarm(t)
  const store = await openStore(t, film)
  const torrent = swarm.join(film.infohash, { torrent: film.torrent, trackers: [], peers: [seed.address], store })
  await until('it is connected', () => torrent.isHopeful && torrent.stats.peersConnected === 1)
  const piece = (index: number) => store.geometry.piece(index)
  torrent.demand.open().set([{ first: piece(5), last: piece(6), urgency: urgencies.background }])
  torrent.demand.open().set([{ first: piece(44), last: piece(45), urgency: urgencies.headAndTail }, { first: piece(20), last: piece(20), urgency: urgencies.waiting }])
  await verified(store, [5, 6, 20, 44, 45])
  t.same(asked, [20, 44, 45, 5, 6])
  t.equal((await Promise.all([...store.writers].map(async (settled) => await settled()))).length, 1, 'and it says when it writes no more')
})

t.test('with the piece that a reader waits for comes the word that the swarm delivers', async (t) => {
  const seed = await startSeed(t, film)
  const swarm = await startSwarm(t)
  const store = await openStore(t, film)
  const torrent = swarm.join(film.infohash, { torrent: film.torrent, trackers: [], peers: [seed.address], store })
  for (const index of [7, 30, 11]) {
    const piece = store.geometry.piece(index)
    const receivedBefore = torrent.receivedBytes
    const want = torrent.demand.open()
    want.set([{ first: piece, last: piece, urgency: urgencies.waiting }])
    await store.waitFor(piece, AbortSignal.timeout(20_000))
    t.ok(torrent.receivedBytes >= receivedBefore + 65_536, `${torrent.receivedBytes} bytes with piece ${index}`)
    t.ok(torrent.isHopeful)
    want.release()
  }
})

t.test('what an HTTP download has filled is not asked of peers', async (t) => {
  const seed = await startSeed(t, film)
  const asked = askedOf(seed)
  const swarm = await startSwarm(t)
  const store = await openStore(t, film)
  const bytes = film.files[0]?.bytes ?? Buffer.alloc(0)
  const write = async (index: number): Promise<void> => {
    t.ok(await store.write(store.geometry.piece(index), bytes.subarray(index * 65_536, (index + 1) * 65_536)))
  }
  await write(0)
  const torrent = swarm.join(film.infohash, { torrent: film.torrent, trackers: [], peers: [], store })
  await write(1)
  wantAll(torrent, store)
  await write(2)
  torrent.addPeers([seed.address])
  await verified(store)
  await sameFiles(t, store, film)
  t.same(asked.filter((piece) => piece < 3), [])
})

t.test('a piece that is let go while the torrent enters the swarm is fetched when it is wanted', async (t) => {
  const seed = await startSeed(t, film)
  const asked = askedOf(seed)
  const swarm = await startSwarm(t)
  const store = await openStore(t, film)
  const piece = store.geometry.piece(0)
  t.ok(await store.write(piece, (film.files[0]?.bytes ?? Buffer.alloc(0)).subarray(0, 65_536)))
  const torrent = swarm.join(film.infohash, { torrent: film.torrent, trackers: [], peers: [seed.address], store })
  // Right behind the bitfield that has it.
  store.emit('dropped', piece)
  torrent.demand.open().set([{ first: piece, last: piece, urgency: urgencies.waiting }])
  await until('it came', () => torrent.receivedBytes >= 65_536)
  t.same(asked, [0])
})

t.test('what the swarm wrongly believes to be here is fetched once a reader has waited for a while', async (t) => {
  const seed = await startSeed(t, film)
  const swarm = await startSwarm(t)
  const store = await openStore(t, film)
  const piece = store.geometry.piece(0)
  t.ok(await store.write(piece, (film.files[0]?.bytes ?? Buffer.alloc(0)).subarray(0, 65_536)))
  const torrent = swarm.join(film.infohash, { torrent: film.torrent, trackers: [], peers: [seed.address], store })
  await until('it is connected', () => torrent.stats.peersConnected === 1)
  store.removeAllListeners('dropped')
  t.ok(await store.unwant(0, AbortSignal.timeout(10_000)))
  await store.want(0)
  t.notOk(store.has(piece))
  torrent.demand.open().set([{ first: piece, last: piece, urgency: urgencies.waiting }])
  torrent.reassert()
  torrent.reassert()
  await store.waitFor(piece, AbortSignal.timeout(20_000))
})

t.test('one file of many: its pieces at the border are whole in edge files, the neighbours are not fetched', async (t) => {
  const season = await makeTorrent({
    'e1.mkv': testBytes(100_000, 'e1'), 'e2.mkv': testBytes(100_001, 'e2'), 'subs/e2 #1.srt': testBytes(333, 's'), 'e3.mkv': testBytes(100_000, 'e3')
  })
  const seed = await startSeed(t, season)
  const asked = askedOf(seed)
  const swarm = await startSwarm(t)
  const store = await openStore(t, season, [1])
  const torrent = swarm.join(season.infohash, { torrent: season.torrent, trackers: [], peers: [seed.address], store })
  const range = store.geometry.rangeOfFile(1)
  if (range === null) throw new Error('no bytes')
  const { first, last } = store.geometry.piecesOf(range)
  torrent.demand.open().set([{ first, last, urgency: urgencies.readAhead }])
  await verified(store, [first, last])
  await until('the file is whole', () => store.isFinished(1))
  await sameFiles(t, store, season)
  t.ok(asked.every((piece) => piece >= first && piece <= last))
  await store.want(0)
  torrent.demand.open().set([{ first: store.geometry.piece(0), last: first, urgency: urgencies.waiting }])
  await until('the neighbour is whole', () => store.isFinished(0))
  await sameFiles(t, store, season)
})

t.test('a data file vanishes for a while -> no error; the swarm goes on when it is back', async (t) => {
  const seed = await startSeed(t, film)
  const swarm = await startSwarm(t)
  const store = await openStore(t, film)
  const [entry] = store.layout.files
  if (entry === undefined) throw new Error('no file')
  const [, path] = entry
  await rename(path, `${path}.away`)
  const torrent = swarm.join(film.infohash, { torrent: film.torrent, trackers: [], peers: [seed.address], store })
  torrent.on('failed', () => { t.fail('the torrent lives on') })
  wantAll(torrent, store)
  await once(torrent, 'blocked', { signal: AbortSignal.timeout(20_000) })
  t.equal(store.verifiedCount, 0)
  await rename(`${path}.away`, path)
  await verified(store)
  await sameFiles(t, store, film)
  await rm(`${path}.away`, { force: true })
})

t.test('a private torrent is announced to its own tracker only', async (t) => {
  const own = await startTracker(t)
  const other = await startTracker(t)
  const secret = await makeTorrent({ 'a.mkv': testBytes(50_000, 'secret') }, { trackers: [own.url], isPrivate: true })
  const swarm = await startSwarm(t, { trackers: [other.url] })
  const store = await openStore(t, secret)
  const torrent = swarm.join(secret.infohash, { torrent: secret.torrent, trackers: [other.url], peers: [], store })
  await until('its own tracker knows', () => own.peersOf(secret.infohash).length === 1)
  torrent.addTrackers([`${other.url}?again`])
  const open = await makeTorrent({ 'b.mkv': testBytes(50_000, 'open') })
  swarm.join(open.infohash, { torrent: null, trackers: [], peers: [], store: null })
  await until('the other tracker knows the other torrent', () => other.peersOf(open.infohash).length === 1)
  t.same(other.events.filter(({ infohash }) => infohash !== open.infohash), [])
})

t.test('trackers that come later are asked, and hear when we leave', async (t) => {
  const first = await startTracker(t)
  const later = await startTracker(t)
  const swarm = await startSwarm(t)
  const torrent = swarm.join(film.infohash, { torrent: null, trackers: [first.url], peers: [], store: null })
  await until('the first knows', () => first.peersOf(film.infohash).length === 1)
  torrent.addTrackers([later.url])
  await until('the later one knows', () => later.peersOf(film.infohash).length === 1)
  t.same(later.peersOf(film.infohash), [`127.0.0.1:${swarm.network.ports.tcp}`])
  torrent.leave()
  await until('both know that we left', () => [first, later].every(({ events }) => events.some(({ event }) => event === 'stop')))
  const again = swarm.join(film.infohash, { torrent: null, trackers: [first.url], peers: [], store: null })
  await until('and that we are back', () => first.peersOf(film.infohash).length === 1)
  t.equal(again.failure, null)
  await swarm.close()
  t.equal(first.events.at(-1)?.event, 'stop', 'and that we are gone')
})
