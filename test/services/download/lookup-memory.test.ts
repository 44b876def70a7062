import t from 'tap'
import { LookupMemory } from '../../../services/download/lookup-memory.ts'
import { CodedError } from '../../../services/errors.ts'

const error = new CodedError('METADATA_NOT_FOUND', 'status 404')

t.test('remembers a failure for its time, and says how old it is', async (t) => {
  let now = 1000
  const memory = new LookupMemory(10, () => now)
  t.equal(memory.recall('a'), null)
  memory.remember('a', error, 500)
  now += 499
  t.same(memory.recall('a'), { error, ageMs: 499 })
  now += 1
  t.equal(memory.recall('a'), null)
  t.equal(memory.size, 0, 'what is over takes no room')
})

t.test('is bounded: who was not asked about for longest is forgotten', async (t) => {
  const memory = new LookupMemory(3)
  for (const key of ['a', 'b', 'c']) memory.remember(key, error, 60_000)
  memory.recall('a')
  memory.remember('d', error, 60_000)
  t.equal(memory.size, 3)
  t.same(['a', 'b', 'c', 'd'].map((key) => memory.recall(key) !== null), [true, false, true, true])
  for (let i = 0; i < 10_000; i++) memory.remember(String(i), error, 60_000)
  t.equal(memory.size, 3)
})

t.test('forgets by the beginning of the key', async (t) => {
  const memory = new LookupMemory(10)
  for (const key of ['a 1', 'a 2', 'b 1']) memory.remember(key, error, 60_000)
  memory.forget('a ')
  t.same(['a 1', 'a 2', 'b 1'].map((key) => memory.recall(key) !== null), [false, false, true])
})
