import t from 'tap'
import { urgencies } from '../../../services/pieces/demand.ts'
import { chooseWindow } from '../../../services/swarm/window.ts'

const { waiting, readAhead, background } = urgencies
const nobodyHas = (): boolean => false
const allHave = (): boolean => true
const none = (): boolean => false

t.test('what readers wait for comes first, the rest in the order of the demand', async (t) => {
  const window = chooseWindow([[8, 9, waiting], [3, 5, readAhead], [0, 20, background]], 100, none, allHave)
  t.same(window.ranges, [[8, 9], [3, 5], [0, 2], [6, 7], [10, 20]])
  t.same(window.waiting, [8, 9])
})

t.test('pieces that are there are not asked for', async (t) => {
  t.same(chooseWindow([[0, 6, background]], 100, (piece) => piece === 0 || piece === 3, allHave).ranges, [[1, 2], [4, 6]])
})

t.test('no more pieces are in flight than there is memory for, the most urgent ones', async (t) => {
  const window = chooseWindow([[50, 50, waiting], [0, 99, background]], 3, none, allHave)
  t.same(window.ranges, [[50, 50], [0, 1]])
  t.ok(window.has(50))
  t.notOk(window.has(2))
})

t.test('no room for a piece -> none is asked for', async (t) => {
  t.same(chooseWindow([[7, 9, waiting]], 0, none, allHave).ranges, [])
})

t.test('pieces that no peer has do not take the place of those that some have', async (t) => {
  const window = chooseWindow([[0, 99, background]], 2, none, (piece) => piece === 40 || piece >= 60)
  t.same(window.ranges, [[0, 60]])
})

t.test('with no peer at all everything is wanted, so that the first one is asked at once', async (t) => {
  t.same(chooseWindow([[5, 9, waiting], [0, 99, background]], 1, none, nobodyHas).ranges, [[5, 9], [0, 4], [10, 99]])
})

t.test('ranges of two readers that touch are not joined: the order would be lost', async (t) => {
  t.same(chooseWindow([[4, 5, waiting], [6, 7, waiting], [2, 3, waiting]], 100, none, allHave).ranges, [[4, 5], [6, 7], [2, 3]])
})

t.test('no demand -> nothing', async (t) => {
  t.same(chooseWindow([], 10, none, allHave).ranges, [])
})
