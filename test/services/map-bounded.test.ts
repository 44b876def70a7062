import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'

import { mapBounded } from '../../services/map-bounded.ts'

t.test('answers come in the order of the items, with no more at work than allowed', async t => {
  let working = 0
  let most = 0
  const answers = await mapBounded(Array.from({ length: 50 }, (_, i) => i), 4, async i => {
    most = Math.max(most, ++working)
    for (let turn = 0; turn < i % 7; turn++) await nextTurn()
    working--
    return i * 2
  })
  t.same(answers, Array.from({ length: 50 }, (_, i) => i * 2))
  t.equal(most, 4)
  t.same(await mapBounded([], 4, async () => 1), [])
})

t.test('the first failure is thrown', async t => {
  await t.rejects(mapBounded([1, 2, 3], 2, async i => {
    if (i === 2) throw new Error('broken')
  }), { message: 'broken' })
})
