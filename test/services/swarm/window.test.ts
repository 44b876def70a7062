import t from 'tap'
import { urgencies } from '../../../services/pieces/demand.ts'
import { chooseWindow } from '../../../services/swarm/window.ts'

const { waiting, readAhead, background } = urgencies
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
  const window = chooseWindow([[0, 99, background]], 2, none, (piece) => piece === 40 || piece >= 60)
  t.same(window.pieces, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60])
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
