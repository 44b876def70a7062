import t from 'tap'
import { Disputes } from '../../../services/download/disputes.ts'
import { MirrorRecord } from '../../../services/download/mirror-record.ts'
import { PieceAssembly } from '../../../services/download/piece-assembly.ts'
import { RunPlan } from '../../../services/download/run-plan.ts'
import { urgencies } from '../../../services/pieces/demand.ts'
import { Geometry } from '../../../services/pieces/geometry.ts'
import { makeTorrent } from './origin.ts'
import type { Urgency } from '../../../services/pieces/demand.ts'
import type { PieceIndex } from '../../../services/pieces/geometry.ts'
import type { Run } from '../../../services/download/run.ts'
import type { TestTorrent } from './origin.ts'

const MiB = 1024 * 1024
const { waiting, readAhead, background } = urgencies
/** 40 pieces of 1 MiB. */
const small = makeTorrent({ name: 'film.mp4', content: Buffer.alloc(40 * MiB), pieceLength: MiB })
/** 10 pieces of 4 MiB. */
const large = makeTorrent({ name: 'film.mp4', content: Buffer.alloc(40 * MiB), pieceLength: 4 * MiB })

class Setting {
  readonly there = new Set<number>()
  readonly runs = new Set<Run>()
  readonly assemblies = new Map<PieceIndex, PieceAssembly<MirrorRecord>>()
  readonly disputes = new Disputes<MirrorRecord>()
  readonly records: MirrorRecord[]
  readonly plan: RunPlan
  readonly torrent: TestTorrent
  readonly geometry: Geometry
  now = 0

  /** Mirrors that have shown that they answer ranges, unless they are called `new…`. */
  constructor (names: readonly string[] = ['a'], torrent = small) {
    this.torrent = torrent
    this.geometry = new Geometry(torrent.metadata)
    this.records = names.map((name) => new MirrorRecord({
      name, mayHave: () => true, request: async ({ end }) => ({ url: new URL(`http://${name}/`), isTrusted: true, headers: {}, end, reply: 'range' })
    }))
    for (const record of this.records) if (!record.mirror.name.startsWith('new')) record.answered(this.file(), { isWholeFile: false, validator: null })
    this.plan = new RunPlan({
      store: { geometry: this.geometry, metadata: torrent.metadata, has: (piece) => this.there.has(piece) }, records: this.records, runs: this.runs, assemblies: this.assemblies, disputes: this.disputes, isElsewhere: () => false
    })
  }

  file (index = 0) {
    const file = this.torrent.metadata.files[index]
    if (file === undefined) throw new Error(`no file ${index}`)
    return file
  }

  mirror (name: string): MirrorRecord {
    const record = this.records.find(({ mirror }) => mirror.name === name)
    if (record === undefined) throw new Error(`no mirror ${name}`)
    return record
  }

  want (...ranges: Array<[first: number, last: number, urgency: Urgency]>): void {
    this.plan.ranges = ranges.map(([first, last, urgency]) => ({ first: this.geometry.piece(first), last: this.geometry.piece(last), urgency }))
  }

  next (slots = 4, atLeast: Urgency = background): Run | null {
    const run = this.plan.next(this.now, { slots: slots - this.runs.size, atLeast })
    if (run === null) return null
    this.runs.add(run)
    run.record.activeRuns++
    return run
  }

  /** Starts all that the plan says, and gives it as `mirror start-end` in MiB. */
  start (slots = 4, atLeast: Urgency = background): string[] {
    const started: Run[] = []
    while (this.runs.size < slots) {
      const run = this.next(slots, atLeast)
      if (run === null) break
      started.push(run)
    }
    return started.map(show)
  }

  end (run: Run): void {
    this.runs.delete(run)
    run.record.activeRuns--
  }

  /** The run brings so much, all at the end of that time. */
  bring (run: Run, bytes: number, elapsedMs = 0): void {
    this.now += elapsedMs
    run.received(bytes, this.now)
    for (let left = bytes; left > 0;) {
      const piece = this.geometry.pieceAt(run.position)
      const { start, end } = this.plan.spanOf(piece)
      const chunk = Buffer.alloc(Math.min(left, end - run.position))
      const assembly = this.assemblies.get(piece) ?? new PieceAssembly<MirrorRecord>({ start, end })
      this.assemblies.set(piece, assembly)
      assembly.put(run.position, chunk, run.record)
      run.position += chunk.length
      left -= chunk.length
    }
  }
}

function show (run: Run): string {
  return `${run.record.mirror.name} ${run.position / MiB}-${run.end / MiB}`
}

