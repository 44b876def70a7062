import t from 'tap'
import { Demand, urgencies } from '../../../services/pieces/demand.ts'
import type { PieceRange } from '../../../services/pieces/demand.ts'
import { Geometry } from '../../../services/pieces/geometry.ts'
import { ReaderDemand } from '../../../services/pieces/reader-demand.ts'

const KiB = 1024
const MiB = 1024 * KiB

/** A torrent of a short file and a long one that begins in the middle of a piece; only its arithmetic is real. */
function reader (pieceLength: number, fileLength: number, start: number, end = fileLength - 1, isBackground = false) {
  const before = Math.floor(pieceLength / 2)
  const file = (index: number, offset: number, lengthBytes: number) => ({ index, components: ['x'], name: 'x', path: 'x', lengthBytes, offset, isPadding: false })
  const geometry = new Geometry({ pieceLength, lengthBytes: before + fileLength, files: [file(0, 0, before), file(1, before, fileLength)] })
  const sets: Array<readonly PieceRange[]> = []
  const want = { set: (ranges: readonly PieceRange[]) => { sets.push(ranges) }, release () {} }
  let nowMs = 0
  const demand = new ReaderDemand(geometry, { start: before, end: before + fileLength - 1 }, { start: before + start, end: before + end }, want, { isBackground, now: () => nowMs })
  return {
    sets,
    pass: (ms: number) => { nowMs += ms },
    moveTo: (offset: number, leave?: [first: number, last: number] | 'nothing') =>
      demand.moveTo(before + offset, leave === undefined ? 'all' : leave === 'nothing' ? leave : { first: geometry.piece(leave[0]), last: geometry.piece(leave[1]) }),
    /** `[first, last]` of each range of the last set(). */
    of: (urgency: number) => (sets.at(-1) ?? []).filter(range => range.urgency === urgency).map(({ first, last }) => [first, last])
  }
}

t.test('a reader waits for its piece, reads a little ahead, and wants head, tail and the rest', async t => {
  const { moveTo, of } = reader(256 * KiB, 100 * MiB, 50 * MiB)
  moveTo(50 * MiB)
  t.same(of(urgencies.waiting), [[200, 200]])
  t.same(of(urgencies.readAhead), [[201, 204]], '1 MiB')
  t.same(of(urgencies.headAndTail), [[0, 4], [396, 400]], '1 MiB each')
  t.same(of(urgencies.background), [[205, 400], [0, 199]], 'what lies ahead comes before what lies behind')
})

t.test('at first it reads no further ahead than it has read, and the same after a seek', async t => {
  const { moveTo, of, sets } = reader(256 * KiB, 600 * MiB, 0)
  const ahead = [0, 0.5, 1, 2.5, 3, 7, 15, 31, 63, 127, 200].map(position => {
    moveTo(position * MiB)
    const [first = 0, last = 0] = of(urgencies.readAhead)[0] ?? []
    return (last - first + 1) / 4
  })
  t.same(ahead, [1, 1, 1, 2.5, 3, 7, 15, 31, 63, 127, 128])
  t.equal(sets.length, 11)
  moveTo(200 * MiB + 1)
  t.equal(sets.length, 11, 'within one piece nothing is said')
  const sought = reader(256 * KiB, 400 * MiB, 200 * MiB)
  sought.moveTo(200 * MiB)
  t.same(sought.of(urgencies.readAhead), [[801, 804]])
})

t.test('it reads half a minute ahead, at the rate of its reader', async t => {
  for (const [mibPerSecond, expected] of [[0.02, 1], [0.5, 15], [2, 60], [10, 128]] as const) {
    const { moveTo, of, pass } = reader(256 * KiB, 4000 * MiB, 0)
    for (let second = 0; second <= 90; second++) {
      moveTo(Math.floor(second * mibPerSecond * MiB))
      pass(1000)
    }
    const [first = 0, last = 0] = of(urgencies.readAhead)[0] ?? []
    t.equal((last - first + 1) / 4, expected, `${mibPerSecond} MiB a second`)
  }
})

