import { setTimeout as timer } from 'node:timers/promises'
import t from 'tap'
import { EventLoopWatch } from '../../services/event-loop.ts'

t.test('a process that is busy with itself shows, until the window after', async (t) => {
  const watch = new EventLoopWatch({ windowMs: 60_000, resolutionMs: 1 })
  t.same(watch.delay, { mean: 0, p50: 0, p99: 0, max: 0 })
  watch.start()
  t.teardown(() => { watch.close() })
  const turns = async (count: number): Promise<void> => { for (let i = 0; i < count; i++) await timer(2) }
  await turns(5)
  const until = performance.now() + 300
  while (performance.now() < until);
  await turns(5)
  watch.take()
  t.ok(watch.delay.max >= 0.25, `${watch.delay.max} s`)
  t.ok(watch.delay.p50 < 0.25)
})

t.test('the pause that was asked for is no delay', async (t) => {
  const histogram = { count: 3, mean: 21e6, max: 520e6, percentile: (percent: number) => percent === 50 ? 20e6 : 30e6, enable: () => true, disable: () => true, reset () {} }
  const watch = new EventLoopWatch({ histogram })
  watch.take()
  t.same(Object.entries(watch.delay).map(([name, seconds]) => [name, Math.round(seconds * 1000)]), [['mean', 1], ['p50', 0], ['p99', 10], ['max', 500]])
})
