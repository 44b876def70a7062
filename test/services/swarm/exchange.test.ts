import { once } from 'node:events'
import t from 'tap'
import type { Wire } from 'webtorrent'
import { steadyClock } from '../../../services/clock.ts'
import { Exchange } from '../../../services/swarm/exchange.ts'
import type { SeedingPolicy, Shares } from '../../../services/swarm/seeding.ts'
import { noShares } from '../../../services/swarm/seeding.ts'
import { UploadQueue } from '../../../services/swarm/upload-queue.ts'
import { makeTorrent, temporaryDirectory, testBytes, until } from '../../testnet.ts'
import { startClient, startSeed } from './webtorrent-seed.ts'
import type { Test } from 'tap'

const film = await makeTorrent({ 'film.mkv': testBytes(640_000, 'exchange') }, { pieceLength: 65_536 })
const byDefault: SeedingPolicy = { ratio: 1, uploadLimitBytes: -1 }

/** A real WebTorrent with the film, a clock that is set, and whether somebody wants something. */
async function setUp (t: Test, policy: SeedingPolicy, before: Shares = noShares) {
  const { torrent, address } = await startSeed(t, film, { utp: false })
  const world = { now: 1_000_000, isWanting: false }
  const exchange = new Exchange(torrent, { policy, before, uploads: new UploadQueue(steadyClock, -1), now: () => world.now }, () => world.isWanting)
  torrent.on('wire', (wire: Wire) => { exchange.onWire(wire) })
  exchange.update()
  const take = async (): Promise<Wire> => {
    const client = await startClient(t, { utp: false })
    const taker = client.add(film.torrent, { path: await temporaryDirectory(t) })
    await once(taker, 'ready')
    taker.addPeer(address)
    await until('it is interested', () => torrent.wires.at(-1)?.peerInterested === true)
    const wire = torrent.wires.at(-1)
    if (wire === undefined) throw new Error('no wire')
    return wire
  }
  return { exchange, world, take }
}

t.test('what came from elsewhere counts as downloaded; it is given until as much was given, then peers are choked', async (t) => {
  const { exchange, take } = await setUp(t, byDefault)
  t.same(exchange.shares, { uploadedBytes: 0, downloadedBytes: 640_000 })
  t.ok(exchange.isSeeding)
  const first = await take()
  await until('it has given it once', () => exchange.uploadedBytes >= 640_000)
  t.ok(first.amChoking)
  t.notOk(exchange.isSeeding)
  const second = await take()
  t.ok(second.amChoking)
})

t.test('what was given before counts', async (t) => {
  const { exchange } = await setUp(t, byDefault, { uploadedBytes: 600_000, downloadedBytes: 1_000_000 })
  t.same(exchange.shares, { uploadedBytes: 600_000, downloadedBytes: 1_000_000 })
  t.ok(exchange.isSeeding)
  t.notOk((await setUp(t, byDefault, { uploadedBytes: 1_000_000, downloadedBytes: 1_000_000 })).exchange.isSeeding)
})

t.test('when nobody has taken anything for half an hour it is not worth going on', async (t) => {
  const { exchange, world } = await setUp(t, byDefault)
  world.now += 1_799_999
  t.ok(exchange.isSeeding)
  world.now++
  t.notOk(exchange.isSeeding)
})

t.test('with a ratio of 0 peers are let in as soon as somebody wants something, and choked ten seconds after', async (t) => {
  const { exchange, world, take } = await setUp(t, { ...byDefault, ratio: 0 })
  const wire = await take()
  t.ok(wire.amChoking)
  world.isWanting = true
  exchange.update()
  t.notOk(wire.amChoking)
  world.isWanting = false
  world.now += 9_999
  exchange.update()
  t.notOk(wire.amChoking, 'a reader pauses')
  world.now++
  exchange.update()
  t.ok(wire.amChoking)
})
