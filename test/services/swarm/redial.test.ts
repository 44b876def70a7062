import { EventEmitter } from 'node:events'
import t from 'tap'
import { Redial } from '../../../services/swarm/redial.ts'
import { SimulatedClock } from '../simulated-clock.ts'

/** `dials`: when the peers were dialled, in ms. They do not answer. */
function setUp (isAnswering = false): { clock: SimulatedClock, redial: Redial, dials: number[], pass: (ms: number) => Promise<void> } {
  const clock = new SimulatedClock()
  const dials: number[] = []
  const redial = new Redial({
    clock,
    dial (address) {
      dials.push(clock.now())
      if (!isAnswering) clock.after(0, () => { redial.gone(address) })
      return true
    }
  })
  return { clock, redial, dials, async pass (ms) { await clock.run(clock.pause(ms)) } }
}

const peer = '192.0.2.1:6881'

/** What comes from a peer that gives a block. */
function giving (): EventEmitter {
  const wire = new EventEmitter()
  setImmediate(() => { wire.emit('piece') })
  return wire
}

t.test('a peer that does not answer is dialled after 1, 2, 4 … 30 s, while something is wanted', async (t) => {
  const { redial, dials, pass } = setUp()
  redial.setNeed('wanted')
  t.ok(redial.named(peer, 'operator'))
  redial.gone(peer)
  redial.gone(peer)
  await pass(130_000)
  t.same(dials, [1, 3, 7, 15, 31, 61, 91, 121].map((s) => s * 1000))
})

t.test('a reader waits and nobody is there -> the lost are dialled at once, and each few seconds', async (t) => {
  const { redial, dials, pass } = setUp()
  redial.setNeed('idle')
  redial.named(peer, 'magnet')
  redial.gone(peer)
  await pass(100_000)
  dials.length = 0
  redial.setNeed('waiting')
  await pass(5_000)
  t.same(dials, [100_000, 103_000])
  redial.setNeed('wanted')
  redial.setNeed('waiting')
  t.equal(dials.length, 2 + 1, 'at once again, for the last dial was 2 s ago')
  redial.setNeed('wanted')
  redial.setNeed('waiting')
  t.equal(dials.length, 3, 'but not as often as a player needs a piece')
})

t.test('one that was of use is dialled after a second; one that only ever hangs up, less and less often', async (t) => {
  const { redial, dials, pass } = setUp(true)
  redial.setNeed('wanted')
  redial.named(peer, 'operator')
  const gaps: number[] = []
  for (const isUseful of [true, true, false, false, false, false, true]) {
    redial.onWire(peer, isUseful ? giving() : new EventEmitter())
    await new Promise(resolve => { setImmediate(resolve) })
    const before = dials.length
    redial.gone(peer)
    let ms = 0
    while (dials.length === before) {
      await pass(500)
      ms += 500
    }
    gaps.push(ms)
  }
  t.same(gaps, [1_000, 1_000, 1_000, 2_000, 4_000, 8_000, 1_000])
})

t.test('one that a stranger has named is given up in the end, and may be named again; nobody is dialled for being named often', async (t) => {
  const { redial, dials, pass, clock } = setUp()
  redial.setNeed('wanted')
  redial.named(peer, 'ut_pex')
  redial.gone(peer)
  await pass(5_000)
  t.notOk(redial.named(peer, 'ut_pex'), 'it was dialled 2 s ago')
  await pass(600_000)
  t.equal(dials.length, 8)
  t.equal(clock.size, 0)
  t.ok(redial.named(peer, 'dht'))
  redial.gone(peer)
  t.ok(redial.named(peer, 'operator') === false && clock.size === 1)
  await pass(3_600_000)
  t.ok(dials.length > 100, 'the operator knows better')
  redial.close()
  t.equal(clock.size, 0)
  redial.gone(peer)
  t.equal(clock.size, 0)
})

t.test('who may not be dialled now is tried later; who was never named is not our affair', async (t) => {
  const clock = new SimulatedClock()
  let asked = 0
  const redial = new Redial({ clock, dial: () => ++asked > 2 })
  redial.setNeed('wanted')
  redial.named(peer, 'operator')
  redial.gone(peer)
  redial.gone('192.0.2.2:6881')
  await clock.run(clock.pause(60_000))
  t.equal(asked, 3)
})