t.test('what is most urgent comes first, in runs of 4 MiB; background runs have 16 MiB', async (t) => {
  const s = new Setting()
  s.want([10, 10, waiting], [11, 16, readAhead], [17, 39, background], [0, 9, background])
  t.strictSame(s.start(9), ['a 10-14', 'a 14-18', 'a 18-34', 'a 34-40', 'a 0-10'])
})

t.test('what is there or under way is left out', async (t) => {
  const s = new Setting()
  s.there.add(2).add(5)
  s.want([0, 8, readAhead])
  t.strictSame(s.start(), ['a 0-2', 'a 3-5', 'a 6-9'])
})

t.test('nothing less urgent than asked for', async (t) => {
  const s = new Setting()
  s.want([10, 10, waiting], [20, 25, readAhead])
  t.strictSame(s.start(4, waiting), ['a 10-11'])
  t.strictSame(s.start(4), ['a 20-24', 'a 24-26'])
})

t.test('a mirror that is not known yet gets one run, until it has answered', async (t) => {
  const s = new Setting(['new'])
  s.want([0, 39, readAhead])
  t.strictSame(s.start(), ['new 0-4'])
  s.mirror('new').answered(s.file(), { isWholeFile: false, validator: null })
  t.strictSame(s.start(), ['new 4-8', 'new 8-12', 'new 12-16'])
})

t.test('a large piece that a reader waits for is fetched in parts side by side, a small one is not', async (t) => {
  const s = new Setting(['a'], large)
  s.want([2, 2, waiting], [3, 9, readAhead])
  t.strictSame(s.start(), ['a 8-9', 'a 9-10', 'a 10-11', 'a 11-12'])
  const two = new Setting(['a'], large)
  two.want([2, 2, waiting], [3, 9, readAhead])
  t.strictSame(two.start(2), ['a 8-10', 'a 10-12'])
  const mirrors = new Setting(['a', 'new b'], large)
  mirrors.want([2, 2, waiting])
  t.strictSame(mirrors.start().sort(), ['a 10-11', 'a 11-12', 'a 8-9', 'new b 9-10'])
  const fetchedAhead = new Setting(['a'], large)
  fetchedAhead.want([2, 2, readAhead])
  t.strictSame(fetchedAhead.start(), ['a 8-12'], 'nor one that nobody waits for yet')
})

t.test('a waiting reader takes its piece out of a run that comes to it late, and leaves it in one that comes to it next', async (t) => {
  const s = new Setting()
  s.want([0, 15, background])
  t.strictSame(s.start(), ['a 0-16'])
  const [run] = s.runs
  s.want([1, 1, waiting], [0, 15, background])
  t.strictSame(s.start(), [])
  s.want([9, 9, waiting], [0, 15, background])
  t.strictSame(s.start(2), ['a 9-13'])
  t.equal(run?.end, 9 * MiB)
})

t.test('what is silent for a second loses the piece that a reader waits for to another mirror, and may still come first', async (t) => {
  const s = new Setting(['a', 'b'], large)
  s.want([2, 2, waiting])
  const run = s.next(1)
  if (run === null) return t.fail('no run')
  t.equal(show(run), 'a 8-12')
  s.now = 999
  t.strictSame(s.start(), [])
  s.now = 1000
  t.strictSame(s.start(2), ['b 8-12'])
  t.equal(run.isAborted, false)
  t.equal(run.end, 12 * MiB)
  t.strictSame(s.start(), [], 'and nobody else brings the same')
})

t.test('a mirror of which nothing comes any more is asked once more after three seconds, if there is no other; but not one that is asking around itself', async (t) => {
  for (const isAsking of [false, true]) {
    const s = new Setting()
    s.want([2, 2, waiting])
    const run = s.next()
    if (run === null) return t.fail('no run')
    run.isAsking = isAsking
    s.now = 2999
    t.strictSame(s.start(), [])
    s.now = 3000
    t.strictSame(s.start(), isAsking ? [] : ['a 2-3'])
  }
  const s = new Setting()
  s.want([2, 2, readAhead])
  s.start()
  s.now = 5000
  t.strictSame(s.start(), [], 'nor one that nobody waits for')
})

t.test('a slow mirror loses the piece that a reader waits for to one that is more than twice as fast', async (t) => {
  const s = new Setting(['slow', 'fast'], large)
  s.mirror('slow').measured({ bytes: MiB, elapsedMs: 1000 })
  s.want([0, 0, waiting])
  s.mirror('fast').failed('status 500', { startedAt: 0, now: 0 })
  const run = s.next(1)
  if (run === null) return t.fail('no run')
  t.equal(show(run), 'slow 0-4')
  s.now = 400
  s.bring(run, MiB, 700)
  s.mirror('fast').delivered(MiB, s.now)
  s.mirror('fast').measured({ bytes: 5 * MiB, elapsedMs: 1000 })
  t.strictSame(s.start(2), ['fast 1-4'], 'which will bring the rest in 0.6 s instead of 3 s')
  t.strictSame(s.start(), [])
})

