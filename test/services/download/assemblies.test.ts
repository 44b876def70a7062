import t from 'tap'
import { Assemblies } from '../../../services/download/assemblies.ts'
import { PieceMemory } from '../../../services/download/piece-memory.ts'
import { Geometry } from '../../../services/pieces/geometry.ts'
import { makeTorrent } from './origin.ts'
import type { PieceIndex } from '../../../services/pieces/geometry.ts'

const pieceLength = 16 * 1024
/** Six pieces, the last of them shorter. */
const geometry = new Geometry(makeTorrent({ name: 'film.mp4', content: Buffer.alloc(5 * pieceLength + 100), pieceLength }).metadata)
const first = geometry.piece(0)
const second = geometry.piece(1)
const third = geometry.piece(2)
const fourth = geometry.piece(3)
const last = geometry.piece(5)

function open (memory = new PieceMemory(10 * pieceLength)): Assemblies<string> {
  return new Assemblies(geometry, memory, () => {})
}

/** Where the bytes of a piece that was opened lie. */
function memoryOf (assemblies: Assemblies<string>, piece: PieceIndex): ArrayBufferLike | undefined {
  return assemblies.get(piece)?.bytes.buffer
}

t.test('the memory of a closed piece goes to the next one, and to that only', async (t) => {
  const assemblies = open()
  for (const piece of [first, second]) assemblies.open(piece)
  const memory = memoryOf(assemblies, first)
  t.not(memoryOf(assemblies, second), memory)
  assemblies.close(first)
  for (const piece of [third, fourth]) assemblies.open(piece)
  t.equal(memoryOf(assemblies, third), memory)
  t.not(memoryOf(assemblies, fourth), memory)
  t.equal(assemblies.get(third)?.isEmpty, true, 'nothing of the old piece counts')
})

t.test('a piece that takes over another has its memory', async (t) => {
  const assemblies = open()
  assemblies.open(first)
  const memory = memoryOf(assemblies, first)
  assemblies.replace(first, second)
  t.equal(assemblies.get(first), undefined)
  t.equal(memoryOf(assemblies, second), memory)
})

t.test('memory of another length is of no use', async (t) => {
  const assemblies = open()
  for (const piece of [first, second]) assemblies.open(piece)
  const memory = memoryOf(assemblies, first)
  assemblies.close(first)
  assemblies.open(last)
  t.not(memoryOf(assemblies, last), memory)
  t.equal(assemblies.get(last)?.bytes.length, 100)
})

t.test('a download that rests holds no memory', async (t) => {
  const memory = new PieceMemory(pieceLength)
  const assemblies = open(memory)
  assemblies.open(first)
  const before = memoryOf(assemblies, first)
  assemblies.close(first)
  assemblies.open(second)
  t.not(memoryOf(assemblies, second), before)
  assemblies.clear()
  t.equal(memory.take(pieceLength, () => {}), true)
})
