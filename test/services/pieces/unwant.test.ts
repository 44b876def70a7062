import { access, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { Demand } from '../../../services/pieces/demand.ts'
import { PieceFiles } from '../../../services/pieces/piece-files.ts'
import { readPieces } from '../../../services/pieces/piece-reader.ts'
import type { Layout } from '../../../services/pieces/piece-files.ts'
import { PieceStore } from '../../../services/pieces/piece-store.ts'
import type { PieceStoreOptions } from '../../../services/pieces/piece-store.ts'
import type { MadeTorrent } from './torrent.ts'
import { allChecked, checkClaims, claimed, makeTorrent, ownDirectory, randomTorrent, seededRandom, shuffled } from './torrent.ts'

const never = new AbortController().signal

async function openStore (t: Test, torrent: MadeTorrent, directory: string, options: Partial<PieceStoreOptions> = {}) {
  const store = await PieceStore.open({ metadata: torrent.metadata, directory: join(directory, 'partial'), ...options })
  t.teardown(() => store.close())
  return store
}

async function fill (store: PieceStore, torrent: MadeTorrent, pieces: readonly number[]) {
  for (const index of pieces) await store.write(store.geometry.piece(index), torrent.pieceBytes(index))
}

async function promote (store: PieceStore, fileIndex: number, directory: string): Promise<string> {
  const path = join(directory, `${fileIndex}.mp4`)
  await store.flush()
  await store.promote(fileIndex, path)
  return path
}

const isThere = async (path: string) => await access(path).then(() => true, () => false)

/** Three files in eight pieces of 100: pieces 2 and 4 are shared by neighbours. The first file is promoted. */
async function season (t: Test, options: Partial<PieceStoreOptions> = {}) {
  const torrent = makeTorrent(100, [250, 180, 370])
  const directory = ownDirectory(t)
  const store = await openStore(t, torrent, directory, options)
  for (const fileIndex of [0, 1]) await store.want(fileIndex)
  await fill(store, torrent, [0, 1, 2])
  const path = await promote(store, 0, directory)
  const dropped: number[] = []
  store.on('dropped', piece => dropped.push(piece))
  return { torrent, directory, store, path, dropped }
}

t.test('a finished file leaves; its neighbour keeps what they share, also over a restart; it can come back', async t => {
  const { torrent, directory, store, path, dropped } = await season(t)
  t.equal(await store.unwant(0, never), true)
  t.same(store.layout.files.map(([fileIndex]) => fileIndex), [1])
  t.ok(await isThere(path), 'a promoted file is not the store\'s to delete')
  t.same(dropped, [0, 1])
  t.same(claimed(store), [2])
  t.same(await store.readFile(1, 0, 50), torrent.bytesOf(1).subarray(0, 50))
  t.same(await store.readPiece(store.geometry.piece(2), 0, 100), torrent.pieceBytes(2), 'the whole piece, for peers')
  t.equal(await store.unwant(0, never), true, 'once more')
  await rm(path)
  await store.close()

  const again = await openStore(t, torrent, directory)
  t.same(claimed(again), [2])
  await checkClaims(t, again, torrent, 'after a restart')
  const finished: number[] = []
  again.on('finished', fileIndex => finished.push(fileIndex))
  await again.want(0)
  await fill(again, torrent, [0, 1])
  await again.flush()
  t.same(finished, [0])
  t.same(await again.readFile(0, 0, 250), torrent.bytesOf(0))
})

t.test('a file that somebody reads stays; a client that takes nothing for long does not keep it', async t => {
  const { torrent, store } = await season(t, { windowTimes: { idleMs: 100 } })
  const reader = readPieces(store, 0, { start: 0, end: 249 }, { want: new Demand().open(), signal: never, progress: () => 0, stallTimeoutMs: 500 })
  t.same((await reader.next()).value, torrent.bytesOf(0))
  t.equal(await store.unwant(0, never), false)
  t.same(claimed(store), [0, 1, 2])
  await pause(150)
  t.equal(await store.unwant(0, never), true)
  t.same(claimed(store), [2])
  t.same(await reader.next(), { done: true, value: undefined }, 'it had all')

  await store.want(0)
  await fill(store, torrent, [0])
  const another = readPieces(store, 0, { start: 0, end: 249 }, { want: new Demand().open(), signal: never, progress: () => 0, stallTimeoutMs: 60_000 })
  await another.next()
  await pause(150)
  t.equal(await store.unwant(0, never), true)
  await t.rejects(another.next(), { code: 'STORE_CLOSED' }, 'it is told at once, and does not wait for what nobody brings')
  const stop = AbortSignal.abort()
  await store.want(0)
  t.equal(await store.unwant(0, stop), false, 'too late')
})

t.test('an unfinished file leaves with all that is on the disk of it', async t => {
  const { torrent, directory, store } = await season(t)
  await store.want(2)
  await fill(store, torrent, [4, 5, 6])
  t.equal(await store.unwant(2, never), true)
  t.same(claimed(store), [0, 1, 2, 4], 'the other file is not whole yet: it keeps what they share')
  t.notOk(await isThere(join(directory, 'partial', '2.part')))
  t.equal(store.verifiedBytesOf(2), 70)
  t.equal(await store.unwant(1, never), true)
  t.same(claimed(store), [0, 1], 'nobody needs what they shared')
  t.notOk(await isThere(join(directory, 'partial', 'edges', '4')))
  t.ok(store.isWindowed(2), 'nobody keeps it, until it is wanted')
  await store.want(2)
  t.notOk(store.isWindowed(2))
})

t.test('a file that is whole and not promoted yet stays', async t => {
  const { torrent, store, directory } = await season(t)
  await fill(store, torrent, [3, 4])
  t.equal(await store.unwant(1, never), false)
  await promote(store, 1, directory)
  t.equal(await store.unwant(1, never), true)
  t.same(claimed(store), [0, 1], 'what it shares with a promoted file that nobody reads goes too')
})

t.test('whoever wrote under the old layout is not believed', async t => {
  const { torrent, store } = await season(t)
  const swarm = new PieceFiles(store.geometry, store.layout, () => false)
  t.teardown(() => swarm.close())
  await store.want(2)
  swarm.setLayout(store.layout)
  const [shared, own] = [store.geometry.piece(4), store.geometry.piece(5)]
  const versions = [await swarm.writePiece(shared, torrent.pieceBytes(4)), await swarm.writePiece(own, torrent.pieceBytes(5))]
  t.equal(await store.unwant(2, never), true)
  t.same(await Promise.all([store.markVerified(shared, versions[0] ?? 0), store.markVerified(own, versions[1] ?? 0)]), [false, false])
  await checkClaims(t, store, torrent, 'stale')
  t.equal(await store.write(own, torrent.pieceBytes(5)), false, 'a piece that comes late is not kept')
  t.equal(await store.write(shared, torrent.pieceBytes(4)), true)
  await checkClaims(t, store, torrent, 'new')
})

t.test('random torrents, whose files come and go while they are filled by both ways, read back as they were', async t => {
  const seed = Date.now() % 1e6
  t.comment(`seed ${seed}`)
  const parent = ownDirectory(t)
  for (let round = 0; round < 12; round++) {
    const random = seededRandom(seed + round)
    let torrent = randomTorrent(random)
    while (torrent.metadata.pieceCount > 400) torrent = randomTorrent(random)
    const directory = join(parent, String(round))
    const promoted = new Map<number, string>()
    let store = await openStore(t, torrent, directory)
    const isPadding = (index: number) => torrent.metadata.files[index]?.isPadding === true
    let swarm = new PieceFiles(store.geometry, store.layout, isPadding)
    // It hears of each layout, late.
    const layouts: Layout[] = []
    store.on('layout', layout => layouts.push(layout))
    const real = torrent.metadata.files.filter(file => !file.isPadding)
    const any = () => real[random(real.length)]?.index ?? 0
    const underWay: Array<Promise<unknown>> = []
    const settle = async () => { await Promise.all(underWay.splice(0)) }
    const leave = async (fileIndex: number) => {
      const before = promoted.get(fileIndex)
      if (!await store.unwant(fileIndex, never) || before === undefined) return
      promoted.delete(fileIndex)
      await rm(before, { force: true })
    }
    const finish = async (fileIndex: number) => {
      await store.flush()
      if (promoted.has(fileIndex) || !store.isFinished(fileIndex)) return
      const path = join(directory, `${fileIndex}.mp4`)
      // It may be let go just before.
      await store.promote(fileIndex, path).then(() => promoted.set(fileIndex, path), error => { if (error.code !== 'STORE_FAILED') throw error })
    }
    for (const index of shuffled([...Array(store.geometry.pieceCount).keys(), ...Array(store.geometry.pieceCount).keys()], random)) {
      const piece = store.geometry.piece(index)
      if (random(4) === 0) underWay.push(store.want(any()))
      if (random(6) === 0) await finish(any())
      if (random(8) === 0) {
        await settle()
        await leave(any())
      } else if (random(8) === 0) underWay.push(store.unwant([...Array(real.length).keys()].map(any).find(index => !promoted.has(index)) ?? -1, never))
      if (random(3) === 0) for (const layout of layouts.splice(0, 1 + random(layouts.length))) swarm.setLayout(layout)
      if (random(2) === 0) underWay.push(store.write(piece, torrent.pieceBytes(index)))
      // Under an old layout its file may be gone.
      const written = swarm.writePiece(piece, torrent.pieceBytes(index)).then(async version => await store.markVerified(piece, version), () => {})
      if (random(2) === 0) await written
      else underWay.push(written)
      if (random(10) === 0) {
        await settle()
        await checkClaims(t, store, torrent, `seed ${seed + round}`)
      }
      if (random(30) === 0) {
        await settle()
        await store.close()
        await swarm.close()
        store = await openStore(t, torrent, directory, { promoted })
        swarm = new PieceFiles(store.geometry, store.layout, isPadding)
        layouts.length = 0
        store.on('layout', layout => layouts.push(layout))
        t.equal(store.uncheckedCount, 0, `seed ${seed + round}: a clean end`)
        for (const [fileIndex] of store.layout.files) await store.want(fileIndex)
        await checkClaims(t, store, torrent, `seed ${seed + round} reopened`)
      }
    }
    await settle()
    await checkClaims(t, store, torrent, `seed ${seed + round}`)
    for (const { index } of real) await store.want(index)
    for (let index = 0; index < store.geometry.pieceCount; index++) await store.write(store.geometry.piece(index), torrent.pieceBytes(index))
    for (const { index } of real) {
      if (!store.isFinished(index)) t.fail(`seed ${seed + round}: file ${index} is not finished`)
      if (!(await store.readFile(index, 0, torrent.bytesOf(index).length)).equals(torrent.bytesOf(index))) t.fail(`seed ${seed + round}: file ${index}`)
    }
    await store.close()
    const again = await openStore(t, torrent, directory, { promoted })
    await allChecked(again)
    t.equal(again.verifiedCount, again.geometry.pieceCount)
    await checkClaims(t, again, torrent, `seed ${seed + round} again`)
    await again.close()
    await swarm.close()
  }
})
