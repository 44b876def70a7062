import t from 'tap'
import { makeTorrent, testBytes, until } from '../../testnet.ts'
import { seededRandom } from '../pieces/torrent.ts'
import { knock, startBadPeer } from './bad-peer.ts'
import type { BadPeer, Behaviour } from './bad-peer.ts'
import { attachFromSwarm, openStore, sameFiles, startSwarm, verified, wantAll } from './swarm-setup.ts'
import { Bans } from '../../../services/swarm/bans.ts'
import { Liars } from '../../../services/swarm/liars.ts'
import type { Log } from '../../../services/log.ts'
import type { Test } from 'tap'

/** Peers that send wrong data, or none, beside honest ones, from the view of the server. */

const film = await makeTorrent({ 'film.mkv': testBytes(6_000_001, 'liars') }, { pieceLength: 131_072 })

/** A log that takes down who is said to have lied, and who was banned. */
function accusingLog (): Log & { readonly accused: Set<string>, readonly banned: Set<string> } {
  const [accused, banned] = [new Set<string>(), new Set<string>()]
  const warn = (fields: object, message: string): void => {
    if (!('peer' in fields) || typeof fields.peer !== 'string') return
    accused.add(fields.peer)
    if (message.includes('banned')) banned.add(fields.peer)
  }
  return { accused, banned, debug () {}, info () {}, warn, error () {} }
}

/** Their limit, in bytes a second, is what they give at once in the beginning, too. */
async function startHonest (t: Test, count: number, uploadLimit = 1_000_000): Promise<BadPeer[]> {
  return await Promise.all(Array.from({ length: count }, async (_, i) => await startBadPeer(t, film, 'honest', { ip: `127.0.1.${i + 1}`, uploadLimit })))
}

const addressesOf = (peers: readonly BadPeer[]): string[] => peers.map(({ address }) => address)

for (const behaviour of ['wrong', 'one block', 'now and then'] satisfies Behaviour[]) {
  t.test(`a peer that sends wrong data (${behaviour}) beside honest ones -> it alone is found and banned, all bytes are right`, async (t) => {
    const log = accusingLog()
    const liar = await startBadPeer(t, film, behaviour, { ip: '127.0.0.9', random: seededRandom(7) })
    const honest = await startHonest(t, 3, 400_000)
    const swarm = await startSwarm(t, { log })
    const store = await openStore(t, film)
    const torrent = swarm.join(film.infohash, { torrent: film.torrent, trackers: [], peers: addressesOf([liar, ...honest]), store })
    wantAll(torrent, store)
    await verified(store)
    await sameFiles(t, store, film)
    t.same([...log.accused], [liar.address])
    t.same([...log.banned], [liar.address])
    t.equal(torrent.stats.peersConnected, 3)
    t.equal(liar.counts.wires, 1, 'and it was not dialled again')
    await until('the report counts it', () => swarm.network.bans === 1)
  })
}

t.test('a piece that a reader waits for is left to suspects where all others say nothing', async (t) => {
  interface FakeWire { name: string, peerChoking: boolean, peerPieces: { get (): boolean } }
  const fake = (name: string): FakeWire => ({ name, peerChoking: false, peerPieces: { get: () => true } })
  const [one, two, silent] = [fake('one'), fake('two'), fake('silent')]
  let isAtWork = true
  const liars = new Liars<FakeWire>({
    bans: new Bans(),
    pieceLength: () => 32_768,
    identityOf: ({ name }) => ({ ip: '192.0.2.1', port: 1, peerId: name }),
    askedFor: () => [silent],
    wires: () => [one, two, silent],
    isWaitedFor: () => true,
    isAtWork: (wire) => wire !== silent || isAtWork,
    readPiece: async () => null,
    onLie: () => {}
  })
  liars.onWrong({ piece: 0, bytes: Buffer.alloc(32_768), senders: [one, two] })
  t.notOk(liars.mayAsk(one, 0), 'one that is no suspect has it, and was asked')
  isAtWork = false
  t.ok(liars.mayAsk(one, 0))
})

t.test('a whole swarm of liars and one slow honest peer -> it plays', async (t) => {
  const log = accusingLog()
  const random = seededRandom(3)
  const liars = await Promise.all((['wrong', 'one block', 'now and then', 'wrong', 'one block', 'now and then'] as const).map(async (behaviour, i) =>
    await startBadPeer(t, film, behaviour, { ip: `127.0.2.${i + 1}`, random })))
  const honest = await startHonest(t, 1)
  const swarm = await startSwarm(t, { log })
  const store = await openStore(t, film)
  const torrent = swarm.join(film.infohash, { torrent: film.torrent, trackers: [], peers: addressesOf([...liars, ...honest]), store })
  wantAll(torrent, store)
  await verified(store)
  await sameFiles(t, store, film)
  t.same([...log.banned].sort(), addressesOf(liars).sort())
})

t.test('peers that refuse, fall silent or hang up hold nothing up', async (t) => {
  const log = accusingLog()
  const bad = await Promise.all((['refuses', 'stalls', 'drops', 'stalls', 'refuses'] as const).map(async (behaviour, i) => await startBadPeer(t, film, behaviour, { ip: `127.0.3.${i + 1}` })))
  const honest = await startHonest(t, 1)
  const swarm = await startSwarm(t, { log })
  const startedAt = performance.now()
  const torrent = swarm.join(film.infohash, { torrent: null, trackers: [], peers: addressesOf([...bad, ...honest]), store: null })
  const store = await attachFromSwarm(t, torrent, film)
  wantAll(torrent, store)
  await verified(store)
  t.ok(performance.now() - startedAt < 20_000, `${Math.round(performance.now() - startedAt)} ms, of which the honest peer needs 6 s`)
  await sameFiles(t, store, film)
  t.ok(bad.filter(({ behaviour }) => behaviour === 'refuses').every(({ counts }) => counts.requests < 200), 'one that refuses is not asked again and again')
  t.same([...log.accused], [], 'nobody is called a liar for it')
})

t.test('a banned peer that comes to us is refused by its id; another one from its address is not', async (t) => {
  const log = accusingLog()
  const liar = await startBadPeer(t, film, 'wrong', { ip: '127.0.0.9' })
  const honest = await startHonest(t, 1)
  const swarm = await startSwarm(t, { log })
  const store = await openStore(t, film)
  const torrent = swarm.join(film.infohash, { torrent: film.torrent, trackers: [], peers: addressesOf([liar, ...honest]), store })
  wantAll(torrent, store)
  await until('it is banned', () => log.banned.has(liar.address))
  const { peerId } = liar
  const port = swarm.network.ports.tcp ?? 0
  t.equal(await knock(t, film, port, '127.0.0.9', peerId), 'closed')
  t.equal(await knock(t, film, port, '127.0.0.9', Buffer.from('-XX0001-another peer!').subarray(0, 20).toString('hex')), 'welcome')
  t.equal(await knock(t, film, port, '127.0.0.8', peerId), 'welcome', 'its id at another address is somebody else, as far as we can know')
  torrent.addPeers([`127.0.0.9:${liar.address.split(':')[1] ?? ''}`])
  await verified(store)
  t.equal(liar.counts.wires, 1)
})
