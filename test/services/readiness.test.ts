import t from 'tap'
import { readinessOf } from '../../services/readiness.ts'
import type { Condition } from '../../services/readiness.ts'

const well: Condition = {
  isStopping: false,
  store: { isDead: false, problem: null },
  disk: [],
  eventLoop: { mean: 0, p50: 0, p99: 0.01, max: 0.1 },
  swarm: { state: 'ready', reason: '' },
  starts: null
}

const cases: Array<[what: string, change: Partial<Condition>, status: string, reasons: string[]]> = [
  ['all is well', {}, 'ok', []],
  ['a swarm that is starting, or switched off, is no problem', { swarm: null }, 'ok', []],
  ['a stop goes before everything', { isStopping: true, disk: ['disk: full'] }, 'unavailable', ['the server is shutting down']],
  ['a store that cannot be read', { store: { isDead: true, problem: 'store: gone' } }, 'unavailable', ['store: gone']],
  ['a store that cannot be written still serves', { store: { isDead: false, problem: 'store: no writes' } }, 'degraded', ['store: no writes']],
  ['a full disk still serves', { disk: ['disk: full'] }, 'degraded', ['disk: full']],
  ['a busy process still serves', { eventLoop: { ...well.eventLoop, p99: 0.734 } }, 'degraded', ['event loop: one timer in a hundred is 734 ms late']],
  ['no swarm', { swarm: { state: 'unavailable', reason: 'no sockets' } }, 'degraded', ['P2P: no sockets']],
  ['nothing plays', { starts: 'sources: none' }, 'degraded', ['sources: none']]
]

for (const [what, change, status, reasons] of cases) {
  t.test(what, async (t) => { t.same(readinessOf({ ...well, ...change }), { status, reasons }) })
}

t.test('however much is wrong, it stays short', async (t) => {
  const { reasons } = readinessOf({ ...well, disk: Array.from({ length: 50 }, (_, i) => `cache: ${i} ${'x'.repeat(500)}`) })
  t.equal(reasons.length, 5)
  t.equal(reasons.at(-1), 'and 46 more')
  t.ok(reasons.every(({ length }) => length <= 110))
})
