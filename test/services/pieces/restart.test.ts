import { once } from 'node:events'
import { cp, open, readFile, readdir, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { PieceStore } from '../../../services/pieces/piece-store.ts'
import type { PieceStoreOptions } from '../../../services/pieces/piece-store.ts'
import { FailingDisk } from './failing-disk.ts'
import type { MadeTorrent } from './torrent.ts'
import { allChecked, checkClaims, claimed, kept, makeTorrent, ownDirectory } from './torrent.ts'

// What a store believes of what the last one left behind.

const never = new AbortController().signal
const longMs = 3_600_000

/** Checks nothing by itself, unless told. */
async function openStore (t: Test, torrent: MadeTorrent, directory: string, options: Partial<PieceStoreOptions> = {}) {
  const store = await PieceStore.open({ metadata: torrent.metadata, directory, checkDelayMs: longMs, ...options })
  t.teardown(() => store.close())
  return store
}

/** A store that has every piece of these files of the torrent. */
async function fill (t: Test, torrent: MadeTorrent, directory: string, files: readonly number[]) {
  const store = await openStore(t, torrent, directory)
  for (const index of files) await store.want(index)
  for (let index = 0; index < store.geometry.pieceCount; index++) await store.write(store.geometry.piece(index), torrent.pieceBytes(index))
  return store
}

/** The directory as a process leaves it that is killed now: the same files, for a store that did not close. */
async function kill (store: PieceStore): Promise<void> {
  const left = `${store.directory}.left`
  await rename(store.directory, left)
  await cp(left, store.directory, { recursive: true })
  await store.close()
  await rm(store.directory, { recursive: true })
  await rename(left, store.directory)
  await rm(join(store.directory, 'closed'), { force: true })
}

async function flip (path: string, position: number): Promise<void> {
  const handle = await open(path, 'r+')
  try {
    const byte = Buffer.alloc(1)
    await handle.read(byte, 0, 1, position)
    byte[0] = (byte[0] ?? 0) ^ 1
    await handle.write(byte, 0, 1, position)
  } finally {
    await handle.close()
  }
}

const all = (torrent: MadeTorrent) => Array.from({ length: torrent.metadata.pieceCount }, (_, index) => index)

t.test('what was closed is read on without a hash', async t => {
  const torrent = makeTorrent(100, [250, 130, 250])
  const directory = ownDirectory(t)
  for (let life = 0; life < 3; life++) {
    const store = life === 0 ? await fill(t, torrent, directory, [0, 2]) : await openStore(t, torrent, directory, { checkDelayMs: 0 })
    t.same(claimed(store), all(torrent), `life ${life}`)
    await checkClaims(t, store, torrent, `life ${life}`)
    t.match(store.counters(), { uncheckedPieces: 0, checkedPieces: 0 })
    t.notOk((await readdir(directory)).includes('closed'), 'while it is open, nothing says that it was closed')
    await store.close()
    t.ok((await readdir(directory)).includes('closed'))
  }
})

t.test('after a kill each piece is hashed once, when it is waited for, and nothing before', async t => {
  const torrent = makeTorrent(100, [1000])
  const directory = ownDirectory(t, { store: {} })
  await kill(await fill(t, torrent, join(directory, 'store'), [0]))
  const store = await openStore(t, torrent, join(directory, 'store'))
  const piece = store.geometry.piece(4)
  t.same(claimed(store), [])
  t.same([...store.bitfield()], [0, 0], 'peers are told of none')
  t.equal(store.isUnchecked(piece), true, 'nor needs anybody to fetch it')
  t.match(store.counters(), { uncheckedPieces: 10, checkedPieces: 0 })
  await Promise.all([store.waitFor(piece, never), store.waitFor(piece, never)])
  t.same(claimed(store), [4])
  t.equal(store.isUnchecked(piece), false)
  t.equal(store.counters().checkedPieces, 1)
  t.same(await store.readFile(0, 400, 100), torrent.pieceBytes(4))
  await store.waitFor(piece, never)
  t.equal(store.counters().checkedPieces, 1)

  await store.close()
  const again = await openStore(t, torrent, join(directory, 'store'))
  t.same(claimed(again), [4], 'what was checked is believed')
  t.equal(again.counters().uncheckedPieces, 9, 'and what was not, is not forgotten')
  await allChecked(again)
  t.same(claimed(again), all(torrent))
  t.equal(again.counters().checkedPieces, 9)
})

t.test('a piece that changed on the disk is dropped and fetched again, never served', async t => {
  const torrent = makeTorrent(100, [1000])
  const directory = ownDirectory(t, { store: {} })
  await kill(await fill(t, torrent, join(directory, 'store'), [0]))
  await flip(join(directory, 'store', '0.part'), 456)
  const store = await openStore(t, torrent, join(directory, 'store'))
  const piece = store.geometry.piece(4)
  const dropped = once(store, 'dropped')
  const waiting = store.waitFor(piece, never)
  t.same(await dropped, [4])
  t.equal(store.has(piece), false)
  t.equal(store.isUnchecked(piece), false, 'now somebody has to fetch it')
  t.equal(store.counters().waiters, 1, 'the reader goes on waiting')
  await store.write(piece, torrent.pieceBytes(4))
  await waiting
  await allChecked(store)
  t.same(claimed(store), all(torrent))
  await checkClaims(t, store, torrent, 'mended')
})

t.test('a piece that was dropped is not believed by the next store either', async t => {
  const torrent = makeTorrent(100, [1000])
  const directory = ownDirectory(t, { store: {} })
  const at = join(directory, 'store')
  await (await fill(t, torrent, at, [0])).close()
  await rm(join(at, 'closed'))
  await flip(join(at, '0.part'), 456)
  const store = await openStore(t, torrent, at)
  await allChecked(store)
  await store.close()
  const again = await openStore(t, torrent, at)
  t.same(claimed(again), [0, 1, 2, 3, 5, 6, 7, 8, 9])
  t.equal(again.counters().uncheckedPieces, 0, 'nor looked at again')
})

t.test('a piece that is fetched while it waits to be checked needs no check', async t => {
  const torrent = makeTorrent(100, [1000])
  const directory = ownDirectory(t, { store: {} })
  await kill(await fill(t, torrent, join(directory, 'store'), [0]))
  await writeFile(join(directory, 'store', '0.part'), Buffer.alloc(1000))
  const store = await openStore(t, torrent, join(directory, 'store'))
  for (const index of all(torrent)) await store.write(store.geometry.piece(index), torrent.pieceBytes(index))
  await allChecked(store)
  t.match(store.counters(), { uncheckedPieces: 0, checkedPieces: 0 })
  await checkClaims(t, store, torrent, 'written')
})

t.test('after a clean end: a changed file is checked, the others are believed', async t => {
  const torrent = makeTorrent(100, [250, 130, 250])
  const directory = ownDirectory(t, { store: {} })
  const at = join(directory, 'store')
  const everything = all(torrent)
  const cases: Array<[what: string, change: () => Promise<unknown>, atOnce: number[], checked: number[]]> = [
    ['nothing', async () => {}, everything, everything],
    ['0.part is gone', () => rm(join(at, '0.part')), [3, 4, 5, 6], [3, 4, 5, 6]],
    ['0.part is cut short', () => truncate(join(at, '0.part'), 149), [3, 4, 5, 6], [0, 2, 3, 4, 5, 6]],
    ['0.part is empty', () => truncate(join(at, '0.part'), 0), [3, 4, 5, 6], [2, 3, 4, 5, 6]],
    ['2.part has grown', () => truncate(join(at, '2.part'), 251), [0, 1, 2], everything],
    ['0.part was replaced by one of the same length', async () => {
      await writeFile(join(at, 'new'), Buffer.from(torrent.bytesOf(0)).fill(0, 100, 200))
      await rename(join(at, 'new'), join(at, '0.part'))
    }, [3, 4, 5, 6], [0, 2, 3, 4, 5, 6]],
    ['0.part was removed and made anew', async () => {
      await rm(join(at, '0.part'))
      await writeFile(join(at, '0.part'), Buffer.alloc(250))
    }, [3, 4, 5, 6], [2, 3, 4, 5, 6]],
    ['0.part was written to', () => flip(join(at, '0.part'), 0), [3, 4, 5, 6], [1, 2, 3, 4, 5, 6]],
    ['0.part is a directory', async () => {
      await rm(join(at, '0.part'))
      await cp(join(at, 'edges'), join(at, '0.part'), { recursive: true })
    }, [3, 4, 5, 6], [3, 4, 5, 6]],
    ['an edge file is gone', () => rm(join(at, 'edges', '2')), [0, 1, 3, 4, 5, 6], [0, 1, 3, 4, 5, 6]],
    ['an edge file is cut short', () => truncate(join(at, 'edges', '3'), 10), [0, 1, 2, 4, 5, 6], [0, 1, 2, 4, 5, 6]],
    ['an edge file was written to', () => flip(join(at, 'edges', '3'), 10), [0, 1, 2, 4, 5, 6], [0, 1, 2, 4, 5, 6]],
    ['the completion is gone', () => rm(join(at, 'completion')), [], everything],
    ['the completion is damaged', () => flip(join(at, 'completion'), 50), [], everything],
    ['the claims are gone', () => rm(join(at, 'claimed')), everything, everything],
    ['both are gone', async () => {
      await rm(join(at, 'completion'))
      await rm(join(at, 'claimed'))
    }, [], everything],
    ['the record of the clean end makes no sense', () => writeFile(join(at, 'closed'), '{"version":1}'), [], everything],
    ['a crash left temporary files', async () => {
      for (const name of ['1.part.tmp', 'completion.tmp', 'claimed.tmp', join('edges', '2.x.tmp')]) await writeFile(join(at, name), 'half')
    }, everything, everything]
  ]
  for (const [what, change, atOnce, checked] of cases) {
    const store = await fill(t, torrent, at, [0, 2])
    await store.close()
    await change()
    const again = await openStore(t, torrent, at)
    t.same(claimed(again), atOnce, `${what}: at once`)
    await checkClaims(t, again, torrent, what)
    t.notOk([...await readdir(at), ...await readdir(join(at, 'edges'))].some(name => name.endsWith('.tmp')), 'no rubbish')
    for (const [index, path] of again.layout.files) t.equal((await stat(path)).size, torrent.bytesOf(index).length, 'its full length')
    await allChecked(again)
    t.same(claimed(again), checked, `${what}: checked`)
    await checkClaims(t, again, torrent, `${what}, checked`)
    for (const index of [0, 1, 2]) await again.want(index)
    await checkClaims(t, again, torrent, `${what}, all wanted`)
    for (const index of everything) await again.write(again.geometry.piece(index), torrent.pieceBytes(index))
    for (const index of [0, 1, 2]) t.same(await again.readFile(index, 0, torrent.bytesOf(index).length), torrent.bytesOf(index))
    await again.destroy()
  }
})

t.test('a file that becomes wanted takes the pieces along that were not checked yet', async t => {
  const torrent = makeTorrent(100, [250, 130, 250])
  const directory = ownDirectory(t, { store: {} })
  await kill(await fill(t, torrent, join(directory, 'store'), [0, 2]))
  await flip(join(directory, 'store', 'edges', '3'), 0)
  const store = await openStore(t, torrent, join(directory, 'store'))
  await store.want(1)
  t.same(claimed(store), [2], 'they were checked for it')
  t.same(await readdir(join(directory, 'store', 'edges')), ['3'], 'a wrong one is nobody\'s, until the next start')
  await checkClaims(t, store, torrent, 'wanted')
  await allChecked(store)
  t.same(claimed(store), [0, 1, 2, 4, 5, 6])
  await store.close()
  const again = await openStore(t, torrent, join(directory, 'store'))
  t.same(await readdir(join(directory, 'store', 'edges')), [])
  t.same(claimed(again), [0, 1, 2, 4, 5, 6])
})

t.test('the wanted parts of an edge piece are mended from its edge file', async t => {
  const torrent = makeTorrent(100, [250, 130])
  const directory = ownDirectory(t, { store: {} })
  await kill(await fill(t, torrent, join(directory, 'store'), [0]))
  await flip(join(directory, 'store', '0.part'), 249)
  const store = await openStore(t, torrent, join(directory, 'store'))
  await allChecked(store)
  t.same(claimed(store), kept(store, [0, 1, 2]))
  t.same(await store.readFile(0, 0, 250), torrent.bytesOf(0))
})

t.test('what was written and never saved is there after a kill', async t => {
  const torrent = makeTorrent(100, [1000])
  const directory = ownDirectory(t, { store: {} })
  const store = await openStore(t, torrent, join(directory, 'store'))
  await store.want(0)
  for (const index of [1, 5, 9]) await store.write(store.geometry.piece(index), torrent.pieceBytes(index))
  await cp(join(directory, 'store'), join(directory, 'killed'), { recursive: true })
  t.notOk((await readdir(join(directory, 'killed'))).includes('completion'), 'no bit was saved')
  const again = await openStore(t, torrent, join(directory, 'killed'))
  t.equal(again.counters().uncheckedPieces, 3)
  await allChecked(again)
  t.same(claimed(again), [1, 5, 9])
  await checkClaims(t, again, torrent, 'killed')
})

t.test('a piece that two bring at a time is promised to neither before a kill leaves it', async t => {
  const torrent = makeTorrent(100, [1000])
  const directory = ownDirectory(t)
  let held = Promise.resolve()
  const disk = await FailingDisk.begin(directory, undefined, () => held)
  t.teardown(() => disk.stop())
  const store = await openStore(t, torrent, join(directory, 'store'))
  await store.want(0)
  const piece = store.geometry.piece(5)
  const bytes = torrent.pieceBytes(5)
  const { promise, resolve } = Promise.withResolvers<void>()
  const promised: string[] = []
  const both = Promise.withResolvers<void>()
  store.once('verified', () => {
    held = promise
    both.resolve(store.write(piece, bytes).then(() => { promised.push('second') }))
  })
  const first = store.write(piece, bytes).then(() => { promised.push('first') })
  await once(store, 'verified')
  for (let turn = 0; turn < 20; turn++) await nextTurn()
  t.same(promised, [])
  resolve()
  await Promise.all([first, both.promise])
  t.equal(promised.length, 2)
  await store.close()
  await disk.end()
})

t.test('what is flushed as soon as its file is wanted is there after a loss of power', async t => {
  const torrent = makeTorrent(100, [100, 900, 200, 100])
  const directory = ownDirectory(t)
  const disk = await FailingDisk.begin(join(directory, 'before'))
  t.teardown(() => disk.stop())
  const store = await openStore(t, torrent, join(disk.root, 'store'))
  await store.want(0)
  for (let index = 0; index < store.geometry.pieceCount; index++) await store.write(store.geometry.piece(index), torrent.pieceBytes(index))
  await store.flush()
  // Up to now the others are of no wanted file, so nobody cares whether they reach the disk.
  const flushed = Promise.withResolvers<number>()
  store.once('layout', () => flushed.resolve(store.flush().then(() => disk.now)))
  await store.want(2)
  const moment = await flushed.promise
  await store.close()
  await disk.end()
  const nothingUnsynced = () => 0
  const after = await FailingDisk.begin(join(directory, 'after'), disk.stateAt(moment, 'powerless', nothingUnsynced))
  t.teardown(() => after.stop())
  const again = await openStore(t, torrent, join(after.root, 'store'))
  await allChecked(again)
  t.same(claimed(again), [0, 10, 11])
})

t.test('a file that was made and never filled needs no check', async t => {
  const torrent = makeTorrent(100, [1000])
  const directory = ownDirectory(t, { store: {} })
  const store = await openStore(t, torrent, join(directory, 'store'))
  await store.want(0)
  await kill(store)
  for (let life = 0; life < 2; life++) {
    const again = await openStore(t, torrent, join(directory, 'store'))
    t.equal(again.counters().uncheckedPieces, 0)
    await kill(again)
  }
})

t.test('10,000 pieces: the start hashes nothing, readers come first, and the rest is checked by itself', async t => {
  const torrent = makeTorrent(64, [640_000])
  const directory = ownDirectory(t, { store: {} })
  const at = join(directory, 'store')
  const first = await openStore(t, torrent, at)
  await first.want(0)
  const path = join(at, '0.part')
  await writeFile(path, torrent.content, { flag: 'r+' })
  for (let index = 0; index < 10_000; index++) await first.markVerified(first.geometry.piece(index), first.layout.version)
  await kill(first)
  await flip(path, 7777 * 64)

  const store = await openStore(t, torrent, at)
  t.match(store.counters(), { uncheckedPieces: 10_000, checkedPieces: 0 })
  await store.waitFor(store.geometry.piece(9000), never)
  t.equal(store.counters().checkedPieces, 1, 'only what somebody waited for was hashed')
  await store.close()

  const background = await openStore(t, torrent, at, { checkDelayMs: 0 })
  const finishing = once(background, 'finished')
  const dropped = once(background, 'dropped')
  const reader = background.waitFor(background.geometry.piece(8000), never)
  await reader
  t.ok(background.counters().checkedPieces < 100, 'the reader did not wait for the others')
  t.same(await dropped, [7777])
  while (background.counters().uncheckedPieces > 0) await once(background, 'verified')
  t.equal(background.verifiedCount, 9999)
  t.equal(background.counters().checkedPieces, 9999, 'the one that was checked and closed is believed')
  await background.write(background.geometry.piece(7777), torrent.pieceBytes(7777))
  t.same(await finishing, [0])
  t.ok((await readFile(path)).equals(torrent.content))
})

t.test('a store that is closed while it checks forgets nothing', async t => {
  const torrent = makeTorrent(4 << 20, [16 << 20])
  const directory = ownDirectory(t, { store: {} })
  await kill(await fill(t, torrent, join(directory, 'store'), [0]))
  const store = await openStore(t, torrent, join(directory, 'store'), { checkDelayMs: 0 })
  const waiting = t.rejects(store.waitFor(store.geometry.piece(2), never), { code: 'STORE_CLOSED' })
  store.on('dropped', () => t.fail('nothing is known of it'))
  await store.close()
  await waiting
  t.equal(store.counters().openFiles, 0)
  const again = await openStore(t, torrent, join(directory, 'store'))
  t.equal(claimed(again).length + again.counters().uncheckedPieces, 4)
  await allChecked(again)
  t.same(claimed(again), [0, 1, 2, 3])
})
