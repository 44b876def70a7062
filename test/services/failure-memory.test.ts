import t from 'tap'
import { FailureMemory } from '../../services/failure-memory.ts'
import { SimulatedClock } from './simulated-clock.ts'
import type { Subject } from '../../services/failure-memory.ts'
import type { Refusal } from '../../services/source-walk.ts'

const of = (content: string, fileIndex = 0): Subject => ({ content, file: `${content} #${fileIndex}` })
const a = of('a'.repeat(40))
const b = of('b'.repeat(40))
const dead: Refusal = { source: 'p2p', code: 'P2P_TIMEOUT', message: 'no peer', isTemporary: true }
const broken: Refusal = { source: 'p2p', code: 'SOURCE_FAILED', message: 'boom', isTemporary: true }

function memory (options = {}): { memory: FailureMemory, after: (ms: number) => void } {
  const clock = new SimulatedClock()
  let now = 0
  clock.now = () => now
  return { memory: new FailureMemory({ firstMs: 10_000, longestMs: 60_000, clock, ...options }), after: (ms) => { now += ms } }
}

t.test('what failed is not asked again for a while, and says how long; each further failure doubles it, up to the longest', async (t) => {
  const { memory: failures, after } = memory()
  t.equal(failures.recall(a, 'p2p'), null)
  for (const ms of [10_000, 20_000, 40_000, 60_000, 60_000]) {
    t.equal(failures.failed(a, dead).retryInMs, ms)
    t.match(failures.recall(a, 'p2p'), { code: 'P2P_TIMEOUT', message: 'no peer', retryInMs: ms })
    after(ms - 1)
    t.equal(failures.recall(a, 'p2p')?.retryInMs, 1)
    after(1)
    t.equal(failures.recall(a, 'p2p'), null, 'the next request is the trial')
  }
  t.equal(failures.recall(a, 'http'), null)
  t.equal(failures.recall(b, 'p2p'), null)
})

t.test('tries that fail side by side are one failure; one of long ago is not in a row with a new one', async (t) => {
  const { memory: failures, after } = memory()
  for (let i = 0; i < 5; i++) t.equal(failures.failed(a, dead).retryInMs, 10_000)
  after(10_000 + 60_001)
  t.equal(failures.failed(a, dead).retryInMs, 10_000)
})

t.test('what delivers is forgotten, and so is everything of an infohash that somebody adds again', async (t) => {
  const { memory: failures } = memory()
  failures.failed(a, dead)
  failures.delivered(a, 'p2p')
  t.equal(failures.recall(a, 'p2p'), null)
  failures.failed(of(`${a.content} udp://tracker.example:1`), dead)
  failures.failed(b, dead)
  failures.forget(a.content)
  t.equal(failures.recall(of(`${a.content} udp://tracker.example:1`), 'p2p'), null)
  t.not(failures.recall(b, 'p2p'), null)
})

t.test('reasons that say nothing about the next try are not remembered', async (t) => {
  const { memory: failures } = memory()
  for (const code of ['NO_ROOM', 'SHUTTING_DOWN', 'STORE_FAILED', 'FILE_INDEX'] as const) {
    t.equal(failures.failed(a, { ...dead, code }).retryInMs, undefined)
    t.equal(failures.recall(a, 'p2p'), null)
  }
})

t.test('a source that breaks for one infohash rests for that one; for several in a row it rests as a whole, until it delivers', async (t) => {
  const { memory: failures, after } = memory({ sourceFailures: 3 })
  for (let i = 0; i < 10; i++) failures.failed(a, broken)
  t.not(failures.recall(a, 'p2p'), null)
  t.equal(failures.recall(b, 'p2p'), null)
  failures.failed(of('c'.repeat(40)), broken)
  failures.failed(of('d'.repeat(40)), broken)
  t.match(failures.recall(b, 'p2p'), { code: 'SOURCE_FAILED', retryInMs: 10_000 })
  after(10_000)
  t.equal(failures.recall(b, 'p2p'), null)
  failures.failed(b, broken)
  t.equal(failures.recall(of('e'.repeat(40)), 'p2p')?.retryInMs, 20_000)
  failures.delivered(b, 'p2p')
  t.equal(failures.recall(of('e'.repeat(40)), 'p2p'), null)
})

t.test('the memory is bounded: the oldest failures go', async (t) => {
  const { memory: failures } = memory({ limit: 100 })
  for (let i = 0; i < 1000; i++) failures.failed(of(String(i)), dead)
  t.equal(failures.size, 100)
  t.equal(failures.recall(of('0'), 'p2p'), null)
  t.not(failures.recall(of('999'), 'p2p'), null)
})

t.test('that no mirror has one file says nothing of the others', async (t) => {
  const { memory: failures } = memory()
  failures.failed(of(a.content, 1), { source: 'http-fallback', code: 'HTTP_MIRRORS_FAILED', message: 'status 404', isTemporary: true })
  t.not(failures.recall(of(a.content, 1), 'http-fallback'), null)
  t.equal(failures.recall(of(a.content, 2), 'http-fallback'), null)
  failures.failed(of(a.content, 1), { ...dead, source: 'http-fallback' })
  t.not(failures.recall(of(a.content, 2), 'http-fallback'), null)
})
