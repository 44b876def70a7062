import t from 'tap'

import { coalesce } from '../../services/coalesce.ts'

t.test('each caller gets a run that began after its call, and a crowd shares one', async t => {
  const begun: Array<() => void> = []
  let running = 0
  const work = coalesce(async () => {
    t.equal(++running, 1, 'one at a time')
    await new Promise<void>(resolve => begun.push(resolve))
    running--
    return begun.length
  })
  const first = work()
  const alsoFirst = work()
  await Promise.resolve()
  t.equal(begun.length, 1)
  const later = [work(), work(), work()]
  begun[0]?.()
  t.same([await first, await alsoFirst], [1, 1])
  while (begun.length < 2) await Promise.resolve()
  begun[1]?.()
  t.same(await Promise.all(later), [2, 2, 2])
})

t.test('a run that fails is told to those who shared it, and the next one runs', async t => {
  let count = 0
  const work = coalesce(async () => {
    if (++count === 1) throw new Error('broken')
    return count
  })
  const [first, second] = [work(), work()]
  await t.rejects(first, { message: 'broken' })
  await t.rejects(second, { message: 'broken' })
  t.equal(await work(), 2)
})
