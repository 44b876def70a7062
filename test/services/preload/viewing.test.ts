import t from 'tap'
import { counted, Viewings } from '../../../services/preload/viewing.ts'

const length = 1_000_000_000
const MB = 1_000_000

/** Reads these ranges in chunks of a megabyte, and gives how often it was told that the file is nearly over. */
function toldAfter (ranges: ReadonlyArray<readonly [start: number, end: number]>, lengthBytes = length): number {
  const viewings = new Viewings()
  let told = 0
  for (const [start, end] of ranges) {
    const viewing = viewings.begin('film', lengthBytes, () => { told++ })
    for (let position = start; position < end; position += MB) viewing.read(position, Math.min(MB, end - position))
  }
  return told
}

t.test('a file that is read through is nearly over at 90 %, once', (t) => {
  t.equal(toldAfter([[0, 899 * MB]]), 0)
  t.equal(toldAfter([[0, 901 * MB]]), 1)
  t.equal(toldAfter([[0, length], [0, length]]), 1)
  t.equal(toldAfter([[0, 300 * MB], [300 * MB, 700 * MB], [700 * MB, 850 * MB], [850 * MB, 905 * MB]]), 1, 'in several requests')
  t.equal(toldAfter([[500 * MB, 905 * MB]]), 1, 'by somebody who came in at the middle')
  t.end()
})

t.test('who only looks at the end does not near it', (t) => {
  t.equal(toldAfter([[0, 2 * MB], [995 * MB, length]]), 0, 'the index')
  t.equal(toldAfter([[0, 2 * MB], ...Array.from({ length: 100 }, () => [990 * MB, length] as const)]), 0, 'again and again')
  t.equal(toldAfter([[895 * MB, 950 * MB]]), 0)
  t.equal(toldAfter([[895 * MB, length]]), 1, 'who reads on to the end does')
  t.end()
})

t.test('small and empty files', (t) => {
  t.equal(toldAfter([[0, 1]], 1), 1)
  t.equal(toldAfter([], 0), 0)
  t.equal(toldAfter([[0, 100]], 100), 1)
  t.end()
})

t.test('chunks come through as they are, and who leaves is not kept waiting', async (t) => {
  const positions: number[] = []
  let isReturned = false
  const chunks = {
    [Symbol.asyncIterator] () {
      let i = 0
      return {
        next: async () => i++ < 2 ? { done: false as const, value: Buffer.from('abc') } : await new Promise<never>(() => {}),
        return: async () => {
          isReturned = true
          return { done: true as const, value: undefined }
        }
      }
    }
  }
  const iterator = counted(chunks, 10, { read: (position, bytes) => { positions.push(position, bytes) } })[Symbol.asyncIterator]()
  t.equal(String((await iterator.next()).value), 'abc')
  await iterator.next()
  t.same(positions, [10, 3, 13, 3])
  iterator.next().catch(() => {})
  await iterator.return?.()
  t.ok(isReturned, 'although a chunk was being waited for')
})
