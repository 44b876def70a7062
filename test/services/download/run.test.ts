import t from 'tap'
import { MirrorRecord } from '../../../services/download/mirror-record.ts'
import { Run } from '../../../services/download/run.ts'
import { urgencies } from '../../../services/pieces/demand.ts'

const record = new MirrorRecord({ name: 'mirror.example', mayHave: () => true, request: async () => { throw new Error('not asked') } })
const begin = (): Run => new Run({ record, urgency: urgencies.waiting, start: 0, end: 1_000_000, now: 0 })

t.test('is silent after a second in which next to nothing came, but not while its bytes are not taken', async (t) => {
  const run = begin()
  t.equal(run.isSilent(999), false)
  t.equal(run.isSilent(1000), true)
  run.received(20_000, 1500)
  t.equal(run.isSilent(2499), false)
  for (let now = 1600; now < 2500; now += 100) run.received(1, now)
  t.equal(run.isSilent(2500), true, 'a drip is silence')
  run.hold()
  t.equal(run.isSilent(9000), false)
  run.resume(9000)
  t.equal(run.isSilent(9999), false)
  t.equal(run.isSilent(10_000), true)
})

t.test('says how long it will take by what came of late, once it has an idea', async (t) => {
  const run = begin()
  run.received(50_000, 500)
  t.equal(run.needMs(100_000, 900), null)
  run.received(50_000, 1000)
  t.equal(run.needMs(100_000, 1000), 1000)
  t.equal(run.needMs(100_000, 2000), Infinity, 'then nothing came for a second')
})

t.test('a lap is what came since the last one', async (t) => {
  const run = begin()
  run.received(1000, 100)
  t.strictSame(run.lap(200), { bytes: 1000, elapsedMs: 200 })
  run.received(500, 250)
  t.strictSame(run.lap(300), { bytes: 500, elapsedMs: 100 })
})
