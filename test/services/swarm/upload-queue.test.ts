import t from 'tap'
import { UploadQueue, mostAsked } from '../../../services/swarm/upload-queue.ts'
import { SimulatedClock } from '../simulated-clock.ts'

const block = 16_384

function setUp (limitBytes: number) {
  const clock = new SimulatedClock()
  const queue = new UploadQueue<{ isFull: boolean }>(clock, limitBytes)
  const given: string[] = []
  const ask = (taker: { isFull: boolean, name: string }, count: number, length = block): boolean[] =>
    Array.from({ length: count }, (_, piece) => queue.ask(taker, piece, 0, length, () => { given.push(`${taker.name}${piece}`) }))
  return { queue, given, ask, wait: async (ms: number) => { await clock.run(clock.pause(ms)) }, timerCount: () => clock.size, peer: (name: string) => ({ name, isFull: false }) }
}

t.test('without a limit everything is given at once, in the order in which it was asked for', async (t) => {
  const { given, ask, peer, timerCount } = setUp(-1)
  ask(peer('a'), 3)
  t.same(given, ['a0', 'a1', 'a2'])
  t.equal(timerCount(), 0)
})

for (const limit of [5_000, 100_000, 3_000_000]) {
  t.test(`a limit of ${limit} bytes a second holds over ten seconds, and hardly anything comes at once`, async (t) => {
    const { given, ask, peer, wait } = setUp(limit)
    const taker = peer('a')
    ask(taker, 400)
    const atOnce = given.length * block
    t.ok(atOnce > 0 && atOnce <= limit / 4 + block, `${atOnce} bytes at once`)
    for (let i = 0; i < 100; i++) {
      await wait(100)
      ask(taker, 50)
    }
    const bytes = given.length * block
    t.ok(bytes <= limit * 10.25 + block, `${bytes} bytes`)
    t.ok(bytes >= limit * 10, `${bytes} bytes`)
  })
}

t.test('peers take turns, however much one has asked for', async (t) => {
  const { given, ask, peer, wait } = setUp(1_000_000)
  const greedy = peer('g')
  ask(greedy, 100)
  ask(peer('b'), 3)
  ask(peer('c'), 3)
  given.length = 0
  await wait(160)
  t.same(given.filter((one) => !one.startsWith('g')), ['b0', 'c0', 'b1', 'c1', 'b2', 'c2'])
  t.ok(given.filter((one) => one.startsWith('g')).length <= 5, given.join())
})

t.test('who does not take what it got gets no more until it does, and keeps nobody else waiting', async (t) => {
  const { given, ask, peer, queue } = setUp(-1)
  const slow = { ...peer('s'), isFull: true }
  ask(slow, 2)
  ask(peer('a'), 2)
  t.same(given, ['a0', 'a1'])
  slow.isFull = false
  queue.serve()
  t.same(given, ['a0', 'a1', 's0', 's1'])
})

t.test('what was taken back is not given; who asks for too much is refused', async (t) => {
  const { given, ask, peer, queue } = setUp(-1)
  const slow = { ...peer('s'), isFull: true }
  t.same(ask(slow, mostAsked + 1).lastIndexOf(true), mostAsked - 1)
  queue.cancel(slow, 1, 0, block)
  queue.cancel(slow, 1, 0, block)
  queue.cancel(peer('other'), 0, 0, block)
  t.equal(queue.drop(slow).length, mostAsked - 1)
  slow.isFull = false
  queue.serve()
  t.same(given, [])
})