t.test('what is long in coming is divided among more connections, down to parts that are worth a request', async (t) => {
  const s = new Setting(['a'], large)
  s.mirror('a').measured({ bytes: MiB, elapsedMs: 1000 })
  s.want([0, 0, readAhead])
  const run = s.next(1)
  if (run === null) return t.fail('no run')
  s.bring(run, MiB / 2, 1000)
  s.want([0, 0, waiting])
  t.strictSame(s.start(), ['a 2.25-4', 'a 1.375-2.25'])
  t.equal(run.end, 1.375 * MiB)
})

t.test('a run goes on as long as its pieces are asked for, wanted and missing', async (t) => {
  const s = new Setting()
  s.want([0, 3, readAhead])
  const run = s.next()
  if (run === null) return t.fail('no run')
  run.position = MiB
  t.equal(s.plan.goesOn(run), true)
  s.there.add(1)
  t.equal(s.plan.goesOn(run), false, 'somebody else brought it')
  s.there.clear()
  s.want([0, 0, readAhead])
  t.equal(s.plan.goesOn(run), false, 'nobody wants it')
  s.want([0, 39, readAhead])
  run.position = run.end
  t.equal(s.plan.goesOn(run), false, 'it was not asked for')
  run.isWholeFile = true
  t.equal(s.plan.goesOn(run), true, 'but it comes anyway')
  t.equal(run.end, 5 * MiB)
  s.there.add(4)
  t.equal(s.plan.goesOn(run), true, 'what is there is read over, to get to what is not')
  for (let i = 5; i < 40; i++) s.there.add(i)
  t.equal(s.plan.goesOn(run), false, 'as long as something is missing')
  s.there.clear()
  run.stop.abort()
  t.equal(s.plan.goesOn(run), false)
})

t.test('the least urgent run makes way for a reader that waits, and only for one', async (t) => {
  const s = new Setting()
  s.want([0, 3, readAhead], [20, 39, background])
  s.start(2)
  t.equal(s.plan.leastUrgent(0), null)
  s.want([10, 10, readAhead], [0, 3, readAhead], [20, 39, background])
  t.equal(s.plan.leastUrgent(0), null)
  s.want([10, 10, waiting], [0, 3, readAhead], [20, 39, background])
  t.equal(s.plan.leastUrgent(0)?.position, 20 * MiB)
  s.want([0, 0, waiting], [20, 20, waiting], [10, 10, waiting])
  t.equal(s.plan.leastUrgent(0), null, 'all of them have readers that wait')
  for (const record of s.records) record.refuse('out')
  s.want([10, 10, waiting], [0, 3, readAhead], [20, 39, background])
  t.equal(s.plan.leastUrgent(0), null, 'nobody could bring the piece')
})

t.test('work goes to the mirror that will be fastest, and to those that are not known yet', async (t) => {
  const s = new Setting(['slow', 'fast'])
  s.mirror('slow').measured({ bytes: MiB, elapsedMs: 10_000 })
  s.mirror('fast').measured({ bytes: MiB, elapsedMs: 100 })
  s.want([0, 39, readAhead])
  t.strictSame(s.start(), ['fast 0-4', 'fast 4-8', 'fast 8-12', 'fast 12-16'])
  const unknown = new Setting(['known', 'unknown'])
  unknown.mirror('known').measured({ bytes: MiB, elapsedMs: 100 })
  unknown.want([0, 39, readAhead])
  t.strictSame(unknown.start(), ['known 0-4', 'unknown 4-8', 'known 8-12', 'unknown 12-16'])
  const liar = new Setting(['liar', 'honest'])
  liar.mirror('liar').score.lies = 3
  liar.want([0, 39, readAhead])
  t.strictSame(liar.start(3), ['honest 0-4', 'honest 4-8', 'honest 8-12'], 'one that lied about other torrents comes last')
})

t.test('a piece in dispute is fetched whole, from a mirror that had no part in it if there is one', async (t) => {
  const s = new Setting(['a', 'b', 'c'], large)
  const [a, b] = [s.mirror('a'), s.mirror('b')]
  a.measured({ bytes: 100 * MiB, elapsedMs: 1000 })
  const assembly = new PieceAssembly<MirrorRecord>({ start: 0, end: 4 * MiB })
  assembly.put(0, Buffer.alloc(2 * MiB), a)
  assembly.put(2 * MiB, Buffer.alloc(2 * MiB), b)
  s.disputes.open(s.geometry.piece(0), assembly)
  s.want([0, 0, waiting])
  t.strictSame(s.start(), ['c 0-4'])
})

