import t from 'tap'
import { Slots } from '../../services/slots.ts'

const { signal } = new AbortController()

/** Lets everything go on that can. */
async function settled (): Promise<void> {
  await new Promise((resolve) => { setImmediate(resolve) })
}

t.test('who takes many places waits until so many are free, and those behind wait with it', async (t) => {
  const slots = new Slots(10)
  const taken: string[] = []
  const take = async (name: string, places: number, signal: AbortSignal): Promise<() => void> => {
    const give = await slots.take(places, signal)
    taken.push(name)
    return give
  }
  const giveSmall = await take('small', 4, signal)
  const giveOther = await take('other', 4, signal)
  const large = take('large', 5, signal)
  const late = take('late', 1, signal)
  await settled()
  t.same(taken, ['small', 'other'])
  giveSmall()
  giveSmall()
  await settled()
  t.same(taken, ['small', 'other', 'large', 'late'], 'in the order of coming')
  const all = take('more than there are', 1000, signal)
  giveOther();
  (await large)()
  await settled()
  t.equal(taken.length, 4)
  ;(await late)();
  (await all)()
  t.equal(taken.at(-1), 'more than there are')
  ;(await take('again', 10, signal))()
})

t.test('who leaves while it waits lets those behind it go on', async (t) => {
  const slots = new Slots(2)
  const give = await slots.take(1, signal)
  const leaving = new AbortController()
  const large = slots.take(2, leaving.signal)
  const small = slots.take(1, signal)
  leaving.abort(new Error('left'))
  await t.rejects(large, { message: 'left' })
  ;(await small)()
  give()
  ;(await slots.take(2, signal))()
  await t.rejects(slots.take(1, leaving.signal), { message: 'left' })
  t.equal(await slots.run(async () => 'done', signal), 'done')
})
