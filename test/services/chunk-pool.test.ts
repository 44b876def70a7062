import t from 'tap'

import { freeChunk, recycleChunk, takeChunk } from '../../services/chunk-pool.ts'

const MiB = 1024 * 1024

t.test('a chunk is as long as it was asked to be', async t => {
  for (const length of [0, 1, 65536, MiB - 1, MiB]) t.equal(takeChunk(length).length, length)
  t.throws(() => takeChunk(MiB + 1), RangeError)
})

t.test('what was given back is used again, also for a shorter chunk', async t => {
  const first = takeChunk(MiB)
  recycleChunk(first)
  const second = takeChunk(10)
  t.equal(second.buffer, first.buffer)
  t.equal(second.length, 10)
  recycleChunk(second)
  t.equal(takeChunk(MiB).buffer, first.buffer, 'and again, whole')
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
  t.equal(again.filter(({ buffer }) => memories.has(buffer)).length, 16)
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
