import t from 'tap'
import { fairShares } from '../../../services/cache/window-shares.ts'

const cases: ReadonlyArray<readonly [string, number, ReadonlyArray<readonly [number, number]>, readonly number[]]> = [
  ['nobody', 100, [], []],
  ['one alone gets all that it likes', 100, [[10, 50]], [50]],
  ['and no more than there is', 30, [[10, 50]], [30]],
  ['two alike share', 100, [[10, 90], [10, 90]], [50, 50]],
  ['what one does not like the other gets', 100, [[10, 20], [10, 90]], [20, 80]],
  ['nobody gets less than the least, even if there is not enough', 30, [[20, 90], [20, 90]], [20, 20]],
  ['one whose least is much leaves the rest to the others', 100, [[60, 60], [10, 90], [10, 90]], [60, 20, 20]],
  ['no room at all', -5, [[20, 90]], [20]]
]

for (const [name, room, needs, shares] of cases) {
  t.test(name, async (t) => {
    t.same(fairShares(room, needs.map(([leastBytes, mostBytes]) => ({ leastBytes, mostBytes }))), shares)
  })
}
