import t from 'tap'
import { PieceAssembly } from '../../../services/download/piece-assembly.ts'
import { uncovered } from '../../../services/download/spans.ts'
import { noise } from './origin.ts'

const bytes = noise(1000)
const put = (assembly: PieceAssembly<string>, start: number, end: number, sender: string): void => { assembly.put(5000 + start, bytes.subarray(start, end), sender) }

t.test('a piece is put together in any order, and knows who brought what', async (t) => {
  const assembly = new PieceAssembly<string>({ start: 5000, end: 6000 })
  t.equal(assembly.isEmpty, true)
  put(assembly, 500, 700, 'b')
  put(assembly, 0, 100, 'a')
  put(assembly, 100, 300, 'a')
  put(assembly, 700, 1000, 'b')
  t.equal(assembly.isWhole, false)
  put(assembly, 300, 500, 'b')
  t.equal(assembly.isWhole, true)
  t.ok(assembly.bytes.equals(bytes))
  t.strictSame([...assembly.senders].sort(), ['a', 'b'])
  t.strictSame(assembly.parts.filter(({ sender }) => sender === 'a'), [{ start: 5000, end: 5300, sender: 'a' }])
})

t.test('what has come once is not overwritten', async (t) => {
  const assembly = new PieceAssembly<string>({ start: 5000, end: 6000 })
  put(assembly, 200, 400, 'a')
  assembly.put(5000, Buffer.alloc(1000, 'x'), 'liar')
  t.ok(assembly.bytes.subarray(200, 400).equals(bytes.subarray(200, 400)))
  assembly.forget('liar')
  t.equal(assembly.isWhole, false)
  put(assembly, 0, 1000, 'b')
  t.ok(assembly.bytes.equals(bytes))
})

t.test('any order of overlapping parts of three senders gives the piece', async (t) => {
  const numbers = noise(4000, 'order')
  for (let round = 0; round < 50; round++) {
    const assembly = new PieceAssembly<string>({ start: 5000, end: 6000 })
    for (let i = 0; !assembly.isWhole && i < 1000; i++) {
      const start = numbers.readUInt16BE((round * 80 + i * 2) % 3998) % 1000
      put(assembly, start, Math.min(1000, start + 150), 'abc'[i % 3] ?? '')
    }
    if (!assembly.isWhole) put(assembly, 0, 1000, 'rest')
    if (!assembly.bytes.equals(bytes)) t.fail(`round ${round}`)
    for (const [i, part] of assembly.parts.entries()) if (part.start !== (assembly.parts[i - 1]?.end ?? 5000)) t.fail(`round ${round} part ${i}`)
  }
})

t.test('what is left of a span', async (t) => {
  t.strictSame(uncovered({ start: 10, end: 20 }, []), [{ start: 10, end: 20 }])
  t.strictSame(uncovered({ start: 10, end: 20 }, [{ start: 0, end: 30 }]), [])
  t.strictSame(uncovered({ start: 10, end: 20 }, [{ start: 18, end: 25 }, { start: 5, end: 12 }, { start: 11, end: 13 }]), [{ start: 13, end: 18 }])
  t.strictSame(uncovered({ start: 10, end: 20 }, [{ start: 20, end: 25 }, { start: 5, end: 10 }]), [{ start: 10, end: 20 }])
})
