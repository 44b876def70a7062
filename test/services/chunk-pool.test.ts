import t from 'tap'

import { beginResponse, chunkBytesNow, freeChunk, recycleChunk, takeChunk } from '../../services/chunk-pool.ts'

const MiB = 1024 * 1024

t.test('a chunk is as long as it was asked to be', async t => {
  for (const length of [0, 1, 65536, MiB - 1, MiB]) t.equal(takeChunk(length).length, length)
  t.throws(() => takeChunk(MiB + 1), RangeError)
})

t.test('what was given back is used again, also for a somewhat shorter chunk', async t => {
  for (const size of [MiB, MiB / 4, MiB / 16]) {
    const first = takeChunk(size)
    recycleChunk(first)
    const second = takeChunk(size - 10)
    t.equal(second.buffer, first.buffer)
    t.equal(second.length, size - 10)
    recycleChunk(second)
    t.equal(takeChunk(size).buffer, first.buffer, 'and again, whole')
  }
})

t.test('a short chunk does not hold a large buffer', async t => {
  recycleChunk(takeChunk(MiB))
  t.equal(takeChunk(65536).buffer.byteLength, 65536)
  t.equal(takeChunk(10).buffer.byteLength, 10)
})

t.test('the more responses there are, the smaller their chunks: all together take what they may', async t => {
  t.equal(chunkBytesNow(), MiB)
  const ends = []
  for (let i = 1; i <= 1200; i++) {
    ends.push(beginResponse())
    if (i <= 10) t.equal(chunkBytesNow(), MiB)
    t.ok(chunkBytesNow() * i <= 76 * MiB)
  }
  t.ok(chunkBytesNow() >= 65536)
  for (const end of ends) {
    end()
    end()
  }
  t.equal(chunkBytesNow(), MiB, 'and as before when they are over')
})

t.test('a part of a chunk stands for the whole', async t => {
  const chunk = takeChunk(MiB)
  recycleChunk(chunk.subarray(5, 10))
  t.equal(takeChunk(MiB).buffer, chunk.buffer)
})

t.test('no two readers ever get the same memory', async t => {
  const chunk = takeChunk(MiB)
  recycleChunk(chunk)
  recycleChunk(chunk)
  t.not(takeChunk(MiB).buffer, takeChunk(MiB).buffer, 'though it was given back twice')
})

t.test('memory that is not from here is left alone', async t => {
  for (const other of [Buffer.alloc(MiB), Buffer.from('small, from the pool of Node'), new Uint8Array(MiB), Buffer.alloc(0), takeChunk(10)]) {
    recycleChunk(other)
    t.not(takeChunk(MiB).buffer, other.buffer)
  }
})

t.test('at most 16 are kept', async t => {
  const chunks = Array.from({ length: 40 }, () => takeChunk(MiB))
  for (const chunk of chunks) recycleChunk(chunk)
  const memories = new Set(chunks.map(({ buffer }) => buffer))
  const again = Array.from({ length: 40 }, () => takeChunk(MiB))
  t.equal(again.filter(({ buffer }) => memories.has(buffer)).length, 16, 'of the largest')
})

t.test('the memory of a chunk that has it alone is freed at once', async t => {
  const chunk = Buffer.from(new ArrayBuffer(MiB))
  const { buffer } = chunk
  freeChunk(chunk)
  t.equal(chunk.length, 0)
  t.equal(buffer.byteLength, 0)
})

t.test('memory that a chunk shares is not freed', async t => {
  const memory = Buffer.from(new ArrayBuffer(1000)).fill(7)
  for (const part of [memory.subarray(1), memory.subarray(0, 999), Buffer.from('small, from the pool of Node'), Buffer.from(new SharedArrayBuffer(10))]) {
    const before = Buffer.from(part)
    freeChunk(part)
    t.same(part, before)
  }
  t.same(memory, Buffer.alloc(1000, 7))
})
