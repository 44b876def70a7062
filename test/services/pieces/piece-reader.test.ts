import { getEventListeners } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { Demand, urgencies } from '../../../services/pieces/demand.ts'
import type { PieceIndex } from '../../../services/pieces/geometry.ts'
import { readPieces } from '../../../services/pieces/piece-reader.ts'
import { PieceStore } from '../../../services/pieces/piece-store.ts'
import type { MadeTorrent } from './torrent.ts'
import { makeTorrent, ownDirectory, randomTorrent, seededRandom, shuffled } from './torrent.ts'

async function openStore (t: Test, torrent: MadeTorrent, directory = ownDirectory(t)) {
  const store = await PieceStore.open({ metadata: torrent.metadata, directory })
  t.teardown(() => store.close())
  return store
}

async function fill (store: PieceStore, torrent: MadeTorrent, pieces: Iterable<number>): Promise<void> {
  for (const index of pieces) await store.write(store.geometry.piece(index), torrent.pieceBytes(index))
}

function all (store: PieceStore): number[] {
  return Array.from({ length: store.geometry.pieceCount }, (_, index) => index)
}

/** A filler that brings what is waited for, and nothing else. */
function fillOnDemand (store: PieceStore, torrent: MadeTorrent, demand: Demand): PieceIndex[] {
  const brought: PieceIndex[] = []
  demand.on('change', () => {
    const next = demand.ranges()[0]
    if (next === undefined || next.urgency !== urgencies.waiting || store.has(next.first) || brought.includes(next.first)) return
    brought.push(next.first)
    store.write(next.first, torrent.pieceBytes(next.first)).catch(t.threw)
  })
  return brought
}

async function collect (chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const chunk of chunks) parts.push(chunk)
  return Buffer.concat(parts)
}

const quiet = () => new AbortController().signal

t.test('the bytes of every range are right while pieces come in any order', async t => {
  const seed = Date.now() % 1e6
  t.comment(`seed ${seed}`)
  const directory = ownDirectory(t)
  for (let round = 0; round < 8; round++) {
    const random = seededRandom(seed + round)
    const torrent = randomTorrent(random)
    const store = await openStore(t, torrent, `${directory}/${round}`)
    const files = torrent.metadata.files.filter(file => !file.isPadding && file.lengthBytes > 0)
    const demand = new Demand()
    const reads = Array.from({ length: 12 }, async () => {
      const file = files[random(files.length)]
      if (file === undefined) return
      const start = random(file.lengthBytes)
      const end = start + random(file.lengthBytes - start)
      const bytes = await collect(readPieces(store, file.index, { start, end }, { want: demand.open(), signal: quiet(), progress: () => 0 }))
      if (!bytes.equals(torrent.bytesOf(file.index).subarray(start, end + 1))) t.fail(`seed ${seed + round}: ${start}-${end} of file ${file.index}`)
    })
    await fill(store, torrent, shuffled(all(store), random))
    await Promise.all(reads)
    t.equal(demand.size, 0)
    t.equal(store.counters().waiters, 0)
    await store.close()
  }
})

t.test('verified pieces are read together, up to 1 MiB at a time, and never one that is not', async t => {
  const torrent = makeTorrent(16 << 10, [3 << 20])
  const store = await openStore(t, torrent)
  await store.want(0)
  await fill(store, torrent, all(store).filter(index => index !== 100))
  const demand = new Demand()
  const missing = fillOnDemand(store, torrent, demand)
  const lengths: number[] = []
  for await (const chunk of readPieces(store, 0, { start: 1000, end: (3 << 20) - 1 }, { want: demand.open(), signal: quiet(), progress: () => 0 })) lengths.push(chunk.length)
  t.same(missing, [100])
  t.same(lengths, [1 << 20, 100 * (16 << 10) - (1 << 20) - 1000, 1 << 20, (3 << 20) - (1 << 20) - 100 * (16 << 10)])
})

t.test('a filler that only brings what is waited for is enough', async t => {
  const torrent = makeTorrent(10_000, [5, 300_000, 77_777])
  const store = await openStore(t, torrent)
  const demand = new Demand()
  const brought = fillOnDemand(store, torrent, demand)
  const bytes = await collect(readPieces(store, 1, { start: 0, end: 299_999 }, { want: demand.open(), signal: quiet(), progress: () => 0 }))
  t.ok(bytes.equals(torrent.bytesOf(1)))
  t.same(brought, Array.from({ length: 31 }, (_, index) => index), 'in their order')
  t.equal(demand.isEmpty, true)
})

t.test('a piece that does not come is a stall', async t => {
  const torrent = makeTorrent(100, [300])
  const store = await openStore(t, torrent)
  const demand = new Demand()
  await store.want(0)
  await fill(store, torrent, [0])
  const chunks = readPieces(store, 0, { start: 50, end: 299 }, { want: demand.open(), signal: quiet(), progress: () => 0, stallTimeoutMs: 200 })
  t.same((await chunks.next()).value, torrent.content.subarray(50, 100), 'what is there is delivered before')
  t.equal(demand.size, 1)
  await t.rejects(chunks.next(), { code: 'STALLED', message: 'waiting for piece 1: 0 bytes came within 200 ms' })
  t.equal(demand.size, 0)
  t.same(store.counters().waiters, 0)
  t.same(await chunks.next(), { done: true, value: undefined })
})

