import t from 'tap'
import { Duplicates } from '../../../services/swarm/duplicates.ts'
import { textOf } from '../../../services/swarm/endpoint.ts'
import { SimulatedClock } from '../simulated-clock.ts'
import { at, neighbour } from './neighbours.ts'
import type { PaperNeighbour } from './neighbours.ts'

const ids = { low: '1'.repeat(40), middle: '2'.repeat(40), high: '3'.repeat(40) }

async function start (...given: Array<Partial<Omit<PaperNeighbour, 'extensions'>>>) {
  const clock = new SimulatedClock()
  const duplicates = new Duplicates(ids.middle, clock)
  const all = given.map(({ remote, ...choices }) => neighbour(textOf(remote ?? at('1.1.1.1:1')), choices))
  for (const each of all) duplicates.add(each)
  const wait = async (ms: number): Promise<void> => { await clock.run(clock.pause(ms)) }
  return { duplicates, all, wait, closed: () => all.map(({ isClosed }) => isClosed) }
}

/** They bring something. */
function deliver (...from: Array<PaperNeighbour | undefined>): void {
  for (const each of from) if (each !== undefined) each.receivedBytes += 100
}

for (const { peerId, isOursToDial } of [{ peerId: ids.low, isOursToDial: true }, { peerId: ids.high, isOursToDial: false }]) {
  for (const isOursFirst of [true, false]) {
    t.test(`two connections, ${isOursFirst ? 'ours' : 'theirs'} first -> after a while the one that the greater peer id dialled stays (${isOursToDial ? 'ours' : 'theirs'})`, async (t) => {
      const ours = { remote: at('1.1.1.1:6881'), peerId, isOutgoing: true }
      const theirs = { remote: at('1.1.1.1:7000'), peerId }
      const { duplicates, all, wait, closed } = await start(...isOursFirst ? [ours, theirs] : [theirs, ours])
      deliver(...all)
      await wait(2_900)
      t.same(closed(), [false, false], 'the other side may choose first')
      await wait(200)
      const [isOursClosed, isTheirsClosed] = isOursFirst ? closed() : closed().reverse()
      t.same([isOursClosed, isTheirsClosed], [!isOursToDial, isOursToDial])
      for (const each of all) if (each.isClosed) duplicates.remove(each)
      t.ok(duplicates.has('1.1.1.1:6881') && duplicates.has('::ffff:1.1.1.1:6881'), 'and it is not dialled again')
      for (const each of all) duplicates.remove(each)
      t.notOk(duplicates.has('1.1.1.1:6881') || duplicates.has('1.1.1.1:7000'), 'until it is gone')
    })
  }
}

t.test('the one that would stay is silent -> the other is not given up for it', async (t) => {
  const { all: [silent, good], wait, closed } = await start({ peerId: ids.low, isOutgoing: true }, { peerId: ids.low })
  deliver(good)
  await wait(60_000)
  t.same(closed(), [false, false])
  deliver(silent)
  await wait(3_100)
  t.same(closed(), [false, true])
})

t.test('the other side has closed one -> the one that is left stays', async (t) => {
  const { duplicates, all, wait, closed } = await start({ peerId: ids.low, isOutgoing: true }, { peerId: ids.low })
  const [first] = all
  if (first !== undefined) duplicates.remove(first)
  deliver(...all)
  await wait(10_000)
  t.same(closed(), [false, false])
})

t.test('somebody with the peer id of another does not end his connection', async (t) => {
  const { all, wait, closed } = await start({ peerId: ids.high }, { remote: at('6.6.6.6:6'), peerId: ids.high, isOutgoing: true })
  deliver(...all)
  await wait(10_000)
  t.same(closed(), [false, false])
})

t.test('two peers at one address are two peers', async (t) => {
  const { duplicates, all, wait, closed } = await start({ remote: at('1.1.1.1:1') }, { remote: at('1.1.1.1:2'), isOutgoing: true })
  deliver(...all)
  await wait(10_000)
  t.same(closed(), [false, false])
  t.notOk(duplicates.has('1.1.1.1:3'))
  t.notOk(duplicates.has('nonsense'))
})
