import t from 'tap'
import { Pex } from '../../../services/swarm/pex.ts'
import { textOf } from '../../../services/swarm/endpoint.ts'
import type { Endpoint } from '../../../services/swarm/endpoint.ts'
import { decodePex, encodePex } from '../../../services/swarm/pex-message.ts'
import { SimulatedClock } from '../simulated-clock.ts'
import { at, neighbour } from './neighbours.ts'
import type { PaperNeighbour } from './neighbours.ts'

function startPex (isPrivate = (): boolean => false) {
  const clock = new SimulatedClock()
  const heard: string[] = []
  const pex = new Pex(clock, isPrivate, (endpoint: Endpoint, flags: number) => { heard.push(`${textOf(endpoint)} ${flags}`) })
  return { clock, pex, heard, wait: async (ms: number) => { await clock.run(clock.pause(ms)) } }
}

/** What it was told, message by message. */
function toldTo ({ sent }: PaperNeighbour): Array<{ added: string[], dropped: string[] }> {
  return sent.map(({ message }) => {
    const { added = [], dropped = [] } = decodePex(message) ?? {}
    return { added: added.map(({ endpoint, flags }) => `${textOf(endpoint)} ${flags}`), dropped: dropped.map(textOf) }
  })
}

t.test('each peer hears of the others soon, with their flags, and of nobody twice', async (t) => {
  const { pex, wait } = startPex()
  const one = neighbour('1.1.1.1:6881')
  const two = neighbour('2.2.2.2:6881', { flags: 0x0e })
  const dialled = neighbour('[2a00::3]:6881', { isOutgoing: true, flags: 0x01 })
  const mute = neighbour('4.4.4.4:6881', { extensions: [], flags: 0 })
  for (const each of [one, two, dialled, mute]) pex.add(each)
  await wait(2_000)
  t.same(toldTo(one), [{ added: ['2.2.2.2:6881 14', '4.4.4.4:6881 0', '[2a00::3]:6881 17'], dropped: [] }], 'whom we dialled can be dialled')
  t.same(toldTo(two)[0]?.added, ['1.1.1.1:6881 12', '4.4.4.4:6881 0', '[2a00::3]:6881 17'])
  t.same(mute.sent, [])
  await wait(300_000)
  t.equal(one.sent.length, 1, 'no news, no message')
})

t.test('one message a minute: who comes and goes meanwhile is in the next', async (t) => {
  const { pex, wait } = startPex()
  const [one, two, three, four] = [neighbour('1.1.1.1:1'), neighbour('2.2.2.2:2'), neighbour('3.3.3.3:3'), neighbour('4.4.4.4:4')]
  pex.add(one)
  await wait(30_000)
  t.same(one.sent, [], 'nobody to tell of')
  pex.add(two)
  await wait(1_000)
  t.same(toldTo(one), [{ added: ['2.2.2.2:2 12'], dropped: [] }], 'then at once')
  pex.add(three)
  pex.add(four)
  await wait(20_000)
  pex.remove(two)
  pex.remove(four)
  await wait(30_000)
  t.equal(one.sent.length, 1)
  await wait(15_000)
  t.same(toldTo(one)[1], { added: ['3.3.3.3:3 12'], dropped: ['2.2.2.2:2'] })
  pex.remove(one)
  pex.remove(three)
  t.equal(one.sent.length, 2)
})

t.test('at most 50 came and 50 went in one message; the rest is in the next', async (t) => {
  const { pex, wait } = startPex()
  const one = neighbour('1.1.1.1:1')
  pex.add(one)
  const crowd = Array.from({ length: 120 }, (_, i) => neighbour(`5.5.5.${i}:1`, { extensions: [] }))
  for (const each of crowd) pex.add(each)
  await wait(130_000)
  t.same(toldTo(one).map(({ added }) => added.length), [50, 50, 20])
  for (const each of crowd) pex.remove(each)
  await wait(200_000)
  t.same(toldTo(one).slice(3).map(({ dropped }) => dropped.length), [50, 50, 20])
})

t.test('told of is where a peer listens: nobody whose port is unknown, and no private address to the internet', async (t) => {
  const { pex, wait } = startPex()
  const one = neighbour('1.1.1.1:1')
  const atHome = neighbour('192.168.0.7:7')
  const tcp = neighbour('2.2.2.2:50000', { isUtp: false, listening: at('2.2.2.2:6881'), flags: 0 })
  const shy = neighbour('3.3.3.3:50000', { isUtp: false, listening: null })
  const punched = neighbour('4.4.4.4:4', { isOutgoing: true, isPunched: true, flags: 0 })
  const again = neighbour('6.6.6.6:6', { peerId: one.peerId })
  for (const each of [one, atHome, tcp, shy, punched, again]) pex.add(each)
  await wait(2_000)
  t.same(toldTo(one)[0]?.added, ['2.2.2.2:6881 0', '4.4.4.4:4 0'], 'nor itself; a punched hole makes nobody reachable')
  t.same(toldTo(atHome)[0]?.added, ['1.1.1.1:1 12', '2.2.2.2:6881 0', '4.4.4.4:4 0', '6.6.6.6:6 12'])
})

t.test('a private torrent neither tells nor hears, from when it is known to be one', async (t) => {
  let isPrivate = false
  const { pex, wait, heard } = startPex(() => isPrivate)
  const one = neighbour('1.1.1.1:1')
  pex.add(one)
  isPrivate = true
  pex.add(neighbour('2.2.2.2:2'))
  pex.receive(one, encodePex({ added: [{ endpoint: at('3.3.3.3:3'), flags: 0 }], dropped: [] }))
  await wait(100_000)
  t.same([one.sent, heard], [[], []])
})

t.test('who sends too often is not listened to, and keeps its connection', async (t) => {
  const { pex, wait, heard } = startPex()
  const one = neighbour('1.1.1.1:1')
  pex.add(one)
  for (let i = 1; i <= 100; i++) pex.receive(one, encodePex({ added: [{ endpoint: at(`9.9.9.9:${i}`), flags: 8 }], dropped: [] }))
  t.same(heard, ['9.9.9.9:1 8', '9.9.9.9:2 8', '9.9.9.9:3 8', '9.9.9.9:4 8'])
  await wait(59_900)
  pex.receive(one, encodePex({ added: [{ endpoint: at('9.9.9.9:101'), flags: 8 }, { endpoint: at('1.1.1.1:1'), flags: 8 }], dropped: [] }))
  t.same(heard.slice(4), ['9.9.9.9:101 8'], 'a minute that is a little short is one; what it says of itself is no news')
  pex.receive(one, Buffer.from('garbage'))
  pex.receive(neighbour('7.7.7.7:7'), encodePex({ added: [{ endpoint: at('9.9.9.9:102'), flags: 8 }], dropped: [] }))
  t.notOk(one.isClosed)
  t.equal(heard.length, 5, 'nor is who is not there')
})

t.test('closed, or without peers, no timer is left', async (t) => {
  const { pex, clock } = startPex()
  const one = neighbour('1.1.1.1:1')
  pex.add(one)
  t.equal(clock.size, 1)
  pex.remove(one)
  t.equal(clock.size, 0)
  pex.add(one)
  pex.close()
  t.equal(clock.size, 0)
})
