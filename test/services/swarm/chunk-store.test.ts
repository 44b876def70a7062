import { mkdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { Geometry } from '../../../services/pieces/geometry.ts'
import { PieceFiles } from '../../../services/pieces/piece-files.ts'
import type { Layout } from '../../../services/pieces/piece-files.ts'
import { ChunkStore } from '../../../services/swarm/chunk-store.ts'
import { exists, makeTorrent, testBytes } from '../../testnet.ts'

async function open (t: Test, { hasFile = true } = {}): Promise<{ store: ChunkStore, files: PieceFiles, layout: Layout, path: string, bytes: Buffer, log: string[] }> {
  const directory = t.testdir()
  const bytes = testBytes(40_000, 'chunks')
  const torrent = await makeTorrent({ 'a.bin': bytes })
  const path = join(directory, '0.part')
  const edgeDirectory = join(directory, 'edges')
  await mkdir(edgeDirectory)
  if (hasFile) {
    await writeFile(path, '')
    await truncate(path, bytes.length)
  }
  const geometry = new Geometry(torrent.metadata)
  const layout: Layout = { version: 1, edgeDirectory, files: [[0, path]] }
  const files = new PieceFiles(geometry, layout, () => false)
  const log: string[] = []
  const store = new ChunkStore(16_384, {
    openShelf: () => ({
      geometry,
      files,
      onWritten: (piece, version) => { log.push(`written ${piece} under ${version}`) },
      onBlocked: (piece) => { log.push(`blocked ${piece}`) },
      offer: async () => { log.push('offered') }
    })
  })
  t.teardown(async () => { await new Promise(resolve => { store.close(resolve) }) })
  return { store, files, layout, path, bytes, log }
}

t.test('a piece is in the file before anybody is told', async (t) => {
  const { store, path, bytes, log } = await open(t)
  await new Promise<void>(resolve => {
    store.put(1, bytes.subarray(16_384, 32_768), () => {
      log.push('done')
      resolve()
    })
  })
  t.same((await readFile(path)).subarray(16_384, 32_768), bytes.subarray(16_384, 32_768))
  t.same(log, ['done', 'written 1 under 1'])
})

t.test('a file that is missing -> no error: the piece waits, says so, and is written when it can be', async (t) => {
  const { store, files, layout, path, bytes, log } = await open(t, { hasFile: false })
  const done = new Promise<void>(resolve => { store.put(0, bytes.subarray(0, 16_384), () => { resolve() }) })
  while (log.length === 0) await new Promise(resolve => setImmediate(resolve))
  t.equal(log[0], 'blocked 0')
  const moved = `${path}.moved`
  await writeFile(moved, '')
  await truncate(moved, bytes.length)
  files.setLayout({ ...layout, version: 2, files: [[0, moved]] })
  store.retry()
  await done
  t.equal(log.at(-1), 'written 0 under 2')
  t.same((await readFile(moved)).subarray(0, 16_384), bytes.subarray(0, 16_384))
})

t.test('closed while a piece waits -> it is given up, and its put never calls back', async (t) => {
  const { store, path, bytes, log } = await open(t, { hasFile: false })
  store.put(0, bytes.subarray(0, 16_384), () => { t.fail('nothing was written') })
  while (log.length === 0) await new Promise(resolve => setImmediate(resolve))
  await new Promise(resolve => { store.close(resolve) })
  store.retry()
  await new Promise(resolve => setImmediate(resolve))
  t.same(log, ['blocked 0', 'offered'])
  t.notOk(await exists(path), 'no data file was made')
})

t.test('a peer gets the part of a piece that it asked for', async (t) => {
  const { store, path, bytes } = await open(t)
  await writeFile(path, bytes)
  const get = async (index: number, options: { offset?: number, length?: number } | null): Promise<Uint8Array> =>
    await new Promise((resolve, reject) => {
      store.get(index, options, (error, found) => {
        if (found === undefined) reject(error)
        else resolve(found)
      })
    })
  t.same(await get(1, { offset: 100, length: 200 }), bytes.subarray(16_484, 16_684))
  t.same(await get(2, null), bytes.subarray(32_768), 'the last piece is shorter')
  for (const [index, offset, length] of [[3, 0, 1], [-1, 0, 1], [0, 16_384, 1], [0, -1, 5], [2, 0, 16_384], [0, 0, -1]] as const) {
    await t.rejects(get(index, { offset, length }), `${length} bytes of piece ${index} from ${offset} on are refused`)
  }
})

t.test('destroyed -> the server\'s files stay', async (t) => {
  const { store, path } = await open(t)
  await new Promise(resolve => { store.destroy(resolve) })
  t.ok(await exists(path))
  await rm(path)
})

/** A store on a disk that is full. `answer` says whether the server takes what it is offered. */
async function openOnFullDisk (t: Test, answer: () => boolean): Promise<{ store: ChunkStore, log: string[], piece: Buffer }> {
  const bytes = testBytes(40_000, 'full')
  const { metadata } = await makeTorrent({ 'a.bin': bytes })
  const geometry = new Geometry(metadata)
  const files = new PieceFiles(geometry, { version: 1, edgeDirectory: t.testdir(), files: [] }, () => false)
  files.writePiece = async () => { throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' }) }
  const log: string[] = []
  const store = new ChunkStore(16_384, {
    openShelf: () => ({
      geometry,
      files,
      onWritten: () => { log.push('written') },
      onBlocked: () => { log.push('blocked') },
      offer: async (piece, offered, onTaken) => {
        log.push(`offered ${piece}: ${Buffer.compare(offered, bytes.subarray(0, 16_384)) === 0 ? 'its bytes' : 'other bytes'}`)
        if (answer()) onTaken()
      }
    })
  })
  t.teardown(async () => { await new Promise(resolve => { store.close(resolve) }) })
  return { store, log, piece: bytes.subarray(0, 16_384) }
}

t.test('a full disk -> the server is offered the bytes, and once it has them the piece is done', async (t) => {
  const { store, log, piece } = await openOnFullDisk(t, () => true)
  await new Promise<void>(resolve => { store.put(0, piece, () => { resolve() }) })
  t.same(log, ['blocked', 'offered 0: its bytes'], 'it was written nowhere')
  t.equal(store.waiting.size, 0)
})

t.test('a full disk, and a server that has no room either -> the piece waits, and is offered again', async (t) => {
  let offers = 0
  const { store, log, piece } = await openOnFullDisk(t, () => ++offers === 3)
  await new Promise<void>(resolve => {
    store.put(0, piece, () => { resolve() })
    t.same([...store.waiting], [0], 'meanwhile it is in memory')
    const nudge = setInterval(() => { store.retry() }, 10)
    t.teardown(() => { clearInterval(nudge) })
  })
  t.equal(log.filter((line) => line.startsWith('offered')).length, 3)
})
