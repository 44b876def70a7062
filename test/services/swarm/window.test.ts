import t from 'tap'
import { urgencies } from '../../../services/pieces/demand.ts'
import { chooseWindow as choose } from '../../../services/swarm/window.ts'
import type { Window } from '../../../services/swarm/window.ts'
import type { WantedRange } from '../../../services/swarm/messages.ts'
import { Availability } from '../../../services/swarm/availability.ts'

const { waiting, readAhead, background } = urgencies
type Test = (piece: number) => boolean

function chooseWindow (demand: readonly WantedRange[], limit: number, isVerified: Test, isAvailable: Test): Window {
  return choose(demand, limit, { isVerified, isAvailable, isBegun: () => false, peersWith: (piece) => isAvailable(piece) ? 1 : 0 })
}

const nobodyHas = (): boolean => false
const allHave = (): boolean => true
const none = (): boolean => false

t.test('what readers wait for comes first, the rest in the order of the demand', async (t) => {
  const window = chooseWindow([[8, 9, waiting], [3, 5, readAhead], [0, 20, background]], 100, none, allHave)
  t.same(window.pieces, [8, 9, 3, 4, 5, 0, 1, 2, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20])
  t.same(window.waiting, [8, 9])
})

t.test('pieces that are there are not asked for', async (t) => {
  t.same(chooseWindow([[0, 6, background]], 100, (piece) => piece === 0 || piece === 3, allHave).pieces, [1, 2, 4, 5, 6])
})

t.test('no more pieces are in flight than there is memory for, the most urgent ones', async (t) => {
  const window = chooseWindow([[50, 50, waiting], [0, 99, background]], 3, none, allHave)
  t.same(window.pieces, [50, 0, 1])
  t.ok(window.has(50))
  t.notOk(window.has(2))
})

t.test('no room for a piece -> none is asked for', async (t) => {
  t.same(chooseWindow([[7, 9, waiting]], 0, none, allHave).pieces, [])
})

t.test('pieces that no peer has do not take the place of those that some have', async (t) => {
  t.same(chooseWindow([[0, 99, background]], 2, none, (piece) => piece === 40 || piece >= 60).pieces, [40, 60])
  t.same(chooseWindow([[38, 99, readAhead]], 2, none, (piece) => piece === 40 || piece >= 42).pieces, [38, 39, 40, 41, 42])
})

t.test('with no peer at all everything is wanted, so that the first one is asked at once', async (t) => {
  t.same(chooseWindow([[5, 9, waiting], [0, 99, background]], 1, none, nobodyHas).pieces, [5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99])
})

t.test('of two readers that wait, the first comes first', async (t) => {
  t.same(chooseWindow([[4, 5, waiting], [6, 7, waiting], [2, 3, waiting]], 100, none, allHave).pieces, [4, 5, 6, 7, 2, 3])
})

t.test('no demand -> nothing', async (t) => {
  t.same(chooseWindow([], 10, none, allHave).pieces, [])
})

t.test('in the background what is begun comes first, then what few peers have', async (t) => {
  const peers = [3, 3, 1, 2, 0, 3, 1, 2, 3, 3]
  const rarest = (demand: readonly WantedRange[], limit: number): readonly number[] => choose(demand, limit, {
    isVerified: (piece) => piece === 9,
    isBegun: (piece) => piece === 8,
    isAvailable: (piece) => (peers[piece] ?? 0) > 0,
    peersWith: (piece) => peers[piece] ?? 0
  }).pieces
  t.same(rarest([[0, 9, background]], 100), [8, 2, 6, 3, 7, 0, 1, 5, 4])
  t.same(rarest([[5, 5, waiting], [0, 1, readAhead], [0, 9, background]], 5), [5, 0, 1, 8, 2])
  t.same(rarest([[6, 9, background], [0, 5, background]], 3), [8, 6, 2], 'over all that is wanted')
})

t.test('where all peers have everything, the background is in order', async (t) => {
  t.same(chooseWindow([[5, 9, background], [0, 4, background]], 100, none, allHave).pieces, [5, 6, 7, 8, 9, 0, 1, 2, 3, 4])
})

t.test('peers are counted when some come or go, and else every two seconds', async (t) => {
  let nowMs = 0
  const availability = new Availability(() => nowMs)
  const has = new Set([1, 2])
  const peer = { peerPieces: { get: (piece: number) => has.has(piece) } }
  const all = { peerPieces: { get: () => true } }
  t.same([...availability.of([peer], 4)], [0, 1, 1, 0])
  t.same([...availability.of([peer, all], 4)], [1, 2, 2, 1])
  has.add(0)
  nowMs = 1_900
  t.same([...availability.of([peer, all], 4)], [1, 2, 2, 1])
  nowMs = 2_100
  t.same([...availability.of([peer, all], 4)], [2, 2, 2, 1])
})
