import t from 'tap'
import { Disputes } from '../../../services/download/disputes.ts'
import { PieceAssembly } from '../../../services/download/piece-assembly.ts'
import { Geometry } from '../../../services/pieces/geometry.ts'
import { makeTorrent, noise } from './origin.ts'

const content = noise(204_800)
const geometry = new Geometry(makeTorrent({ name: 'film.mp4', content, pieceLength: 1024 }).metadata)
const wrong = Buffer.alloc(1000, 'x')

function assemble (parts: Array<[sender: string, start: number, end: number, isLie: boolean]>): PieceAssembly<string> {
  const assembly = new PieceAssembly<string>({ start: 3000, end: 4000 })
  for (const [sender, start, end, isLie] of parts) assembly.put(3000 + start, isLie ? wrong.subarray(start, end) : content.subarray(3000 + start, 3000 + end), sender)
  return assembly
}

t.test('the right bytes tell who lied, and how much', async (t) => {
  const disputes = new Disputes<string>()
  const piece = geometry.piece(3)
  t.equal(disputes.open(piece, assemble([['a', 0, 400, false], ['b', 400, 500, true], ['c', 500, 700, false], ['b', 700, 1000, true]])), true)
  t.equal(disputes.has(piece), true)
  t.strictSame([...disputes.suspectsOf(piece)].sort(), ['a', 'b', 'c'])
  t.strictSame([...disputes.settle(piece, content.subarray(3000, 4000), 3000)], [['b', 400]])
  t.equal(disputes.has(piece), false)
  t.equal(disputes.settle(piece, content.subarray(3000, 4000), 3000).size, 0)
})

t.test('several may have lied, at several times', async (t) => {
  const disputes = new Disputes<string>()
  const piece = geometry.piece(3)
  disputes.open(piece, assemble([['a', 0, 500, true], ['b', 500, 1000, false]]))
  disputes.open(piece, assemble([['a', 0, 500, false], ['c', 500, 1000, true]]))
  t.strictSame([...disputes.settle(piece, content.subarray(3000, 4000), 3000)].sort(), [['a', 500], ['c', 500]])
})

t.test('a dispute that never ends is given up, and so is the oldest of too many', async (t) => {
  const disputes = new Disputes<string>()
  const assembly = assemble([['a', 0, 500, true], ['b', 500, 1000, false]])
  t.strictSame([1, 2, 3, 4].map(() => disputes.open(geometry.piece(3), assembly)), [true, true, true, false])
  for (let i = 0; i < 100; i++) disputes.open(geometry.piece(i), assembly)
  t.equal(disputes.has(geometry.piece(35)), false)
  t.equal(disputes.has(geometry.piece(36)), true)
})
