import t from 'tap'
import { DistinctLimit } from '../../../services/access/distinct-limit.ts'

t.test('what is new is counted for each client, and what it brought before costs nothing', async (t) => {
  let now = 0
  const limit = new DistinctLimit({ most: 2, windowMs: 60_000, clock: { now: () => now } })
  t.equal(limit.wait('a'), null)
  limit.note('a', 'x')
  limit.note('a', 'x')
  t.equal(limit.wait('a'), null)
  now = 10_000
  limit.note('a', 'y')
  t.equal(limit.wait('a'), 50)
  t.ok(limit.has('a', 'x') && limit.has('a', 'y'))
  t.equal(limit.wait('b'), null)
  now = 59_999
  t.equal(limit.wait('a'), 1)
  now = 60_000
  t.equal(limit.wait('a'), null, 'the first is a minute ago')
  t.notOk(limit.has('a', 'x'))
  limit.note('a', 'z')
  t.equal(limit.wait('a'), 10)
})

t.test('clients beyond number take no memory: who was silent longest is forgotten', async (t) => {
  const limit = new DistinctLimit({ most: 1, windowMs: 60_000, clock: { now: () => 0 } })
  limit.note('first', 'x')
  limit.note('second', 'x')
  for (let i = 0; i < 9_998; i++) limit.note(`client ${i}`, 'x')
  t.equal(limit.wait('first'), 60)
  limit.note('one more', 'x')
  t.equal(limit.wait('first'), null)
  t.equal(limit.wait('second'), 60)
})
