import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { Completion } from '../../../services/pieces/completion.ts'
import { Geometry } from '../../../services/pieces/geometry.ts'
import { makeTorrent, ownDirectory } from './torrent.ts'

const { metadata } = makeTorrent(10, [197])
const geometry = new Geometry(metadata)

t.test('the bits are those of BEP 3: the high bit first, spare bits zero', async t => {
  const completion = new Completion(metadata)
  t.same(completion.bitfield(), new Uint8Array(3))
  for (const piece of [0, 7, 9, 19]) t.equal(completion.add(geometry.piece(piece)), true)
  t.equal(completion.add(geometry.piece(7)), false, 'twice is once')
  t.same([...completion.bitfield()], [0b10000001, 0b01000000, 0b00010000])
  t.equal(completion.count, 4)
  t.equal(completion.remove(geometry.piece(7)), true)
  t.equal(completion.remove(geometry.piece(7)), false)
  t.same([...completion.bitfield()], [0b10000000, 0b01000000, 0b00010000])
  t.equal(completion.has(geometry.piece(9)), true)
  t.equal(completion.has(geometry.piece(7)), false)
  completion.bitfield().fill(255)
  t.equal(completion.count, 3, 'the copy is a copy')
})

t.test('what is saved is what is loaded', async t => {
  const directory = ownDirectory(t)
  const path = join(directory, 'completion')
  const completion = new Completion(metadata)
  for (const piece of [3, 4, 18]) completion.add(geometry.piece(piece))
  await completion.save(path)
  completion.add(geometry.piece(5))
  const loaded = await Completion.load(path, metadata)
  t.same(loaded?.bitfield(), new Uint8Array([0b00011000, 0, 0b00100000]))
  t.equal(loaded?.count, 3)
  await completion.save(path)
  t.equal((await Completion.load(path, metadata))?.count, 4)
  t.same(await readdir(directory), ['completion'], 'no temporary file stays')
})

t.test('a torrent without a byte has no bits', async t => {
  const { metadata } = makeTorrent(10, [0, 0])
  const path = join(ownDirectory(t), 'completion')
  await new Completion(metadata).save(path)
  t.equal((await Completion.load(path, metadata))?.count, 0)
})

t.test('a file that is missing, cut, lengthened, damaged or of another torrent is not believed', async t => {
  const path = join(ownDirectory(t), 'completion')
  t.equal(await Completion.load(path, metadata), null, 'missing')
  const completion = new Completion(metadata)
  completion.add(geometry.piece(1))
  await completion.save(path)
  const good = await readFile(path)

  for (let length = 0; length < good.length; length++) {
    await truncate(path, length)
    t.equal(await Completion.load(path, metadata), null, `cut to ${length}`)
    await writeFile(path, good)
  }
  for (let position = 0; position < good.length; position++) {
    const damaged = Buffer.from(good)
    damaged[position] = (damaged[position] ?? 0) ^ 0x10
    await writeFile(path, damaged)
    t.equal(await Completion.load(path, metadata), null, `damaged at ${position}`)
  }
  await writeFile(path, Buffer.concat([good, Buffer.alloc(1)]))
  t.equal(await Completion.load(path, metadata), null, 'a byte too long')
  await writeFile(path, good)
  t.equal(await Completion.load(path, { ...metadata, infohash: '0'.repeat(40) }), null, 'another infohash')
  t.equal(await Completion.load(path, { ...metadata, pieceLength: 11 }), null, 'another piece length')
  t.equal(await Completion.load(path, { ...metadata, pieceCount: 21 }), null, 'another number of pieces')
  t.equal((await Completion.load(path, metadata))?.count, 1)

  const spare = Buffer.from(good.subarray(0, -20))
  spare[spare.length - 1] = 0b1
  await writeFile(path, Buffer.concat([spare, createHash('sha1').update(spare).digest()]))
  t.equal(await Completion.load(path, metadata), null, 'a bit for a piece that does not exist')
})

t.test('a disk that fails is an error, and keeps the old bits', async t => {
  const directory = ownDirectory(t)
  await mkdir(join(directory, 'completion.tmp'))
  await t.rejects(new Completion(metadata).save(join(directory, 'completion')), { code: 'STORE_FAILED', cause: { code: 'EISDIR' } })
  await t.rejects(Completion.load(directory, metadata), { code: 'STORE_FAILED', cause: { code: 'EISDIR' } })
})