t.test('a reader that has paused reads on as before', async t => {
  const { moveTo, of, pass } = reader(256 * KiB, 4000 * MiB, 0)
  for (let second = 0; second <= 60; second++) {
    moveTo(second * MiB)
    pass(1000)
  }
  pass(600_000)
  moveTo(61 * MiB)
  const [first = 0, last = 0] = of(urgencies.readAhead)[0] ?? []
  t.ok((last - first + 1) / 4 >= 30)
})

t.test('whom nobody watches wants head and tail, and the rest in any order', async t => {
  const { moveTo, of } = reader(256 * KiB, 100 * MiB, 0, 100 * MiB - 1, true)
  moveTo(50 * MiB)
  t.same([of(urgencies.waiting), of(urgencies.readAhead)], [[], []])
  t.same(of(urgencies.headAndTail), [[0, 4], [396, 400]])
  t.same(of(urgencies.background), [[0, 400]])
})

t.test('of large pieces it reads one ahead at least, and no more than eight', async t => {
  const { moveTo, of } = reader(16 * MiB, 800 * MiB, 0)
  const ahead = [0, 16, 48, 112, 240].map(position => {
    moveTo(position * MiB)
    const [first = 0, last = 0] = of(urgencies.readAhead)[0] ?? []
    return last - first + 1
  })
  t.same(ahead, [1, 1, 3, 7, 8])
})

t.test('it does not read ahead of its range, and not beyond its file', async t => {
  const probe = reader(256 * KiB, 100 * MiB, 10 * MiB, 10 * MiB + 1)
  probe.moveTo(10 * MiB)
  t.same(probe.of(urgencies.waiting), [[40, 40]])
  t.same(probe.of(urgencies.readAhead), [])
  t.same(probe.of(urgencies.background), [[41, 400], [0, 39]])
  const last = reader(256 * KiB, 100 * MiB, 100 * MiB - 1)
  last.moveTo(100 * MiB - 1)
  t.same(last.of(urgencies.waiting), [[400, 400]])
  t.same(last.of(urgencies.background), [[0, 399]])
  const tiny = reader(256 * KiB, 3, 0)
  tiny.moveTo(0)
  t.same(tiny.sets, [[{ first: 0, last: 0, urgency: 3 }, { first: 0, last: 0, urgency: 1 }, { first: 0, last: 0, urgency: 1 }]])
})

t.test('in a window it asks for what its range has of that, and for nothing else', async t => {
  const { moveTo, of, sets } = reader(256 * KiB, 100 * MiB, 50 * MiB)
  moveTo(50 * MiB, [199, 230])
  t.same(of(urgencies.waiting), [[200, 200]])
  t.same(of(urgencies.readAhead), [[201, 204]])
  t.same(of(urgencies.background), [[205, 230]])
  t.same(of(urgencies.headAndTail), [])
  moveTo(50 * MiB + 1, [199, 230])
  t.equal(sets.length, 1, 'within one piece nothing is said')
  moveTo(50 * MiB + 1, [199, 203])
  t.same([of(urgencies.readAhead), of(urgencies.background)], [[[201, 203]], []], 'but it is when the window shrinks')
  moveTo(50 * MiB + 1, 'nothing')
  t.same(sets.at(-1), [])
  const short = reader(256 * KiB, 100 * MiB, 50 * MiB, 50 * MiB + 300 * KiB)
  short.moveTo(50 * MiB, [200, 230])
  t.same([short.of(urgencies.waiting), short.of(urgencies.readAhead), short.of(urgencies.background)], [[[200, 200]], [[201, 201]], []], 'not beyond its range')
})

t.test('a demand is the union of its readers wishes, the most urgent first', async t => {
  const geometry = new Geometry({ pieceLength: 1, lengthBytes: 10, files: [] })
  const range = (index: number, urgency: 0 | 1 | 2 | 3) => ({ first: geometry.piece(index), last: geometry.piece(index), urgency })
  const demand = new Demand()
  let changes = 0
  demand.on('change', () => changes++)
  const [first, second] = [demand.open(), demand.open()]
  t.equal(demand.isEmpty, true)
  first.set([range(1, 0), range(2, 3)])
  second.set([range(3, 3), range(4, 2)])
  t.same(demand.ranges().map(range => range.first), [2, 3, 4, 1])
  t.equal(demand.size, 2)
  first.release()
  first.release()
  t.same(demand.ranges().map(range => range.first), [3, 4])
  t.equal(changes, 3)
})
