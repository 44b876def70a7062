import t from 'tap'
import { MirrorRecord } from '../../../services/download/mirror-record.ts'
import { RunPlan } from '../../../services/download/run-plan.ts'
import { urgencies } from '../../../services/pieces/demand.ts'
import { Geometry } from '../../../services/pieces/geometry.ts'
import { makeTorrent } from './origin.ts'
import type { Urgency } from '../../../services/pieces/demand.ts'
import type { Run } from '../../../services/download/piece-run.ts'

const MiB = 1024 * 1024
const { waiting, readAhead, background } = urgencies
/** 40 pieces of 1 MiB. */
const { metadata } = makeTorrent({ name: 'film.mp4', content: Buffer.alloc(40 * MiB), pieceLength: MiB })
const geometry = new Geometry(metadata)

interface Setting { plan: RunPlan, runs: Set<Run>, there: Set<number>, records: MirrorRecord[] }

function setting (...names: string[]): Setting {
  const records = (names.length === 0 ? ['a.example'] : names).map((name) => new MirrorRecord({ name, mayHave: () => true, request: async ({ end }) => ({ url: new URL(`http://${name}/`), isTrusted: true, headers: {}, end, reply: 'range' }) }))
  const runs = new Set<Run>()
  const there = new Set<number>()
  return { plan: new RunPlan({ store: { geometry, metadata, has: (piece) => there.has(piece) }, records, runs }), runs, there, records }
}

function want (plan: RunPlan, ...ranges: Array<[first: number, last: number, urgency: Urgency]>): void {
  plan.ranges = ranges.map(([first, last, urgency]) => ({ first: geometry.piece(first), last: geometry.piece(last), urgency }))
}

/** Starts what the plan says, and gives it as `first-last`. */
function start ({ plan, runs }: Setting, atLeast?: Urgency): string | null {
  const run = plan.next(0, atLeast)
  if (run === null) return null
  runs.add(run)
  run.record.activeRuns++
  return `${run.current}-${run.last}`
}

t.test('what is most urgent comes first, in runs of 4 MiB; background runs have 16 MiB', async (t) => {
  const s = setting()
  want(s.plan, [10, 10, waiting], [11, 16, readAhead], [17, 39, background], [0, 9, background])
  t.strictSame([start(s), start(s), start(s), start(s), start(s), start(s)], ['10-13', '14-17', '18-33', '34-39', '0-9', null])
})

t.test('what is there or under way is left out', async (t) => {
  const s = setting()
  s.there.add(2).add(5)
  want(s.plan, [0, 8, readAhead])
  t.strictSame([start(s), start(s), start(s), start(s)], ['0-1', '3-4', '6-8', null])
})

t.test('nothing less urgent than asked for', async (t) => {
  const s = setting()
  want(s.plan, [10, 10, waiting], [20, 25, readAhead])
  t.strictSame([start(s, waiting), start(s, waiting), start(s)], ['10-10', null, '20-23'])
})

t.test('a waiting reader takes its piece out of a run that comes to it late, and leaves it in one that comes to it next', async (t) => {
  const s = setting()
  want(s.plan, [0, 15, background])
  t.equal(start(s), '0-15')
  const [run] = s.runs
  want(s.plan, [1, 1, waiting], [0, 15, background])
  t.equal(start(s), null)
  want(s.plan, [9, 9, waiting], [0, 15, background])
  t.equal(start(s), '9-12')
  t.equal(run?.last, 8)
})

t.test('a run goes on as long as its pieces are asked for, wanted and missing', async (t) => {
  const s = setting()
  want(s.plan, [0, 3, readAhead])
  start(s)
  const [run] = s.runs
  if (run === undefined) return t.fail('no run')
  t.equal(s.plan.following(run), 1)
  s.there.add(1)
  t.equal(s.plan.following(run), null, 'somebody else brought it')
  s.there.clear()
  want(s.plan, [0, 0, readAhead])
  t.equal(s.plan.following(run), null, 'nobody wants it')
  want(s.plan, [0, 39, readAhead])
  run.current = run.last
  t.equal(s.plan.following(run), null, 'it was not asked for')
  run.isWholeFile = true
  t.equal(s.plan.following(run), 4, 'but it comes anyway')
  run.current = geometry.piece(4)
  s.there.add(5)
  t.equal(s.plan.following(run), 5, 'what is there is read over, to get to what is not')
  for (let i = 6; i < 40; i++) s.there.add(i)
  t.equal(s.plan.following(run), null, 'as long as something is missing')
  s.there.clear()
  run.stop.abort()
  t.equal(s.plan.following(run), null)
})

t.test('the least urgent run makes way for a reader that waits, and only for one', async (t) => {
  const s = setting()
  want(s.plan, [0, 3, readAhead], [20, 39, background])
  start(s)
  start(s)
  t.equal(s.plan.leastUrgent(0), null)
  want(s.plan, [10, 10, readAhead], [0, 3, readAhead], [20, 39, background])
  t.equal(s.plan.leastUrgent(0), null)
  want(s.plan, [10, 10, waiting], [0, 3, readAhead], [20, 39, background])
  t.equal(s.plan.leastUrgent(0)?.current, 20)
  want(s.plan, [0, 0, waiting], [20, 20, waiting], [10, 10, waiting])
  t.equal(s.plan.leastUrgent(0), null, 'all of them have readers that wait')
  for (const record of s.records) record.refuse('out')
  want(s.plan, [10, 10, waiting], [0, 3, readAhead], [20, 39, background])
  t.equal(s.plan.leastUrgent(0), null, 'nobody could bring the piece')
})

t.test('work goes to the mirror that will be fastest, and to those that are not known yet', async (t) => {
  const s = setting('slow.example', 'fast.example')
  s.records[0]?.delivered(MiB, 10_000)
  s.records[1]?.delivered(MiB, 100)
  want(s.plan, [0, 39, readAhead])
  for (let i = 0; i < 4; i++) start(s)
  t.strictSame([...s.runs].map(({ record }) => record.mirror.name), ['fast.example', 'fast.example', 'fast.example', 'fast.example'])
  const unknown = setting('known.example', 'unknown.example')
  unknown.records[0]?.delivered(MiB, 100)
  want(unknown.plan, [0, 39, readAhead])
  for (let i = 0; i < 4; i++) start(unknown)
  t.strictSame([...unknown.runs].map(({ record }) => record.mirror.name), ['known.example', 'unknown.example', 'known.example', 'unknown.example'])
})

t.test('is stranded when nothing that is wanted can be had from anybody', async (t) => {
  const s = setting()
  t.equal(s.plan.isStranded, false)
  want(s.plan, [10, 12, waiting])
  t.equal(s.plan.isStranded, false)
  s.records[0]?.ignoresRange('it sends whole files only')
  t.equal(s.plan.isStranded, true)
  s.there.add(10).add(11).add(12)
  t.equal(s.plan.isStranded, false, 'another brought it')
  want(s.plan, [0, 12, waiting])
  t.equal(s.plan.isStranded, false)
})
