import { getEventListeners, once } from 'node:events'
import { cp, open, readdir, readFile, rename, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { silent } from '../../../services/log.ts'
import { PieceFiles } from '../../../services/pieces/piece-files.ts'
import { PieceStore } from '../../../services/pieces/piece-store.ts'
import type { PieceStoreOptions } from '../../../services/pieces/piece-store.ts'
import type { MadeTorrent } from './torrent.ts'
import { allChecked, checkClaims, claimed, makeTorrent, ownDirectory, randomTorrent, seededRandom, shuffled } from './torrent.ts'

const never = new AbortController().signal

async function openStore (t: Test, torrent: MadeTorrent, directory: string, options: Partial<PieceStoreOptions> = {}) {
  const store = await PieceStore.open({ metadata: torrent.metadata, directory, ...options })
  t.teardown(() => store.close())
  return store
}

/** What a swarm process sees of the store: its files, under the layout of this moment. */
function filesOf (t: Test, store: PieceStore) {
  const files = new PieceFiles(store.geometry, store.layout, index => store.metadata.files[index]?.isPadding === true)
  t.teardown(() => files.close())
  return files
}

t.test('a piece can be read as soon as it is verified, and a wrong one changes nothing', async t => {
  const torrent = makeTorrent(100, [250])
  const store = await openStore(t, torrent, ownDirectory(t))
  const [first, second] = [store.geometry.piece(0), store.geometry.piece(1)]
  await store.want(0)
  const verified: number[] = []
  store.on('verified', piece => verified.push(piece))
  t.equal(await store.write(first, Buffer.alloc(100, 1)), false, 'wrong bytes')
  t.equal(await store.write(first, torrent.pieceBytes(0).subarray(1)), false, 'wrong length')
  t.equal(store.has(first), false)
  t.same(await store.readFile(0, 0, 100), Buffer.alloc(100))

  const { signal } = new AbortController()
  const waiting = Promise.all([store.waitFor(first, signal), store.waitFor(first, signal)])
  t.equal(store.counters().waiters, 2)
  t.equal(await store.write(first, torrent.pieceBytes(0)), true)
  await waiting
  t.same([store.counters().waiters, getEventListeners(signal, 'abort')], [0, []], 'who was answered leaves nothing behind')
  await store.waitFor(first, never)
  t.equal(await store.write(first, Buffer.alloc(100, 1)), true, 'verified already: not even looked at')
  t.equal(await store.write(second, torrent.pieceBytes(1)), true)
  t.same(verified, [0, 1])
  t.same(await store.readFile(0, 0, 200), torrent.content.subarray(0, 200))
  t.same([...store.bitfield()], [0b11000000])
  t.equal(store.verifiedCount, 2)
  t.equal(store.verifiedBytesOf(0), 200)
  t.equal(store.isFinished(0), false)
  t.same([[0], [99], [150], [200], [250], [-1], [0, 7]].map(([offset, limit]) => store.contiguousBytesFrom(0, offset ?? 0, limit)), [200, 101, 50, 0, 0, 0, 7])
})

t.test('a piece of megabytes is hashed without holding up others', async t => {
  const torrent = makeTorrent(32 << 20, [32 << 20])
  const store = await openStore(t, torrent, ownDirectory(t))
  await store.want(0)
  let turns = 0
  const timer = setInterval(() => turns++, 0)
  t.teardown(() => clearInterval(timer))
  t.equal(await store.write(store.geometry.piece(0), torrent.content), true)
  t.ok(turns > 5, `${turns} turns for others`)
  t.ok((await store.readFile(0, 0, 32 << 20)).equals(torrent.content))
})

t.test('finished is said once, when the bytes and the bits are on the disk', async t => {
  const torrent = makeTorrent(100, [250, 0, 100])
  const directory = ownDirectory(t)
  const store = await openStore(t, torrent, directory)
  const finished: number[] = []
  store.on('finished', fileIndex => finished.push(fileIndex))
  await store.want(1)
  t.same(await once(store, 'finished'), [1], 'an empty file at once')
  await store.want(0)
  await store.write(store.geometry.piece(0), torrent.pieceBytes(0))
  await store.write(store.geometry.piece(1), torrent.pieceBytes(1))
  const said = once(store, 'finished')
  await store.write(store.geometry.piece(2), torrent.pieceBytes(2))
  t.same(await said, [0])
  t.equal(store.counters().dirtyPieces, 0)
  await store.want(0)
  await store.flush()
  t.same(finished, [1, 0])
  t.equal(store.isFinished(0), true)
  t.equal(store.isFinished(2), false)
  await t.rejects(store.promote(2, join(directory, 'x')), { code: 'STORE_FAILED' }, 'not wanted')

  await rename(join(directory), `${directory}-2`)
  const again = await openStore(t, torrent, `${directory}-2`)
  const saidAgain = once(again, 'finished')
  await again.want(0)
  t.same(await saidAgain, [0], 'a store that was closed before the promotion says it when the file is wanted')
  await again.destroy()
})

t.test('a file that is wanted later takes what was verified before', async t => {
  const torrent = makeTorrent(100, [150, 30, { padding: 20 }, 150, 0])
  const directory = ownDirectory(t)
  const store = await openStore(t, torrent, directory)
  const { geometry } = store
  const layouts: number[] = []
  store.on('layout', layout => layouts.push(layout.files.length))
  await store.want(0)
  for (const index of [0, 1, 2]) await store.write(geometry.piece(index), torrent.pieceBytes(index))
  t.same((await readdir(join(directory, 'edges'))).sort(), ['1', '2'])
  const before = store.layout.version
  await Promise.all([store.want(3), store.want(3), store.want(0)])
  t.same(layouts, [1, 2])
  t.ok(store.layout.version > before)
  t.same(await readdir(join(directory, 'edges')), ['1'], 'file 1 still needs its edge, 2 does not')
  t.same(await store.readFile(3, 0, 100), torrent.bytesOf(3).subarray(0, 100))
  t.equal((await stat(join(directory, '3.part'))).size, 150, 'its full length')
  await store.want(1)
  t.same(await readdir(join(directory, 'edges')), [])
  t.same(await store.readFile(1, 0, 30), torrent.bytesOf(1))
  t.equal(store.isFinished(1), true)
  await t.rejects(store.want(2), { code: 'FILE_INDEX' }, 'padding')
  await t.rejects(store.want(5), { code: 'FILE_INDEX' })
})

t.test('a piece that another process wrote before it knew of a new file reaches that file', async t => {
  const torrent = makeTorrent(100, [150, 150])
  const directory = ownDirectory(t)
  const store = await openStore(t, torrent, directory)
  const { geometry } = store
  await store.want(0)
  const swarm = filesOf(t, store)
  const version = await swarm.writePiece(geometry.piece(1), torrent.pieceBytes(1))
  await store.want(1)
  t.equal(store.has(geometry.piece(1)), false)
  t.equal(await store.markVerified(geometry.piece(1), version), true)
  t.same(await store.readFile(1, 0, 50), torrent.bytesOf(1).subarray(0, 50))
  t.same(await readdir(join(directory, 'edges')), [])

  t.equal(await store.markVerified(geometry.piece(0), version), true, 'no file was added to this piece')
  store.on('dropped', () => t.fail('nothing is wrong with these'))

  const other = await openStore(t, torrent, join(directory, 'other'))
  await other.want(0)
  const stale = other.layout.version
  await other.want(1)
  const droppedThere = once(other, 'dropped')
  t.equal(await other.markVerified(geometry.piece(1), stale), false, 'no edge file to take the bytes from')
  t.same(await droppedThere, [1])
  await writeFile(join(directory, 'other', 'edges', '1'), Buffer.alloc(100))
  t.equal(await other.markVerified(geometry.piece(1), stale), false, 'nor one with the right bytes')
  t.equal(other.has(geometry.piece(1)), false)
})

t.test('an edge file that a stale writer leaves behind is removed', async t => {
  const torrent = makeTorrent(100, [150, 150])
  const directory = ownDirectory(t)
  const store = await openStore(t, torrent, directory)
  const piece = store.geometry.piece(1)
  await store.want(0)
  const swarm = filesOf(t, store)
  await store.want(1)
  await store.write(piece, torrent.pieceBytes(1))
  const version = await swarm.writePiece(piece, torrent.pieceBytes(1))
  t.same(await readdir(join(directory, 'edges')), ['1'])
  t.equal(await store.markVerified(piece, version), true)
  t.same(await readdir(join(directory, 'edges')), [])
})

t.test('10,000 aborted waits leave nothing behind', async t => {
  const torrent = makeTorrent(10, [1000])
  const store = await openStore(t, torrent, ownDirectory(t))
  await store.want(0)
  const stop = new AbortController()
  const waits = Array.from({ length: 10_000 }, (_, i) => store.waitFor(store.geometry.piece(i % 100), i % 2 === 0 ? stop.signal : AbortSignal.any([stop.signal])))
  t.equal(store.counters().waiters, 10_000)
  t.equal(store.listenerCount('verified'), 0)
  stop.abort(new Error('gone'))
  t.equal(store.counters().waiters, 0, 'at once')
  const outcomes = await Promise.allSettled(waits)
  t.ok(outcomes.every(outcome => outcome.status === 'rejected' && outcome.reason === stop.signal.reason))
  await t.rejects(store.waitFor(store.geometry.piece(0), stop.signal), { message: 'gone' }, 'aborted before')
})

t.test('closing sends away who waits, saves what is verified, and leaves no file open', async t => {
  const torrent = makeTorrent(100, [250])
  const directory = ownDirectory(t)
  const store = await openStore(t, torrent, directory)
  await store.want(0)
  await store.write(store.geometry.piece(1), torrent.pieceBytes(1))
  t.equal(store.counters().dirtyPieces, 1)
  const waiting = t.rejects(store.waitFor(store.geometry.piece(0), never), { code: 'STORE_CLOSED' })
  await Promise.all([store.close(), store.close()])
  await waiting
  t.match(store.counters(), { waiters: 0, openFiles: 0, dirtyPieces: 0, seats: 0, piecesInMemory: 0 })
  await t.rejects(store.want(0), { code: 'STORE_CLOSED' })
  await t.rejects(store.write(store.geometry.piece(0), torrent.pieceBytes(0)), { code: 'STORE_CLOSED' })
  await t.rejects(store.markVerified(store.geometry.piece(0), store.layout.version), { code: 'STORE_CLOSED' })
  await t.rejects(store.waitFor(store.geometry.piece(0), never), { code: 'STORE_CLOSED' })
  await t.rejects(store.readFile(0, 100, 1), { code: 'STORE_CLOSED' })

  const again = await openStore(t, torrent, directory)
  t.same(claimed(again), [1])
  t.same(await again.readFile(0, 100, 100), torrent.pieceBytes(1))
  t.ok(again.layout.version > store.layout.version, 'newer than every layout before')
  await again.destroy()
  await t.rejects(stat(directory), { code: 'ENOENT' })
})

t.test('a store whose directory was taken away closes, and does not try again for ever', async t => {
  const torrent = makeTorrent(100, [250])
  const directory = ownDirectory(t)
  const timers = () => process.getActiveResourcesInfo().filter(resource => resource === 'Timeout').length
  const before = timers()
  const warnings: string[] = []
  const store = await openStore(t, torrent, directory, { log: { ...silent, warn: (_, message) => { warnings.push(message) } } })
  await store.want(0)
  await store.write(store.geometry.piece(0), torrent.pieceBytes(0))
  await rm(directory, { recursive: true })
  await store.close()
  t.same(warnings, ['verified pieces could not be saved'])
  t.equal(timers(), before)
})

t.test('bits are saved by themselves after a second', async t => {
  const torrent = makeTorrent(100, [250])
  const directory = ownDirectory(t)
  const store = await openStore(t, torrent, directory)
  await store.want(0)
  await store.write(store.geometry.piece(0), torrent.pieceBytes(0))
  while (store.counters().dirtyPieces > 0) await new Promise(resolve => setTimeout(resolve, 20))
  await store.flush()
  t.ok((await readFile(join(directory, 'completion'))).length > 0)
})

t.test('a file is in its place when nobody writes into it any more, another process neither', async t => {
  const torrent = makeTorrent(1000, [2500])
  const directory = ownDirectory(t, { partial: {} })
  const store = await openStore(t, torrent, join(directory, 'partial'))
  await store.want(0)
  for (let index = 0; index < 3; index++) await store.write(store.geometry.piece(index), torrent.pieceBytes(index))
  const other = new PieceFiles(store.geometry, store.layout, () => false)
  t.teardown(() => other.close())
  const writeAgain = async () => { await other.writePiece(store.geometry.piece(1), torrent.pieceBytes(1)) }
  // It keeps the file open.
  await writeAgain()
  const path = join(directory, 'film.mkv')
  const asked = Promise.withResolvers<void>()
  const settled = Promise.withResolvers<void>()
  store.writers.add(() => {
    asked.resolve()
    return settled.promise
  })
  let isInPlace = false
  const promoting = store.promote(0, path).then(() => { isInPlace = true })
  await asked.promise
  await writeAgain()
  await utimes(path, 1000, 1000)
  await writeAgain()
  t.not((await stat(path)).mtimeMs, 1_000_000, 'it still writes into the file')
  t.equal(isInPlace, false)
  other.setLayout(store.layout)
  await other.settled()
  settled.resolve()
  await promoting
  await utimes(path, 1000, 1000)
  await writeAgain()
  await store.write(store.geometry.piece(1), torrent.pieceBytes(1))
  t.equal((await stat(path)).mtimeMs, 1_000_000)
})

t.test('a promoted file is read on without a gap, and found again', async t => {
  const torrent = makeTorrent(1000, [40_500, 1500])
  const directory = ownDirectory(t, { partial: {}, 'taken.mkv': 'mine' })
  const store = await openStore(t, torrent, join(directory, 'partial'))
  const { geometry } = store
  await store.want(0)
  for (let index = 0; index < geometry.pieceCount; index++) await store.write(geometry.piece(index), torrent.pieceBytes(index))
  await t.rejects(store.promote(0, join(directory, 'taken.mkv')), { code: 'STORE_FAILED' })
  t.equal(await readFile(join(directory, 'taken.mkv'), 'utf8'), 'mine')
  await t.rejects(store.promote(0, join(directory, 'no such directory', 'a.mkv')), { code: 'STORE_FAILED' })

  const done = new AbortController()
  let reads = 0
  const readers = Array.from({ length: 8 }, async (_, i) => {
    while (!done.signal.aborted) {
      const start = (reads++ * 997 + i) % 40_000
      if (!(await store.readFile(0, start, 500)).equals(torrent.content.subarray(start, start + 500))) t.fail('wrong bytes')
    }
  })
  for (let i = 0; i < 20; i++) await store.promote(0, join(directory, `film ${i}.mkv`))
  await store.promote(0, join(directory, 'film 19.mkv'))
  await store.promote(0, join(directory, 'taken.mkv'), { replace: true })
  done.abort()
  await Promise.all(readers)
  t.ok(reads > 20, `${reads} reads`)
  t.same((await readdir(directory)).sort(), ['partial', 'taken.mkv'])
  t.ok((await readFile(join(directory, 'taken.mkv'))).equals(torrent.bytesOf(0)))
  await store.close()

  const promoted = new Map([[0, join(directory, 'taken.mkv')]])
  const again = await openStore(t, torrent, join(directory, 'partial'), { promoted })
  again.on('finished', () => t.fail('it was said before'))
  await again.want(0)
  await again.flush()
  t.equal(again.isFinished(0), true)
  t.equal(again.verifiedCount, 41, 'with the piece that it shares with its neighbour, without the one that only the neighbour has')
  await again.destroy()

  const without = await openStore(t, torrent, join(directory, 'partial'), { promoted })
  t.same(claimed(without), Array.from({ length: 40 }, (_, index) => index), 'without the bitmap: the pieces that lie in it whole')
  await checkClaims(t, without, torrent, 'promoted')
  await without.destroy()

  await truncate(join(directory, 'taken.mkv'), 40_499)
  const cut = await openStore(t, torrent, join(directory, 'partial'), { promoted })
  t.same(claimed(cut), [], 'a promoted file of another length is not believed')
})

t.test('bits of a lost file are not believed of a new one in its place', async t => {
  const torrent = makeTorrent(100, [250])
  const directory = ownDirectory(t, { store: {} })
  const store = await openStore(t, torrent, join(directory, 'store'))
  await store.want(0)
  await store.write(store.geometry.piece(0), torrent.pieceBytes(0))
  await store.close()
  await rm(join(directory, 'store', '0.part'))
  const second = await openStore(t, torrent, join(directory, 'store'))
  await second.want(0)
  await cp(join(directory, 'store'), join(directory, 'crashed'), { recursive: true })
  await second.close()
  for (const name of ['store', 'crashed']) {
    const third = await openStore(t, torrent, join(directory, name))
    await allChecked(third)
    t.same(claimed(third), [], name)
  }
})

t.test('when the disk fails to keep what it took, the bits wait and the bytes are written again', async t => {
  const torrent = makeTorrent(100, [250])
  const directory = ownDirectory(t)
  const store = await openStore(t, torrent, directory)
  await store.want(0)
  const handles = await fileHandlePrototype(directory)
  const datasync = handles.datasync
  t.teardown(() => { handles.datasync = datasync })
  await store.write(store.geometry.piece(0), torrent.pieceBytes(0))
  await store.write(store.geometry.piece(1), torrent.pieceBytes(1))
  handles.datasync = async () => {
    // What a failed write-back does: the page is dropped, and the next sync knows nothing of it.
    await writeFile(join(directory, '0.part'), Buffer.alloc(100), { flag: 'r+' })
    throw new Error('EIO')
  }
  await t.rejects(store.flush(), { code: 'STORE_FAILED' })
  t.equal(store.counters().dirtyPieces, 2)
  handles.datasync = datasync
  const dropped = once(store, 'dropped')
  await store.flush()
  t.same(await dropped, [0], 'the piece that cannot be read back is fetched again')
  t.same(claimed(store), [1])
  t.equal(store.verifiedBytesOf(0), 100)
  t.equal(store.counters().dirtyPieces, 0)
  t.equal(await store.write(store.geometry.piece(0), torrent.pieceBytes(0)), true)
  await checkClaims(t, store, torrent, 'after the failure')
})

async function fileHandlePrototype (directory: string): Promise<FileHandle> {
  const handle = await open(directory, 'r')
  const prototype: FileHandle = Object.getPrototypeOf(handle)
  await handle.close()
  return prototype
}

/** Bits that are on the disk at one moment, with bytes that are there then or soon after. */
async function copyAsAfterCrash (directory: string, to: string): Promise<void> {
  for (;;) {
    try {
      await cp(join(directory, 'completion'), join(to, 'completion')).catch(error => { if (error.code !== 'ENOENT') throw error })
      await cp(directory, to, { recursive: true, force: false })
      return
    } catch (error) {
      // A file went away between its listing and its copying.
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
      await rm(to, { recursive: true, force: true })
    }
  }
}

t.test('random torrents, filled by both ways while files become wanted, read back as they were', async t => {
  const seed = Date.now() % 1e6
  const parent = ownDirectory(t)
  t.comment(`seed ${seed}`)
  for (let round = 0; round < 15; round++) {
    const random = seededRandom(seed + round)
    const torrent = randomTorrent(random)
    const directory = join(parent, `${round}`)
    let store = await openStore(t, torrent, directory)
    let swarm = filesOf(t, store)
    const real = torrent.metadata.files.filter(file => !file.isPadding)
    const wants = shuffled(real, random).slice(0, 1 + random(real.length))
    const finished = new Set<number>()
    store.on('finished', fileIndex => {
      if (finished.has(fileIndex)) t.fail('finished twice')
      finished.add(fileIndex)
    })
    const underWay: Array<Promise<unknown>> = []
    const written: number[] = []
    for (const index of shuffled(Array.from({ length: store.geometry.pieceCount }, (_, index) => index), random)) {
      written.push(index)
      const piece = store.geometry.piece(index)
      const bytes = torrent.pieceBytes(index)
      if (random(3) === 0) underWay.push(Promise.resolve(wants.pop()).then(file => file === undefined ? undefined : store.want(file.index)))
      if (random(4) === 0) swarm.setLayout(store.layout)
      if (random(2) === 0) underWay.push(store.write(piece, bytes))
      if (random(2) === 0) underWay.push(store.write(piece, Buffer.alloc(bytes.length, 7)))
      // Half of them are waited for: so the others race with what comes next.
      const fromSwarm = swarm.writePiece(piece, bytes).then(version => store.markVerified(piece, version))
      if (random(2) === 0) await fromSwarm
      else underWay.push(fromSwarm)
      if (random(10) === 0) await checkClaims(t, store, torrent, `seed ${seed + round}`)
      if (random(40) === 0) {
        const copy = `${directory}-at-${index}`
        await copyAsAfterCrash(directory, copy)
        const crashed = await PieceStore.open({ metadata: torrent.metadata, directory: copy })
        await allChecked(crashed)
        await checkClaims(t, crashed, torrent, `seed ${seed + round} after a crash`)
        await crashed.destroy()
      }
      if (random(30) === 0) {
        await Promise.all(underWay.splice(0))
        await store.close()
        // Without the pieces that lie in no wanted file: those do not outlive the store.
        const before = claimed(store)
        store = await openStore(t, torrent, directory)
        swarm = filesOf(t, store)
        t.same(claimed(store), before, `seed ${seed + round}: everything is found again`)
        for (const index of written) await store.write(store.geometry.piece(index), torrent.pieceBytes(index))
      }
    }
    for (const { index } of wants) await store.want(index)
    await Promise.all(underWay)
    await checkClaims(t, store, torrent, `seed ${seed + round}`)
    for (const index of claimed(store)) if (store.verifiedCount !== store.geometry.pieceCount) t.fail(`seed ${seed + round}: piece ${index}`)
    for (const [index] of store.layout.files) {
      const { length } = torrent.bytesOf(index)
      if (!store.isFinished(index) || store.verifiedBytesOf(index) !== length) t.fail(`seed ${seed + round}: file ${index} is not finished`)
      const start = random(length + 1)
      if (!(await store.readFile(index, start, length - start)).equals(torrent.bytesOf(index).subarray(start))) t.fail(`seed ${seed + round}: file ${index}`)
      t.equal(store.contiguousBytesFrom(index, start), length - start)
    }
    await store.close()
    const again = await openStore(t, torrent, directory)
    t.equal(again.verifiedCount, store.verifiedCount, 'all is found again')
    await checkClaims(t, again, torrent, `seed ${seed + round} again`)
    await again.close()
    await swarm.close()
  }
})
