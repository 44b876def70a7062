import { EventEmitter } from 'node:events'
import t from 'tap'
import type { Dht } from 'webtorrent'
import { PeerSearch } from '../../../services/swarm/peer-search.ts'

interface FakeDht extends EventEmitter { ready: boolean, lookups: Array<() => void> }

function setUp ({ isReady = true, known = 0, isPrivate = false } = {}): { search: PeerSearch, dht: FakeDht, counts: { updates: number }, pass: (ms: number) => void } {
  let now = 1_000
  const counts = { updates: 0 }
  const lookups: Array<() => void> = []
  const dht = Object.assign(new EventEmitter(), { ready: isReady, lookups, nodes: { count: () => known }, lookup: (_infohash: string, done: () => void) => { lookups.push(done) } })
  const search = new PeerSearch({ infohash: '0'.repeat(40), dht: dht as unknown as Dht, trackers: { update: () => { counts.updates++ } }, isPrivate: () => isPrivate, now: () => now })
  return { search, dht, counts, pass: (ms) => { now += ms } }
}

t.test('nodes that are known are asked at once, whatever becomes of the bootstrap nodes', async (t) => {
  const waiting = setUp({ isReady: false })
  t.equal(waiting.dht.lookups.length, 0)
  waiting.dht.emit('ready')
  t.equal(waiting.dht.lookups.length, 1)
  const { search, dht } = setUp({ isReady: false, known: 1 })
  t.equal(dht.lookups.length, 1)
  t.notOk(search.isDhtAsked)
  dht.lookups[0]?.()
  t.ok(search.isDhtAsked)
})

t.test('without peers it is asked again in growing intervals, with peers not at all', async (t) => {
  const { search, dht, counts, pass } = setUp()
  const times: number[] = []
  for (let second = 1; second <= 120; second++) {
    pass(1_000)
    const before = dht.lookups.length
    search.watch(false)
    if (dht.lookups.length > before) times.push(second)
  }
  t.same(times, [4, 12, 28, 60])
  t.equal(counts.updates, 3)
  for (let second = 1; second <= 1_000; second++) {
    pass(1_000)
    search.watch(true)
  }
  t.equal(dht.lookups.length, 5)
  search.close()
  pass(1_000_000)
  search.watch(false)
  t.equal(dht.lookups.length, 5, 'nor after the end')
})

t.test('a reader who is back has everybody asked at once, but not those who were asked a moment ago', async (t) => {
  const { search, dht, counts, pass } = setUp()
  search.wake()
  t.equal(counts.updates, 0)
  pass(60_000)
  search.wake()
  search.wake()
  t.equal(counts.updates, 1)
  t.equal(dht.lookups.length, 2)
})

t.test('a private torrent asks no DHT', async (t) => {
  const { search, dht, counts, pass } = setUp({ isPrivate: true })
  t.ok(search.isDhtAsked)
  pass(100_000)
  search.watch(false)
  search.wake()
  t.equal(dht.lookups.length, 0)
  t.ok(counts.updates > 0)
})
