import { mkdir, open, readdir, rename, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { DiskBudget } from '../../../services/cache/disk-budget.ts'
import { LastUse } from '../../../services/cache/last-use.ts'
import { StoredFiles } from '../../../services/cache/stored-files.ts'
import { silent } from '../../../services/log.ts'
import { writeFileAtomically } from '../../../services/write-file.ts'
import { temporaryDirectory, testBytes, until } from '../../testnet.ts'
import type { DiskBudgetOptions } from '../../../services/cache/disk-budget.ts'
import type { PlacedEntry } from '../../../services/cache/disk-ledger.ts'
import type { Test } from 'tap'

const MB = 1_000_000
const GB = 1000 * MB
const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((digit) => digit.repeat(40)) as [string, string, string, string]

interface Bench {
  readonly budget: DiskBudget
  readonly stored: StoredFiles
  readonly lastUse: LastUse
  readonly directory: string
  /** Torrents at work: they may not be closed. */
  readonly busy: Set<string>
  /** Torrents whose store is open. */
  readonly running: Set<string>
  /** Files that their store has a reader of. */
  readonly read: Set<number>
  /** Which files of running torrents were let go, in this order. */
  readonly unwanted: number[]
  /** Which torrents were closed, in this order. */
  readonly closed: string[]
  readonly placed: PlacedEntry[]
  /** Free disk, as the file system says. */
  free: number
  now: number
  /** Puts a finished file there, which was streamed at this time. */
  store (infohash: string, fileIndex: number, bytes: number, streamedAt: number): Promise<string>
  /** Puts an unfinished file there: sparse, with so many bytes written. */
  part (infohash: string, fileIndex: number, lengthBytes: number, writtenBytes: number, streamedAt: number): Promise<string>
  /** Asks for a file as the store of a torrent does that somebody is at work with. */
  take (infohash: string, fileIndex: number, lengthBytes: number): Promise<boolean>
  names (): Promise<string[]>
}

async function setUp (t: Test, options: Partial<DiskBudgetOptions> = {}): Promise<Bench> {
  const directory = options.directory ?? await temporaryDirectory(t)
  const stored = await StoredFiles.open({ directory, log: silent })
  let streamedAt = 0
  const lastUse = await LastUse.open({ directory, log: silent, now: () => streamedAt })
  const stream = (infohash: string, fileIndex: number | null, at: number): void => {
    const before = streamedAt
    streamedAt = at
    const reading = lastUse.begin(infohash, fileIndex)
    reading.touch()
    reading.end()
    streamedAt = before
  }
  const bench: Bench = {
    directory,
    stored,
    lastUse,
    busy: new Set(),
    running: new Set(),
    read: new Set(),
    unwanted: [],
    closed: [],
    placed: [],
    free: 1000 * GB,
    now: 0,
    budget: new DiskBudget({
      directory,
      limitBytes: 10 * MB,
      minFreeBytes: 0,
      accounting: 'apparent',
      canEvictPlaced: false,
      stored,
      lastUse,
      torrents: {
        isBusy: (infohash) => bench.busy.has(infohash),
        async whileClosed (infohash, work) {
          if (bench.busy.has(infohash)) return false
          bench.closed.push(infohash)
          await work()
          return true
        },
        hasStore: (infohash) => bench.running.has(infohash),
        async whileUnwanted (infohash, fileIndex, work) {
          if (bench.read.has(fileIndex)) return false
          bench.unwanted.push(fileIndex)
          await rm(join(directory, '.self-streme', 'partial', infohash, `${fileIndex}.part`), { force: true })
          await work()
          return true
        },
        edgesOf: () => new Map(),
        nameOf: async () => null
      },
      placed: async () => bench.placed,
      log: silent,
      freeBytes: async () => bench.free,
      now: () => bench.now,
      shrinkLimitMs: 200,
      ...options
    }),
    async store (infohash, fileIndex, bytes, at) {
      const path = `${infohash}-${fileIndex}.mp4`
      await writeFile(join(directory, path), testBytes(bytes, path))
      await stored.add({ infohash, fileIndex, path, lengthBytes: bytes, name: `${fileIndex}.mp4`, isDefault: fileIndex === 0 })
      stream(infohash, fileIndex, at)
      return path
    },
    async part (infohash, fileIndex, lengthBytes, writtenBytes, at) {
      const folder = join(directory, '.self-streme', 'partial', infohash)
      await mkdir(join(folder, 'edges'), { recursive: true })
      const path = join(folder, `${fileIndex}.part`)
      const handle = await open(path, 'w')
      await handle.write(testBytes(writtenBytes, path))
      await handle.truncate(lengthBytes)
      await handle.sync()
      await handle.close()
      stream(infohash, fileIndex, at)
      return path
    },
    async take (infohash, fileIndex, lengthBytes) {
      bench.busy.add(infohash)
      return await bench.budget.takeFile(infohash, fileIndex, lengthBytes)
    },
    names: async () => (await readdir(directory)).filter((name) => name !== '.self-streme').map((name) => `${name[0]}${name.slice(40)}`)
  }
  t.teardown(async () => {
    await bench.budget.close()
    await lastUse.close()
    await stored.close()
  })
  return bench
}

/** So much of a limit of round megabytes is for records and for what an open store writes beside its files. */
const slack = 0.2 * MB

t.test('a file that fits is counted in full from the moment it is taken, once; released it counts what is there', async (t) => {
  const { budget, take, part } = await setUp(t)
  t.ok(await take(a, 0, 6 * MB))
  t.ok(await take(a, 0, 6 * MB), 'asked again')
  t.ok(budget.usedBytes >= 6 * MB && budget.usedBytes < 6 * MB + slack)
  t.notOk(await take(b, 0, 4 * MB), 'not even with nothing in the cache')
  t.ok(await take(b, 0, 3 * MB))
  t.match(budget.problems(), [], 'what fitted in the end is no problem')
  await part(a, 0, 2 * MB, 1000, 1)
  budget.release(a)
  await until('a counts as what is there', () => budget.usedBytes < 5 * MB + slack && budget.usedBytes >= 5 * MB)
})

t.test('the least recently streamed goes, and not more than is needed', async (t) => {
  const { take, store, names, stored } = await setUp(t)
  await store(a, 0, 3 * MB, 300)
  await store(b, 0, 3 * MB, 100)
  await store(c, 0, 3 * MB, 200)
  t.ok(await take(d, 0, 3 * MB))
  t.same(await names(), ['a-0.mp4', 'c-0.mp4'])
  t.equal(await stored.find(b, 0), null, 'the record knows')
  t.ok(await take(d, 1, 3 * MB))
  t.same(await names(), ['a-0.mp4'])
})

t.test('metadata of torrents that have nothing else goes like everything, with the oldest first; that of cached and placed files stays', async (t) => {
  const { budget, take, store, directory, placed, lastUse } = await setUp(t)
  const metadata = join(directory, '.self-streme', 'torrents')
  await mkdir(metadata, { recursive: true })
  const left = async (): Promise<string> => (await readdir(metadata)).map(([digit]) => digit).sort().join('')
  for (const [i, infohash] of [a, b, c, 'e'.repeat(40)].entries()) {
    await writeFile(join(metadata, `${infohash}.torrent`), testBytes(2 * MB, infohash))
    await utimes(join(metadata, `${infohash}.torrent`), 1000 + i, 1000 + i)
  }
  await store(b, 0, 1000, 500)
  await lastUse.pin(b)
  placed.push({ infohash: a, path: join(directory, `${a}.mp4`), name: 'a.mp4', fileIndex: 0, isVerified: true, isStored: false })
  t.ok(await take(d, 0, 3 * MB))
  t.equal(await left(), 'abe', 'c is the oldest that nobody needs')
  t.notOk(await take(d, 1, 4 * MB))
  t.equal(await left(), 'abe', 'what would not be enough is not evicted at all')
  t.match(await budget.remove('e'.repeat(40)), { outcome: 'unknown' }, 'nothing of it is cached')
  t.match(await budget.clear(), { files: 0 })
  t.equal(await left(), 'ab')
})

t.test('metadata is written once there is room for it, and not at all where there is none', async (t) => {
  const { budget, store, names, take, directory } = await setUp(t)
  await store(a, 0, 6 * MB, 100)
  const path = join(directory, '.self-streme', 'torrents', `${b}.torrent`)
  const write = async (): Promise<void> => { await writeFileAtomically(path, testBytes(5 * MB, b)) }
  t.ok(await budget.keepMetadata(b, 5 * MB, write))
  t.same(await names(), [], 'what was cached went for it')
  t.ok(budget.usedBytes >= 5 * MB && budget.usedBytes < 5 * MB + slack, 'it counts, once')
  t.ok(await take(c, 0, 4 * MB))
  t.notOk(await budget.keepMetadata(d, 6 * MB, async () => { t.fail('it does not fit') }))
  t.ok(budget.usedBytes < 9 * MB + slack)
  await t.rejects(budget.keepMetadata(d, 1000, async () => { throw new Error('the disk broke') }), { message: 'the disk broke' })
  t.ok(await take(c, 1, 0.5 * MB), 'and the next question is answered')
})

t.test('one file of a torrent goes, its others stay', async (t) => {
  const { take, store, names } = await setUp(t)
  await store(a, 0, 4 * MB, 100)
  await store(a, 1, 4 * MB, 200)
  t.ok(await take(b, 0, 4 * MB))
  t.same(await names(), ['a-1.mp4'])
})

t.test('what would not be enough is not evicted at all', async (t) => {
  const { budget, take, store, names } = await setUp(t)
  await store(a, 0, 3 * MB, 100)
  await store(b, 0, 3 * MB, 200)
  await budget.cleanUp()
  t.notOk(await take(c, 0, 11 * MB), 'larger than the budget')
  t.same(await names(), ['a-0.mp4', 'b-0.mp4'])
  t.match(budget.problems(), [/does not fit/])
  budget.release(c)
  t.same(budget.problems(), [])
})

const stays: ReadonlyArray<readonly [string, (bench: Bench) => void | Promise<void>]> = [
  ['what is being streamed', ({ lastUse }) => { lastUse.begin(a, 0) }],
  ['what is pinned', async ({ lastUse }) => { await lastUse.pin(a) }],
  ['what a running torrent is at work with', ({ busy }) => { busy.add(a) }]
]
for (const [what, protect] of stays) {
  t.test(`${what} stays, though it is the oldest`, async (t) => {
    const bench = await setUp(t)
    await bench.store(a, 0, 4 * MB, 100)
    await bench.store(b, 0, 4 * MB, 200)
    await protect(bench)
    t.ok(await bench.take(c, 0, 4 * MB))
    t.same(await bench.names(), ['a-0.mp4'])
    t.notOk(await bench.take(d, 0, 4 * MB))
    t.same(await bench.names(), ['a-0.mp4'])
  })
}

t.test('a reader that took nothing for 120 s does not keep its file', async (t) => {
  let now = 0
  const directory = await temporaryDirectory(t)
  const lastUse = await LastUse.open({ directory, log: silent, now: () => now })
  const { take, store, names } = await setUp(t, { directory, lastUse })
  await store(a, 0, 6 * MB, 0)
  const reading = lastUse.begin(a, 0)
  reading.touch()
  now = 119_000
  t.notOk(await take(b, 0, 6 * MB))
  now = 120_000
  t.ok(await take(b, 0, 6 * MB))
  t.same(await names(), [])
  await lastUse.close()
})

t.test('an unfinished torrent goes whole, and what it was is asked of nobody; its metadata stays', async (t) => {
  const { take, part, store, directory, names, closed } = await setUp(t)
  const path = await part(a, 0, 4 * MB, 4 * MB, 100)
  await writeFile(join(directory, '.self-streme', 'partial', a, 'completion'), 'bits')
  await writeFile(join(directory, '.self-streme', 'partial', a, 'edges', '7'), testBytes(1000, 'edge'))
  await mkdir(join(directory, '.self-streme', 'torrents'))
  await writeFile(join(directory, '.self-streme', 'torrents', `${a}.torrent`), 'metadata')
  await store(b, 0, 4 * MB, 200)
  t.ok(await take(c, 0, 4 * MB))
  await t.rejects(stat(path), { code: 'ENOENT' })
  t.same(await readdir(join(directory, '.self-streme', 'partial')), [])
  t.same(await readdir(join(directory, '.self-streme', 'torrents')), [`${a}.torrent`])
  t.same(await names(), ['b-0.mp4'])
  t.same(closed, [a], 'its torrent was closed before')
})

t.test('a sparse file counts as the host counts it', async (t) => {
  for (const [accounting, least, most] of [['apparent', 8 * MB, 8.2 * MB], ['allocated', 1 * MB, 1.3 * MB]] as const) {
    const { budget, take, part } = await setUp(t, { accounting })
    await part(a, 0, 8 * MB, 1 * MB, 100)
    await budget.cleanUp()
    t.ok(budget.usedBytes >= least && budget.usedBytes <= most, `${accounting}: ${budget.usedBytes}`)
    t.equal(await take(a, 0, 8 * MB), true, 'opened it counts in full, and once')
    t.ok(budget.usedBytes >= 8 * MB && budget.usedBytes < 8.2 * MB, `${accounting}, open: ${budget.usedBytes}`)
  }
})

t.test('an idle torrent that is closed counts less: then it need not go', async (t) => {
  const { take, part, closed, busy } = await setUp(t, { accounting: 'allocated' })
  const path = await part(a, 0, 8 * MB, 1 * MB, 100)
  t.ok(await take(a, 0, 8 * MB))
  busy.delete(a)
  t.ok(await take(b, 0, 8 * MB))
  t.same(closed, [a])
  t.equal((await stat(path)).size, 8 * MB, 'what it has is still there')
})

t.test('files that people placed neither count nor go; with CACHE_EVICT_PLACED they do both', async (t) => {
  for (const canEvictPlaced of [false, true]) {
    const bench = await setUp(t, { canEvictPlaced })
    const path = join(bench.directory, `${b}-mine.mp4`)
    const elsewhere = join(await temporaryDirectory(t), `${c}-mine.mp4`)
    for (const file of [path, elsewhere]) await writeFile(file, testBytes(4 * MB, 'mine'))
    const common = { name: 'mine.mp4', fileIndex: null, isVerified: false, isStored: false }
    bench.placed.push({ ...common, infohash: b, path }, { ...common, infohash: c, path: elsewhere })
    await bench.store(a, 0, 4 * MB, Date.now() + 1_000_000)
    await bench.budget.cleanUp()
    t.equal(bench.budget.usedBytes > 8 * MB, canEvictPlaced)
    const reading = bench.lastUse.begin(b, 3)
    t.equal(await bench.take(d, 0, 4 * MB), true)
    t.same(await bench.names(), canEvictPlaced ? ['b-mine.mp4'] : ['a-0.mp4', 'b-mine.mp4'], 'what is streamed stays whoever placed it')
    reading.end()
    if (canEvictPlaced) {
      t.ok(await bench.take(d, 1, 4 * MB))
      t.same(await bench.names(), [])
    }
    t.ok(await stat(elsewhere), 'other directories are never touched')
  }
})

t.test('a file in the place of a stored one is not ours to delete', async (t) => {
  const { budget, take, store, names, directory } = await setUp(t)
  const path = await store(a, 0, 6 * MB, 100)
  await budget.cleanUp()
  await writeFile(join(directory, 'other'), 'somebody put this here')
  await rename(join(directory, 'other'), join(directory, path))
  t.ok(await take(b, 0, 6 * MB))
  t.same(await names(), ['a-0.mp4'])
})

t.test('a reserve of free disk is kept, whatever the limit says', async (t) => {
  const bench = await setUp(t, { limitBytes: 100 * GB, minFreeBytes: 2 * MB })
  bench.free = 5 * MB
  t.notOk(await bench.take(a, 0, 4 * MB))
  t.ok(await bench.take(a, 1, 2 * MB), 'what leaves the reserve')
  t.notOk(await bench.take(b, 0, 2 * MB), 'what others were promised is not free')
  bench.budget.release(a)
  t.ok(await bench.take(b, 0, 2 * MB))
  bench.free = 1 * MB
  bench.now += 10_000
  await bench.budget.cleanUp()
  t.match(bench.budget.problems(), [/977 KB free, less than/])
})

t.test('where the disk is short, what is evicted makes it longer', async (t) => {
  const bench = await setUp(t, { limitBytes: 100 * GB, minFreeBytes: 2 * MB })
  await bench.store(a, 0, 4 * MB, 100)
  await bench.store(b, 0, 4 * MB, 200)
  bench.free = 3 * MB
  t.ok(await bench.take(c, 0, 4 * MB))
  t.same(await bench.names(), ['b-0.mp4'])
})

t.test('what an open store has written already is not asked of the disk twice', async (t) => {
  const bench = await setUp(t, { limitBytes: 100 * GB, minFreeBytes: 0 })
  bench.free = 5 * MB
  t.ok(await bench.take(a, 0, 4 * MB))
  await bench.part(a, 0, 4 * MB, 4 * MB, 100)
  bench.free = 1.2 * MB
  t.ok(await bench.take(b, 0, 1 * MB))
})

t.test('cleaning up: what came over the limit goes, and what vanished does not count', async (t) => {
  const { budget, store, names, directory, lastUse } = await setUp(t)
  for (const [i, infohash] of [a, b, c, d].entries()) await store(infohash, 0, 4 * MB, 100 * (i + 1))
  await budget.cleanUp()
  t.same(await names(), ['c-0.mp4', 'd-0.mp4'])
  t.ok(budget.usedBytes <= 10 * MB)
  t.equal(lastUse.at(a), null, 'nobody remembers when it was streamed')
  await truncate(join(directory, `${c}-0.mp4`), 0)
  await budget.cleanUp()
  t.ok(budget.usedBytes < 4 * MB + slack)
  await store(a, 0, 4 * MB, 500)
  await store(b, 0, 4 * MB, 600)
  for (const infohash of [a, b, d]) await lastUse.pin(infohash)
  await budget.cleanUp()
  t.equal((await names()).length, 4)
  t.match(budget.problems(), [/over its .* all of it is pinned or in use/])
})

t.test('many that ask at the same time get no more than there is', async (t) => {
  const { budget, take } = await setUp(t)
  const answers = await Promise.all(Array.from({ length: 30 }, async (_, i) => await take(i.toString(16).padStart(40, '0'), 0, 1 * MB)))
  const taken = answers.filter((isTaken) => isTaken).length
  t.equal(taken, 9)
  t.ok(budget.usedBytes <= 10 * MB)
})

t.test('an unfinished file that counts in full already is opened again, however full the cache is', async (t) => {
  const { budget, take, part, lastUse } = await setUp(t)
  await part(a, 0, 6 * MB, 1, 100)
  await part(b, 0, 3.98 * MB, 1, 100)
  await lastUse.pin(a)
  t.ok(await take(b, 0, 3.98 * MB))
  t.ok(await take(a, 0, 6 * MB))
  t.notOk(await take(c, 0, 1))
  t.ok(budget.usedBytes < 10 * MB + slack)
})

t.test('a file that is being made under another name counts once', async (t) => {
  const { budget, take, part } = await setUp(t)
  t.ok(await take(a, 0, 6 * MB))
  const path = await part(a, 0, 6 * MB, 1, 100)
  await rename(path, `${path}.tmp`)
  await budget.cleanUp()
  t.ok(budget.usedBytes >= 6 * MB && budget.usedBytes < 6 * MB + slack, String(budget.usedBytes))
  t.ok(await take(b, 0, 3 * MB))
})

t.test('pieces that reach into other files count once each', async (t) => {
  const { budget, take } = await setUp(t, {
    torrents: { isBusy: () => true, whileClosed: async () => false, hasStore: () => false, whileUnwanted: async () => false, edgesOf: (_infohash, fileIndex) => new Map([[fileIndex, 1 * MB], [fileIndex + 1, 1 * MB]]), nameOf: async () => null }
  })
  for (const fileIndex of [0, 1, 2]) t.ok(await take(a, fileIndex, 0.5 * MB))
  t.ok(budget.usedBytes >= 5.5 * MB && budget.usedBytes < 5.5 * MB + slack, String(budget.usedBytes))
})

t.test('windows share what is left', async (t) => {
  const { budget, take } = await setUp(t)
  t.ok(await take(a, 0, 1.7 * MB))
  const first = await budget.openWindow(b, 1 * MB, 64 * MB)
  t.ok(first.bytes > 7.5 * MB && first.bytes <= 8.3 * MB, String(first.bytes))
  const opening = budget.openWindow(c, 1 * MB, 64 * MB)
  await until('the first is told to shrink', () => first.bytes < 5 * MB)
  const second = await opening
  t.ok(Math.abs(first.bytes - second.bytes) < 0.2 * MB, `${first.bytes} ${second.bytes}`)
  t.ok(budget.usedBytes <= 10 * MB)
  first.release()
  first.release()
  t.ok(second.bytes > 7.5 * MB, 'it grows when the other has gone')
  t.equal(first.bytes, 0)
})

t.test('a newcomer waits until the others have shrunk, and for a bounded time', async (t) => {
  const { budget, take } = await setUp(t)
  const first = await budget.openWindow(a, 4 * MB, 64 * MB)
  t.ok(first.bytes > 9 * MB)
  await t.rejects(budget.openWindow(b, 2 * MB, 64 * MB), { code: 'NO_ROOM', isTemporary: true }, 'the first never asks')
  t.notOk(await take(b, 0, 3 * MB))
  t.match(budget.problems(), [/no room for the window/, /does not fit/])
  const taking = take(b, 0, 3 * MB)
  await until('the first shrinks', () => first.bytes < 7 * MB)
  t.ok(await taking)
  t.same(budget.problems(), [])
  t.ok(first.bytes >= 4 * MB)
  t.ok(budget.usedBytes <= 10 * MB)
})

t.test('no window without its least, and none in vain', async (t) => {
  const { budget, take, store, names } = await setUp(t)
  await store(b, 0, 3 * MB, 100)
  t.ok(await take(a, 0, 5 * MB))
  await t.rejects(budget.openWindow(c, 6 * MB, 6 * MB), { code: 'NO_ROOM' })
  t.same(await names(), ['b-0.mp4'])
  t.match(budget.problems(), [/no room for the window/])
  const claim = await budget.openWindow(c, 4 * MB, 4 * MB)
  t.equal(claim.bytes, 4 * MB)
  t.same(await names(), [], 'what is idle makes room for what is streamed')
  t.same(budget.problems(), [])
  claim.release()
})

t.test('windows take no more than the disk has', async (t) => {
  const bench = await setUp(t, { limitBytes: 100 * GB, minFreeBytes: 2 * MB })
  bench.free = 8 * MB
  const claim = await bench.budget.openWindow(a, 1 * MB, 64 * MB)
  t.ok(claim.bytes > 5 * MB && claim.bytes <= 6 * MB, String(claim.bytes))
  bench.free = 5 * MB
  bench.now += 10_000
  await until('it shrinks when others fill the disk', () => claim.bytes <= 3 * MB)
  claim.release()
})

t.test('a disk on which nothing can be written is no reason for no window: what is read goes through memory', async (t) => {
  const bench = await setUp(t, { minFreeBytes: 2 * MB })
  bench.free = 0.5 * MB
  t.notOk(await bench.take(a, 0, 5 * MB))
  const claim = await bench.budget.openWindow(a, 1 * MB, 64 * MB)
  t.equal(claim.bytes, 1 * MB)
  t.match(bench.budget.problems(), [/free, less than the/, /write failed for lack of space/, /plays from a window/])
  claim.release()
  bench.free = 1.5 * MB
  bench.now += 10_000
  await t.rejects(bench.budget.openWindow(a, 1 * MB, 64 * MB), { code: 'NO_ROOM' }, 'but a reserve is left to others')
})

t.test('when the disk is full in spite of all, something goes, and the log says so once', async (t) => {
  const lines: string[] = []
  const { budget, store, names, lastUse } = await setUp(t, { log: { ...silent, warn: (_fields: unknown, text: unknown) => { lines.push(String(text)) } } })
  await store(a, 0, 2 * MB, 100)
  await store(b, 0, 2 * MB, 200)
  await store(c, 0, 2 * MB, 300)
  await budget.cleanUp()
  t.ok(await budget.makeRoom(3 * MB))
  t.same(await names(), ['c-0.mp4'])
  t.match(budget.problems(), [/write failed for lack of space/])
  await lastUse.pin(c)
  t.notOk(await budget.makeRoom(1), 'nothing may go')
  t.same(lines, ['the disk is full'])
})

t.test('a torrent that is being closed to go gets no answer to wait for', async (t) => {
  const { promise: asked, resolve } = Promise.withResolvers<unknown>()
  const bench: Bench = await setUp(t, {
    torrents: {
      isBusy: () => false,
      async whileClosed (infohash, work) {
        // As a store does whose file is being made room for when its torrent closes.
        resolve(await bench.budget.takeFile(infohash, 1, 1).catch((error: unknown) => error))
        await work()
        return true
      },
      hasStore: () => false,
      whileUnwanted: async () => false,
      edgesOf: () => new Map(),
      nameOf: async () => null
    }
  })
  await bench.store(a, 0, 6 * MB, 100)
  t.ok(await bench.take(b, 0, 6 * MB))
  t.match(await asked, { code: 'STORE_CLOSED' })
})

t.test('a torrent whose store waits for an answer is not closed for another', async (t) => {
  const { take, part, closed } = await setUp(t)
  await part(a, 0, 4 * MB, 1, 100)
  await part(b, 0, 4 * MB, 1, 200)
  const answers = await Promise.all([take(c, 0, 4 * MB), take(a, 0, 4 * MB)])
  t.same(answers, [true, true])
  t.same(closed, [b])
})

t.test('of a torrent that is at work the files go that nobody reads, the oldest first; its own folder stays', async (t) => {
  const { budget, busy, running, read, unwanted, closed, lastUse, take, store, part, names } = await setUp(t)
  for (const fileIndex of [1, 2, 3]) await store(a, fileIndex, 2 * MB, 100 * fileIndex)
  await part(a, 4, 2 * MB, 1 * MB, 50)
  busy.add(a)
  t.notOk(await take(b, 0, 5 * MB), 'its store is not open yet')
  running.add(a)
  lastUse.begin(a, 1).touch()
  t.ok(await take(b, 0, 5 * MB))
  t.same(unwanted, [4, 2], 'an unfinished one too, and not the one that is streamed from the cache')
  t.same(await names(), ['a-1.mp4', 'a-3.mp4'])
  read.add(3)
  t.notOk(await take(b, 1, 2 * MB), 'the store has a reader of the last one')
  t.same(closed, [])
  t.ok(budget.usedBytes >= 9 * MB && budget.usedBytes < 9 * MB + slack, String(budget.usedBytes))
  t.same(await budget.remove(a), { outcome: 'busy' })
})

t.test('what an open store was promised for a file is free again when the file goes', async (t) => {
  const { budget, running, take, part } = await setUp(t, { accounting: 'allocated' })
  running.add(a)
  for (const fileIndex of [0, 1]) {
    t.ok(await take(a, fileIndex, 4 * MB))
    await part(a, fileIndex, 4 * MB, 1 * MB, 100 * fileIndex + 100)
  }
  t.ok(await take(b, 0, 5 * MB))
  t.ok(budget.usedBytes >= 9 * MB && budget.usedBytes < 9 * MB + slack, String(budget.usedBytes))
  t.ok(await take(a, 0, 0.5 * MB), 'and is asked for anew')
  t.ok(budget.usedBytes >= 9.5 * MB && budget.usedBytes < 9.5 * MB + slack, String(budget.usedBytes))
})

t.test('10,000 files: measured at the start and listed in bounded time', { timeout: 120_000 }, async (t) => {
  const directory = await temporaryDirectory(t)
  const count = 10_000
  const files = []
  await mkdir(join(directory, '.self-streme'))
  for (let i = 0; i < count; i++) {
    const infohash = i.toString(16).padStart(40, '0')
    const path = `${infohash}-Film.mp4`
    await writeFile(join(directory, path), 'film')
    const { ino, mtimeNs } = await stat(join(directory, path), { bigint: true })
    files.push({ infohash, fileIndex: 0, path, lengthBytes: 4, inode: String(ino), mtimeNs: String(mtimeNs), name: 'Film.mp4', storedAt: new Date(i).toISOString(), isDefault: true })
  }
  await writeFile(join(directory, '.self-streme', 'stored.json'), JSON.stringify({ version: 1, files }))
  const { budget, take, stored } = await setUp(t, { directory, limitBytes: 100 * MB })
  t.equal(stored.list().length, count)
  const elapsed = async (work: () => Promise<unknown>): Promise<number> => {
    const startedAt = performance.now()
    await work()
    return Math.round(performance.now() - startedAt)
  }
  const timesMs = {
    first: await elapsed(async () => { await take(a, 0, 1 * MB) }),
    cleanUp: await elapsed(async () => { await budget.cleanUp() }),
    take: await elapsed(async () => { await take(b, 0, 1 * MB) }),
    list: await elapsed(async () => { t.equal((await budget.list()).length, count + 2) })
  }
  t.comment(JSON.stringify(timesMs))
  t.ok(timesMs.first < 5000 && timesMs.cleanUp < 5000 && timesMs.list < 5000)
  t.ok(timesMs.take < 200, 'who asks later does not wait for a measurement')
})
