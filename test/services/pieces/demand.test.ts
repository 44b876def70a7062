import t from 'tap'
import { Demand, urgencies } from '../../../services/pieces/demand.ts'
import { Geometry } from '../../../services/pieces/geometry.ts'
import { makeTorrent } from './torrent.ts'

const { metadata } = makeTorrent(10, [200])
const geometry = new Geometry(metadata)
const range = (first: number, last: number, urgency: 0 | 1 | 2 | 3) => ({ first: geometry.piece(first), last: geometry.piece(last), urgency })

t.test('what is asked for is cut around pieces that need not be fetched', async t => {
  const demand = new Demand()
  demand.open().set([range(0, 9, urgencies.background)])
  demand.open().set([range(4, 4, urgencies.waiting), range(5, 7, urgencies.readAhead)])
  const without = (...pieces: number[]) => demand.rangesWithout(piece => pieces.includes(piece))
  t.same(without(), [[4, 4, 3], [5, 7, 2], [0, 9, 0]])
  t.same(without(4, 6), [[5, 5, 2], [7, 7, 2], [0, 3, 0], [5, 5, 0], [7, 9, 0]])
  t.same(without(0, 1, 9, 10), [[4, 4, 3], [5, 7, 2], [2, 8, 0]])
  t.same(demand.rangesWithout(() => true), [])
})
