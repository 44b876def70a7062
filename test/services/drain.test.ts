import t from 'tap'
import { Drain } from '../../services/drain.ts'

const never = new AbortController().signal

t.test('with no stream open a stop waits for nothing, and readiness is off at once', async (t) => {
  const drain = new Drain({ streams: () => ({ open: 0, deliveredBytes: 5 }), graceMs: 60_000, quietMs: 60_000 })
  t.equal(drain.isDraining, false)
  const outcome = drain.run(never)
  t.equal(drain.isDraining, true)
  t.equal(await outcome, 'idle')
})

t.test('a stream that ends by itself is waited for, and no longer', async (t) => {
  let looks = 0
  const drain = new Drain({ streams: () => ({ open: ++looks < 5 ? 1 : 0, deliveredBytes: looks }), graceMs: 60_000, quietMs: 60_000, pollMs: 1 })
  t.equal(await drain.run(never), 'idle')
  t.equal(looks, 5)
})

t.test('one that goes on has its grace', async (t) => {
  let bytes = 0
  const drain = new Drain({ streams: () => ({ open: 1, deliveredBytes: bytes++ }), graceMs: 300, quietMs: 200, pollMs: 10 })
  const begunAt = performance.now()
  t.equal(await drain.run(never), 'time is up')
  t.ok(performance.now() - begunAt >= 299)
})

t.test('one that nobody reads is not waited for', async (t) => {
  const drain = new Drain({ streams: () => ({ open: 1, deliveredBytes: 7 }), graceMs: 60_000, quietMs: 50, pollMs: 10 })
  t.equal(await drain.run(never), 'quiet')
})

t.test('without a grace nothing is waited for', async (t) => {
  t.equal(await new Drain({ streams: () => ({ open: 3, deliveredBytes: 7 }), graceMs: 0, quietMs: 2000 }).run(never), 'time is up')
})
