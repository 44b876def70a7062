import t from 'tap'
import { PieceMemory } from '../../../services/download/piece-memory.ts'

t.test('memory is given up to the limit; who came too late is called when some is given back', async (t) => {
  const memory = new PieceMemory(10)
  const called: string[] = []
  const ask = (name: string): boolean => memory.take(5, () => { called.push(name) })
  t.same([ask('a'), ask('b'), ask('c'), ask('d')], [true, true, false, false])
  memory.release(5)
  t.same(called, ['c', 'd'], 'in the order in which they came')
  t.ok(ask('c'))
  t.notOk(ask('d'))
  memory.release(5)
  t.same(called, ['c', 'd', 'd'])
})

t.test('a piece larger than the limit is received alone', async (t) => {
  const memory = new PieceMemory(10)
  const onFree = (): void => { t.fail('nobody waits any more') }
  t.ok(memory.take(50, onFree))
  t.notOk(memory.take(1, onFree))
  memory.forget(onFree)
  memory.release(50)
  t.ok(memory.take(1, onFree))
})