t.test('bytes that come are no stall, verified or not', async t => {
  const torrent = makeTorrent(1 << 20, [1 << 20])
  const store = await openStore(t, torrent)
  let received = 0
  const { promise: isSlow, resolve } = Promise.withResolvers<void>()
  const timer = setInterval(() => {
    received += 64 << 10
    if (received === 30 * (64 << 10)) resolve()
  }, 20)
  t.teardown(() => clearInterval(timer))
  const demand = new Demand()
  const reading = collect(readPieces(store, 0, { start: 0, end: 9 }, { want: demand.open(), signal: quiet(), progress: () => received, stallTimeoutMs: 200 }))
  await isSlow
  await fill(store, torrent, [0])
  t.same(await reading, torrent.content.subarray(0, 10))
})

t.test('a client that takes its time is no stall', async t => {
  const torrent = makeTorrent(100, [400])
  const store = await openStore(t, torrent)
  const demand = new Demand()
  fillOnDemand(store, torrent, demand)
  const parts: Buffer[] = []
  for await (const chunk of readPieces(store, 0, { start: 0, end: 399 }, { want: demand.open(), signal: quiet(), progress: () => 0, stallTimeoutMs: 80 })) {
    parts.push(chunk)
    await pause(200)
  }
  t.same(Buffer.concat(parts), torrent.content)
})

t.test('a client that leaves takes its demand with it at once, wherever the reader is', async t => {
  const torrent = makeTorrent(100, [400])
  const store = await openStore(t, torrent)
  await store.want(0)
  await fill(store, torrent, [0])
  const demand = new Demand()
  const read = (signal: AbortSignal, start = 0) => readPieces(store, 0, { start, end: 399 }, { want: demand.open(), signal, progress: () => 0 })

  const waiting = new AbortController()
  const next = read(waiting.signal, 100).next()
  while (store.counters().waiters === 0) await pause(1)
  t.equal(demand.size, 1)
  waiting.abort(new Error('left'))
  t.equal(demand.size, 0, 'while it waits for a piece')
  t.equal(store.counters().waiters, 0)
  await t.rejects(next, { message: 'left' })
  t.same(getEventListeners(waiting.signal, 'abort'), [])

  const holding = new AbortController()
  const chunks = read(holding.signal)
  await chunks.next()
  t.equal(demand.size, 1)
  holding.abort(new Error('left'))
  t.equal(demand.size, 0, 'while the client holds a chunk and never asks again')
  await t.rejects(chunks.next(), { message: 'left' })

  const returned = read(quiet())
  await returned.next()
  await returned.return()
  t.equal(demand.size, 0, 'when the consumer stops in the middle')

  const early = new AbortController()
  early.abort(new Error('left'))
  await t.rejects(read(early.signal).next(), { message: 'left' }, 'before it began')

  const closing = read(quiet(), 100).next()
  while (store.counters().waiters === 0) await pause(1)
  await Promise.all([t.rejects(closing, { code: 'STORE_CLOSED' }), store.close()])
  t.equal(demand.size, 0, 'when the store is closed')
})

t.test('1,000 ranges that are opened and left leave nothing behind', async t => {
  const torrent = makeTorrent(100, [10_000])
  const store = await openStore(t, torrent)
  await store.want(0)
  await fill(store, torrent, [0, 50])
  const demand = new Demand()
  const client = new AbortController()
  const before = store.counters()
  const outcomes = await Promise.allSettled(Array.from({ length: 1000 }, async (_, i) => {
    const stop = new AbortController()
    const signal = i % 3 === 0 ? client.signal : stop.signal
    const reading = collect(readPieces(store, 0, { start: (i * 37) % 9000, end: 9999 }, { want: demand.open(), signal, progress: () => 0 }))
    if (i === 999) setTimeout(() => client.abort(), 20)
    setTimeout(() => stop.abort(), i % 20)
    await reading
  }))
  t.ok(outcomes.every(outcome => outcome.status === 'rejected' && outcome.reason.name === 'AbortError'))
  t.equal(demand.size, 0)
  t.same({ ...store.counters(), dirtyPieces: 0 }, { ...before, dirtyPieces: 0 })
  t.same(getEventListeners(client.signal, 'abort'), [])
  t.same(store.eventNames(), [])
})

t.test('a range that is not inside the file is refused, and so is a file that is none', async t => {
  const torrent = makeTorrent(100, [300, { padding: 100 }, 0])
  const store = await openStore(t, torrent)
  const demand = new Demand()
  const first = (fileIndex: number, start: number, end: number) =>
    readPieces(store, fileIndex, { start, end }, { want: demand.open(), signal: quiet(), progress: () => 0 }).next()
  await t.rejects(first(0, 0, 300), RangeError)
  await t.rejects(first(0, -1, 3), RangeError)
  await t.rejects(first(0, 2, 1), RangeError)
  await t.rejects(first(2, 0, 0), RangeError, 'an empty file')
  await t.rejects(first(1, 0, 0), { code: 'FILE_INDEX' }, 'padding')
  await t.rejects(first(9, 0, 0), RangeError)
  t.equal(demand.size, 0)
})
