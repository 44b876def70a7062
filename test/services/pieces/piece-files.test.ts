import { mkdir, readdir, readFile, rename, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { CodedError } from '../../../services/errors.ts'
import { Geometry } from '../../../services/pieces/geometry.ts'
import type { Layout } from '../../../services/pieces/piece-files.ts'
import { PieceFiles } from '../../../services/pieces/piece-files.ts'
import type { MadeTorrent } from './torrent.ts'
import { makeTorrent, ownDirectory, seededRandom, shuffled } from './torrent.ts'

/** Empty files of full length for the wanted ones, and their layout. */
async function layOut (directory: string, torrent: MadeTorrent, wanted: readonly number[], version = 1): Promise<Layout> {
  const edgeDirectory = join(directory, 'edges')
  await mkdir(edgeDirectory, { recursive: true })
  const files: Array<[number, string]> = []
  for (const index of wanted) {
    const path = join(directory, `${index}.part`)
    await writeFile(path, '', { flag: 'a' })
    await truncate(path, torrent.bytesOf(index).length)
    files.push([index, path])
  }
  return { version, edgeDirectory, files }
}

function open (t: Test, torrent: MadeTorrent, layout: Layout, openFiles = 64) {
  const geometry = new Geometry(torrent.metadata)
  const files = new PieceFiles(geometry, layout, index => torrent.metadata.files[index]?.isPadding === true, { openFiles })
  t.teardown(() => files.close())
  return { geometry, files }
}

t.test('pieces written in any order come back, by piece and by file', async t => {
  const torrent = makeTorrent(100, [250, 0, { padding: 50 }, 120, 30, 0, 301])
  const { geometry, files } = open(t, torrent, await layOut(ownDirectory(t), torrent, [0, 3, 4, 6]))
  const pieces = Array.from({ length: geometry.pieceCount }, (_, index) => geometry.piece(index))
  await Promise.all(shuffled(pieces, seededRandom(1)).map(async piece => {
    t.equal(await files.writePiece(piece, torrent.pieceBytes(piece)), 1, 'the version it was written under')
  }))
  for (const piece of pieces) {
    t.same(await files.readPiece(piece, 0, geometry.lengthOf(piece)), torrent.pieceBytes(piece))
    t.same(await files.readPiece(piece, 13, 30), torrent.pieceBytes(piece).subarray(13, 43))
  }
  for (const index of [0, 2, 3, 4, 6]) {
    t.same(await files.readFile(index, 0, torrent.bytesOf(index).length), torrent.bytesOf(index))
  }
  t.same(await files.readFile(0, 99, 3), torrent.bytesOf(0).subarray(99, 102))
  t.same(await files.readFile(1, 0, 0), Buffer.alloc(0))
  t.same(await readdir(files.layout.edgeDirectory), [], 'padding and empty files make no edges')
})

t.test('a piece that touches an unwanted file lives whole in an edge file too', async t => {
  const torrent = makeTorrent(100, [150, 100, 150])
  const { geometry, files } = open(t, torrent, await layOut(ownDirectory(t), torrent, [0]))
  for (const index of [0, 1, 3]) await files.writePiece(geometry.piece(index), torrent.pieceBytes(index))
  t.same((await readdir(files.layout.edgeDirectory)).sort(), ['1', '3'])
  t.same(await readFile(join(files.layout.edgeDirectory, '1')), torrent.pieceBytes(1))
  t.same(await files.readFile(0, 0, 150), torrent.bytesOf(0))
  t.same(await files.readPiece(geometry.piece(1), 20, 70), torrent.pieceBytes(1).subarray(20, 90))
  t.same(await files.readPiece(geometry.piece(3), 0, 100), torrent.pieceBytes(3))
  await t.rejects(files.readPiece(geometry.piece(2), 0, 100), { code: 'STORE_FAILED' }, 'an edge file that is not there')
  await t.rejects(files.readFile(1, 0, 1), { code: 'STORE_FAILED' }, 'a file that is not wanted')
})

t.test('a layout that moved a file is followed, one that is stale fails without creating anything', async t => {
  const torrent = makeTorrent(100, [300])
  const directory = ownDirectory(t)
  const layout = await layOut(directory, torrent, [0])
  const { geometry, files } = open(t, torrent, layout)
  const stale = open(t, torrent, layout).files
  await files.writePiece(geometry.piece(0), torrent.pieceBytes(0))
  await files.whileOpen(0, async () => {
    await rename(join(directory, '0.part'), join(directory, 'moved'))
    t.same(await files.readFile(0, 0, 100), torrent.pieceBytes(0), 'while it is being renamed')
    files.setLayout({ ...layout, version: 2, files: [[0, join(directory, 'moved')]] })
    files.setLayout({ ...layout, version: 1 })
  })
  t.equal(await files.writePiece(geometry.piece(1), torrent.pieceBytes(1)), 2)
  t.same(await files.readFile(0, 0, 200), torrent.content.subarray(0, 200))
  await t.rejects(stale.writePiece(geometry.piece(2), torrent.pieceBytes(2)), { code: 'STORE_FAILED', cause: { code: 'ENOENT' } })
  t.same((await readdir(directory)).sort(), ['edges', 'moved'])
})

t.test('a piece that a promoted file shares is written beside it, not into it', async t => {
  const torrent = makeTorrent(100, [150, 100, 150])
  const directory = ownDirectory(t)
  const layout = await layOut(join(directory, 'store'), torrent, [1])
  const promoted = join(directory, 'stored.mp4')
  await writeFile(promoted, torrent.bytesOf(0))
  await utimes(promoted, 1000, 1000)
  const { geometry, files } = open(t, torrent, { ...layout, files: [[0, promoted], ...layout.files] })
  for (const index of [1, 2]) await files.writePiece(geometry.piece(index), torrent.pieceBytes(index))
  await files.sync()
  t.equal((await stat(promoted)).mtimeMs, 1_000_000)
  t.same(await files.readPiece(geometry.piece(1), 0, 100), torrent.pieceBytes(1))
  t.same(await files.readFile(1, 0, 100), torrent.bytesOf(1))
})

t.test('who waits for a free handle finds the file where it is by then', async t => {
  const torrent = makeTorrent(100, [100, 150, 50])
  const directory = ownDirectory(t)
  const layout = await layOut(directory, torrent, [0, 1])
  const { geometry, files } = open(t, torrent, layout, 1)
  for (const index of [0, 1, 2]) await files.writePiece(geometry.piece(index), torrent.pieceBytes(index))
  const { promise: isFree, resolve: free } = Promise.withResolvers<void>()
  const holding = files.whileOpen(0, () => isFree)
  const reading = files.readFile(1, 0, 150)
  const readingEdge = files.readPiece(geometry.piece(2), 0, 100)
  await layOut(directory, torrent, [2])
  await writeFile(join(directory, '2.part'), torrent.bytesOf(2))
  await rename(join(directory, '1.part'), join(directory, 'moved'))
  await rm(join(layout.edgeDirectory, '2'))
  files.setLayout({ ...layout, version: 2, files: [[0, join(directory, '0.part')], [1, join(directory, 'moved')], [2, join(directory, '2.part')]] })
  free()
  await holding
  t.same(await reading, torrent.bytesOf(1))
  t.same(await readingEdge, torrent.pieceBytes(2))
})

t.test('a file that is shorter than it should be is an error and not a short answer', async t => {
  const torrent = makeTorrent(100, [300])
  const directory = ownDirectory(t)
  const { geometry, files } = open(t, torrent, await layOut(directory, torrent, [0]))
  await truncate(join(directory, '0.part'), 120)
  await t.rejects(files.readFile(0, 100, 100), { code: 'STORE_FAILED' })
  await t.rejects(files.readPiece(geometry.piece(1), 0, 100), { code: 'STORE_FAILED' })
  await t.rejects(files.readFile(0, 250, 51), { code: 'STORE_FAILED' }, 'beyond the end')
  await t.rejects(files.readFile(0, -1, 2), { code: 'STORE_FAILED' })
  await t.rejects(files.writePiece(geometry.piece(0), Buffer.alloc(99)), { code: 'STORE_FAILED' }, 'a piece of another length')
  t.equal((await stat(join(directory, '0.part'))).size, 120)
})

t.test('hundreds of files are used at once with a handful open', async t => {
  const torrent = makeTorrent(1000, Array.from({ length: 300 }, (_, index) => 40 + index % 7))
  const { geometry, files } = open(t, torrent, await layOut(ownDirectory(t), torrent, torrent.metadata.files.map(file => file.index)), 4)
  let mostOpen = 0
  await Promise.all(torrent.metadata.files.map(async ({ index }) => {
    await files.readFile(index, 0, 1)
    mostOpen = Math.max(mostOpen, files.openFiles)
  }))
  await Promise.all(Array.from({ length: geometry.pieceCount }, async (_, index) => {
    await files.writePiece(geometry.piece(index), torrent.pieceBytes(index))
    mostOpen = Math.max(mostOpen, files.openFiles)
  }))
  for (const { index } of torrent.metadata.files) t.same(await files.readFile(index, 0, torrent.bytesOf(index).length), torrent.bytesOf(index))
  await files.sync()
  t.ok(mostOpen <= 4, `${mostOpen} open`)
})

t.test('a file that cannot be opened harms nobody else, and may come later', async t => {
  const torrent = makeTorrent(100, [100, 100])
  const directory = ownDirectory(t)
  const layout = await layOut(directory, torrent, [0])
  const { geometry, files } = open(t, torrent, { ...layout, files: [...layout.files, [1, join(directory, '1.part')]] }, 1)
  for (let i = 0; i < 3; i++) {
    const outcomes = await Promise.allSettled([
      files.writePiece(geometry.piece(1), torrent.pieceBytes(1)),
      files.writePiece(geometry.piece(1), torrent.pieceBytes(1)),
      files.writePiece(geometry.piece(0), torrent.pieceBytes(0))
    ])
    t.same(outcomes.map(outcome => outcome.status), ['rejected', 'rejected', 'fulfilled'])
  }
  await layOut(directory, torrent, [1])
  await files.writePiece(geometry.piece(1), torrent.pieceBytes(1))
  t.same(await files.readPiece(geometry.piece(1), 0, 100), torrent.pieceBytes(1))
  t.ok(files.openFiles <= 1)
})

t.test('closing waits for what is under way, and refuses what comes later', async t => {
  const torrent = makeTorrent(1 << 20, [10 << 20])
  const { geometry, files } = open(t, torrent, await layOut(ownDirectory(t), torrent, [0]))
  const writes = Array.from({ length: geometry.pieceCount }, (_, index) => files.writePiece(geometry.piece(index), torrent.pieceBytes(index)))
  let written = 0
  for (const write of writes) write.then(() => written++, t.fail)
  await files.close()
  t.equal(written, geometry.pieceCount)
  t.equal(files.openFiles, 0)
  await t.rejects(files.readFile(0, 0, 1), new CodedError('STORE_CLOSED', 'the store was closed'))
  await t.rejects(files.writePiece(geometry.piece(0), torrent.pieceBytes(0)), { code: 'STORE_CLOSED' })
  await files.close()
})