t.test('a mirror on trial gets one whole piece, for which nobody waits', async (t) => {
  const s = new Setting(['a'])
  s.mirror('a').lied(s.file(), 0, MiB, 0)
  s.want([5, 9, readAhead])
  t.equal(s.mirror('a').retryAt, 600_000)
  s.now = 599_999
  t.strictSame(s.start(), [])
  s.now = 600_000
  s.want([5, 5, waiting])
  t.strictSame(s.start(), [])
  s.want([5, 9, readAhead])
  t.strictSame(s.start(), ['a 5-6'])
  s.mirror('a').delivered(MiB, s.now)
  t.strictSame(s.start(), ['a 6-10'])
})

t.test('a mirror that sends whole files only: one run from the beginning, where no other mirror can bring what is wanted', async (t) => {
  const s = new Setting(['whole', 'ranges'])
  s.mirror('whole').answered(s.file(), { isWholeFile: true, validator: null })
  s.want([30, 30, waiting], [0, 39, background])
  t.strictSame(s.start(), ['ranges 30-34', 'whole 0-2', 'ranges 2-18', 'ranges 18-30'])
  s.runs.clear()
  s.mirror('ranges').refuse('out')
  t.equal(s.plan.isStranded, false)
  const run = s.next()
  if (run === null) return t.fail('no run')
  t.equal(show(run), 'whole 0-31')
  t.strictSame(s.start(), [], 'only one')
  run.position = 10 * MiB
  t.equal(s.plan.leastUrgent(0), null, 'it is on its way to where a reader waits')
  s.want([5, 5, waiting], [0, 39, background])
  t.equal(s.plan.leastUrgent(0), run, 'where it has been it will not come again')
})

t.test('nobody reads over hours of bytes that nobody wants', async (t) => {
  const s = new Setting(['whole'])
  s.mirror('whole').answered(s.file(), { isWholeFile: true, validator: null })
  s.mirror('whole').measured({ bytes: MiB, elapsedMs: 1990 })
  s.want([29, 30, waiting])
  t.strictSame(s.start(), ['whole 0-30'])
  s.runs.clear()
  s.mirror('whole').activeRuns = 0
  s.want([31, 31, waiting])
  t.strictSame(s.start(), [])
  t.equal(s.plan.isStranded, true)
})

t.test('a piece across two files may come from two mirrors, each of which has one of them', async (t) => {
  const season = makeTorrent({ name: 'Season', content: [[['1.mkv'], Buffer.alloc(1.5 * MiB)], [['2.mkv'], Buffer.alloc(1.5 * MiB)]], pieceLength: MiB })
  const s = new Setting(['first', 'second'], season)
  s.mirror('first').lacks(s.file(1), 'status 404')
  s.mirror('second').lacks(s.file(0), 'status 404')
  s.want([1, 1, waiting])
  t.equal(s.plan.isStranded, false)
  t.strictSame(s.start(), ['first 1-1.5', 'second 1.5-2'])
  s.runs.clear()
  s.mirror('second').refuse('out')
  t.equal(s.plan.isStranded, true)
})

t.test('of a long file that a mirror has not, a few pieces are looked at, and not each of them', async (t) => {
  const s = new Setting(['a'], makeTorrent({ name: 'Films', content: [[['1.mkv'], Buffer.alloc(20 * MiB)], [['2.mkv'], Buffer.alloc(20 * MiB)]], pieceLength: MiB }))
  let asked = 0
  s.mirror('a').mirror.mayHave = ({ index }) => {
    asked++
    return index === 1
  }
  s.want([0, 39, background])
  t.strictSame(s.start(1), ['a 20-36'], 'the other one is found')
  s.want([0, 19, background])
  s.runs.clear()
  asked = 0
  t.ok(s.plan.isStranded)
  t.strictSame(s.start(1), [])
  t.ok(asked < 10, `asked ${asked} times`)
})

t.test('is stranded when nothing that is wanted can be had from anybody', async (t) => {
  const s = new Setting()
  t.equal(s.plan.isStranded, false)
  s.want([10, 12, waiting])
  t.equal(s.plan.isStranded, false)
  s.mirror('a').lacks(s.file(), 'status 404')
  t.equal(s.plan.isStranded, true)
  s.there.add(10).add(11).add(12)
  t.equal(s.plan.isStranded, false, 'another brought it')
})
