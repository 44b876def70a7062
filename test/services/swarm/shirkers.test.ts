import t from 'tap'
import { Shirkers } from '../../../services/swarm/shirkers.ts'

/** A request for a piece that a reader waits for. */
const waitedFor = {}

interface FakeWire { peerChoking: boolean, requests: unknown[] }

function setUp (count: number, isSimple = false): { wires: FakeWire[], shirkers: Shirkers<FakeWire>, released: FakeWire[], useless: FakeWire[], probed: FakeWire[], hungUp: FakeWire[], askedAnew: FakeWire[], pass: (seconds: number, each?: () => void) => void } {
  let now = 0
  const wires = Array.from({ length: count }, () => ({ peerChoking: false, requests: [{}] as unknown[] }))
  const released: FakeWire[] = []
  const useless: FakeWire[] = []
  const probed: FakeWire[] = []
  const hungUp: FakeWire[] = []
  const askedAnew: FakeWire[] = []
  const shirkers = new Shirkers<FakeWire>({
    wires: () => wires,
    release: (wire) => { released.push(wire) },
    probe: (wire) => {
      probed.push(wire)
      return !isSimple
    },
    isWaitedFor: (wire) => wire.requests.includes(waitedFor),
    hangUp: (wire) => { hungUp.push(wire) },
    askAnew: (wire) => { askedAnew.push(wire) },
    onUseless: (wire) => { useless.push(wire) },
    now: () => now
  })
  shirkers.watch()
  return {
    wires,
    shirkers,
    released,
    useless,
    probed,
    hungUp,
    askedAnew,
    pass (seconds, each = () => {}) {
      for (let i = 0; i < seconds; i++) {
        now += 1_000
        each()
        shirkers.watch()
      }
    }
  }
}

t.test('who is silent for three seconds while others deliver loses its requests, and those that it gets afterwards', async (t) => {
  const { wires: [silent, busy], shirkers, released, pass } = setUp(2)
  if (silent === undefined || busy === undefined) throw new Error('no wires')
  const deliver = (): void => { for (let i = 0; i < 5; i++) shirkers.onBlock(busy) }
  pass(2, deliver)
  t.same(released, [])
  pass(1, deliver)
  t.same(released, [silent])
  pass(2, deliver)
  t.same(released, [silent, silent, silent])
  shirkers.onBlock(silent)
  pass(2, deliver)
  t.equal(released.length, 3, 'not while it delivers')
  pass(1, deliver)
  t.equal(released.length, 4)
})

t.test('nobody loses anything while all are slow, nor who chokes or was asked for nothing', async (t) => {
  const { wires, shirkers, released, pass } = setUp(20)
  let turn = 0
  // A block a second for all of them together, as under a limit.
  pass(60, () => {
    const wire = wires[turn++ % wires.length]
    if (wire !== undefined) shirkers.onBlock(wire)
  })
  t.same(released, [])
  const [choking, free] = wires
  if (choking === undefined || free === undefined) throw new Error('no wires')
  choking.peerChoking = true
  free.requests.length = 0
  pass(5)
  t.equal(new Set(released).size, 18, 'all but those two, for one has nothing to do')
  t.notOk(released.includes(choking))
})

t.test('a piece that was refused is not asked of that peer for a while, longer each time; one that refuses all is useless', async (t) => {
  const { wires: [wire], shirkers, useless, pass } = setUp(1)
  if (wire === undefined) throw new Error('no wire')
  shirkers.onReject(wire, 7)
  t.notOk(shirkers.mayAsk(wire, 7))
  t.ok(shirkers.mayAsk(wire, 8))
  shirkers.onReject(wire, 7)
  pass(2)
  t.ok(shirkers.mayAsk(wire, 7), 'several blocks that were asked for together are refused together')
  for (const seconds of [2, 4, 8, 16, 30, 30]) {
    shirkers.onReject(wire, 7)
    pass(seconds)
    t.notOk(shirkers.mayAsk(wire, 7))
    pass(1)
    t.ok(shirkers.mayAsk(wire, 7), `${seconds} s`)
  }
  wire.peerChoking = true
  for (let i = 0; i < 100; i++) shirkers.onReject(wire, i)
  t.same(useless, [], 'a choking peer refuses everything, and means no harm')
  wire.peerChoking = false
  for (let i = 0; i < 20; i++) shirkers.onReject(wire, i)
  shirkers.onBlock(wire)
  for (let i = 0; i < 31; i++) shirkers.onReject(wire, i)
  t.same(useless, [])
  shirkers.onReject(wire, 31)
  t.equal(useless.length, 1)
})

t.test('who owes an answer for a second or two, or has refused, is not counted on', async (t) => {
  const { wires: [silent, idle], shirkers, pass } = setUp(2)
  if (silent === undefined || idle === undefined) throw new Error('no wires')
  idle.requests.length = 0
  t.ok(shirkers.isAtWork(silent, 7))
  pass(2)
  t.notOk(shirkers.isAtWork(silent, 7))
  t.ok(shirkers.isAtWork(idle, 7))
  shirkers.onBlock(silent)
  t.ok(shirkers.isAtWork(silent, 7))
  shirkers.onReject(silent, 7)
  t.notOk(shirkers.isAtWork(silent, 7))
  t.ok(shirkers.isAtWork(silent, 8))
})

t.test('the only peer gives no block that a reader waits for -> it is dialled anew where it does not answer a probe', async (t) => {
  const { wires: [only], released, probed, hungUp, askedAnew, pass } = setUp(1)
  if (only === undefined) throw new Error('no wire')
  pass(60)
  t.same(probed, [only], 'once')
  t.same([released, hungUp], [[], []], 'it keeps what nobody waits for')
  only.requests.push(waitedFor)
  pass(1)
  t.same(hungUp, [only])
  t.same(askedAnew, [])
})

t.test('where it answers, it is asked anew, once for each silence', async (t) => {
  const { wires: [only], shirkers, hungUp, askedAnew, pass } = setUp(1)
  if (only === undefined) throw new Error('no wire')
  only.requests.push(waitedFor)
  pass(5, () => { shirkers.onBytes(only) })
  t.same(askedAnew, [])
  pass(30, () => { shirkers.onBytes(only) })
  t.same(askedAnew, [only])
  shirkers.onBlock(only)
  pass(10, () => { shirkers.onBytes(only) })
  t.same(askedAnew, [only, only])
  t.same(hungUp, [], 'it is there')
})

t.test('one that knows no probe is left more time', async (t) => {
  const { wires: [only], hungUp, pass } = setUp(1, true)
  only?.requests.push(waitedFor)
  pass(14)
  t.same(hungUp, [])
  pass(1)
  t.same(hungUp, [only])
})

t.test('who never answers at all is useless; who has, may be slow now', async (t) => {
  const { wires: [never, once], shirkers, useless } = setUp(2)
  if (never === undefined || once === undefined) throw new Error('no wires')
  shirkers.onBlock(once)
  shirkers.onTimeout(once)
  shirkers.onTimeout(never)
  t.equal(useless.length, 1)
  t.equal(useless[0], never)
})
