import t from 'tap'
import { Duplicates } from '../../../services/swarm/duplicates.ts'
import { neighbour } from './neighbours.ts'

const ids = { low: '1'.repeat(40), middle: '2'.repeat(40), high: '3'.repeat(40) }

for (const { peerId, isOursToDial } of [{ peerId: ids.low, isOursToDial: true }, { peerId: ids.high, isOursToDial: false }]) {
  t.test(`two connections, one from each side -> the one that the greater peer id dialled stays (${isOursToDial ? 'ours' : 'theirs'}), in either order`, async (t) => {
    for (const isOursFirst of [true, false]) {
      const duplicates = new Duplicates(ids.middle)
      const ours = neighbour('1.1.1.1:6881', { peerId, isOutgoing: true })
      const theirs = neighbour('1.1.1.1:7000', { peerId })
      for (const each of isOursFirst ? [ours, theirs] : [theirs, ours]) duplicates.add(each)
      t.same([ours.isClosed, theirs.isClosed], [!isOursToDial, isOursToDial])
      duplicates.remove(isOursToDial ? theirs : ours)
      t.ok(duplicates.has('1.1.1.1:6881') && duplicates.has('::ffff:1.1.1.1:6881'), 'and it is not dialled again')
      duplicates.remove(isOursToDial ? ours : theirs)
      t.notOk(duplicates.has('1.1.1.1:6881') || duplicates.has('1.1.1.1:7000'), 'until it is gone')
    }
  })
}

t.test('somebody with the peer id of another does not end his connection', async (t) => {
  const duplicates = new Duplicates(ids.middle)
  const good = neighbour('1.1.1.1:1', { peerId: ids.high })
  const thief = neighbour('6.6.6.6:6', { peerId: ids.high })
  duplicates.add(good)
  duplicates.add(thief)
  t.same([good.isClosed, thief.isClosed], [false, false])
})

t.test('two peers at one address are two peers', async (t) => {
  const duplicates = new Duplicates(ids.middle)
  const one = neighbour('1.1.1.1:1')
  const two = neighbour('1.1.1.1:2')
  duplicates.add(one)
  duplicates.add(two)
  t.same([one.isClosed, two.isClosed], [false, false])
  t.notOk(duplicates.has('1.1.1.1:3'))
  t.notOk(duplicates.has('nonsense'))
})

t.test('of three connections to one peer one stays', async (t) => {
  const duplicates = new Duplicates(ids.middle)
  const all = [neighbour('1.1.1.1:1', { peerId: ids.low, isOutgoing: true }), neighbour('1.1.1.1:2', { peerId: ids.low }), neighbour('1.1.1.1:3', { peerId: ids.low, isOutgoing: true })]
  for (const each of all) duplicates.add(each)
  t.same(all.map(({ isClosed }) => isClosed), [true, true, false])
})
