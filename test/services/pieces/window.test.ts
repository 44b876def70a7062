import { readdirSync, statSync } from 'node:fs'
import { cp, open, readdir } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { CodedError } from '../../../services/errors.ts'
import { silent } from '../../../services/log.ts'
import { Demand, urgencies } from '../../../services/pieces/demand.ts'
import type { ByteRange, PieceIndex } from '../../../services/pieces/geometry.ts'
import { PieceFiles } from '../../../services/pieces/piece-files.ts'
import { readPieces } from '../../../services/pieces/piece-reader.ts'
import { PieceStore } from '../../../services/pieces/piece-store.ts'
import type { PieceStoreOptions } from '../../../services/pieces/piece-store.ts'
import type { Room } from '../../../services/pieces/room.ts'
import type { MadeTorrent, Random } from './torrent.ts'
import { allChecked, checkClaims, claimed, makeTorrent, ownDirectory, seededRandom } from './torrent.ts'

const never = new AbortController().signal

/**
 * Room for windows of `bytes` in all, shared in equal parts; a part that others hold is not given out before they have
 * seen that theirs is smaller. `fitting`: the files that fit.
 */
class SmallRoom implements Room {
  readonly bytes: number
  readonly fitting: ReadonlySet<number>
  readonly granted = new Map<symbol, number>()
  makesRoom = 0

  constructor (bytes: number, fitting: readonly number[] = []) {
    this.bytes = bytes
    this.fitting = new Set(fitting)
  }

  get held (): number {
    return [...this.granted.values()].reduce((sum, bytes) => sum + bytes, 0)
  }

  async takeFile (_infohash: string, fileIndex: number): Promise<boolean> {
    return this.fitting.has(fileIndex)
  }

  async openWindow (_infohash: string, leastBytes: number, mostBytes: number) {
    const key = Symbol('window')
    const fair = () => Math.max(leastBytes, Math.min(mostBytes, Math.floor(this.bytes / this.granted.size)))
    if ((this.granted.size + 1) * leastBytes > this.bytes) throw new CodedError('NO_ROOM', 'no room')
    this.granted.set(key, 0)
    while (this.held + leastBytes > this.bytes) await pause(2)
    const grant = () => {
      this.granted.set(key, 0)
      const bytes = Math.max(leastBytes, Math.min(fair(), this.bytes - this.held))
      this.granted.set(key, bytes)
      return bytes
    }
    grant()
    const granted = this.granted
    return { get bytes () { return granted.has(key) ? grant() : 0 }, release () { granted.delete(key) } }
  }

  async makeRoom (): Promise<boolean> {
    return this.makesRoom-- > 0
  }

  release () { /* nothing was counted */ }
}

interface Filler {
  readonly demand: Demand
  /** How often each piece was brought. */
  readonly brought: Map<number, number>
  /** Resolves when nothing is under way. */
  idle (): Promise<void>
}

/** Brings what is wanted, several pieces at a time, each after a moment, whether it is wanted then or not. */
function fillerOf (t: Test, store: PieceStore, torrent: MadeTorrent, { random = () => 0, parallel = 3, bring = (piece: PieceIndex) => store.write(piece, torrent.pieceBytes(piece)) }: { random?: Random, parallel?: number, bring?: (piece: PieceIndex) => Promise<unknown> } = {}): Filler {
  const demand = new Demand()
  const brought = new Map<number, number>()
  const underWay = new Map<number, Promise<void>>()
  const next = (): PieceIndex | null => {
    for (const { first, last } of demand.ranges()) {
      for (let index: number = first; index <= last; index++) {
        const piece = store.geometry.piece(index)
        if (!store.has(piece) && !underWay.has(index)) return piece
      }
    }
    return null
  }
  const work = () => {
    for (let piece = next(); piece !== null && underWay.size < parallel; piece = next()) {
      const index = piece
      brought.set(index, (brought.get(index) ?? 0) + 1)
      underWay.set(index, pause(random(4)).then(() => bring(index)).then(() => {}, error => {
        if (error.code !== 'STORE_CLOSED') t.fail(error)
      }).finally(() => {
        underWay.delete(index)
        work()
      }))
    }
  }
  demand.on('change', () => { setImmediate(work) })
  store.on('dropped', () => { setImmediate(work) })
  return { demand, brought, idle: async () => { while (underWay.size > 0) await Promise.all(underWay.values()) } }
}

async function openStore (t: Test, torrent: MadeTorrent, directory: string, options: Partial<PieceStoreOptions> = {}) {
  const store = await PieceStore.open({ metadata: torrent.metadata, directory, ...options })
  t.teardown(() => store.close())
  return store
}

/** Bytes of all files below, by st_size, as a panel counts. */
function bytesBelow (directory: string): number {
  let bytes = 0
  for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) bytes += statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0
  }
  return bytes
}

const edgesOf = async (directory: string) => (await readdir(join(directory, 'edges'))).sort((a, b) => Number(a) - Number(b))

async function until (what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!await isSo()) {
    if (performance.now() > deadline) throw new Error(`not within 10 s: ${what}`)
    await pause(5)
  }
}

/** Reads like a player: `each` is called with every chunk. */
async function play (store: PieceStore, filler: Filler, fileIndex: number, range: ByteRange, { signal = never, each = async () => {} }: { signal?: AbortSignal, each?: (chunk: Buffer) => Promise<void> | void } = {}): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const chunk of readPieces(store, fileIndex, range, { want: filler.demand.open(), signal, progress: () => filler.brought.size, stallTimeoutMs: 20_000 })) {
    parts.push(Buffer.from(chunk))
    await each(chunk)
  }
  return Buffer.concat(parts)
}

t.test('random players with random seeks get the right bytes, and the disk never holds more than their windows', async t => {
  const seed = Date.now() % 1e6
  t.comment(`seed ${seed}`)
  const parent = ownDirectory(t)
  for (let round = 0; round < 6; round++) {
    const random = seededRandom(seed + round)
    const pieceLength = 100 + random(400)
    const torrent = makeTorrent(pieceLength, [1 + random(2000), pieceLength * (40 + random(60)) + random(100), 1 + random(2000)], random)
    const directory = join(parent, `${round}`)
    const players = 1 + random(4)
    const room = new SmallRoom(pieceLength * players * (2 + random(8)), [0])
    const store = await openStore(t, torrent, directory, { room, windowTimes: { lingerMs: 20 } })
    const swarm = new PieceFiles(store.geometry, store.layout, () => false)
    store.on('layout', layout => swarm.setLayout(layout))
    const parallel = 3
    const bring = async (piece: PieceIndex) => {
      // Half of it comes from another process, which heeds no window.
      if (random(2) === 0) await store.write(piece, torrent.pieceBytes(piece))
      else await store.markVerified(piece, await swarm.writePiece(piece, torrent.pieceBytes(piece)))
    }
    const filler = fillerOf(t, store, torrent, { random, parallel, bring })
    const length = torrent.bytesOf(1).length
    let most = 0
    const sample = () => { most = Math.max(most, bytesBelow(directory)) }
    store.on('verified', sample)
    await store.want(0)
    const neighbour = play(store, filler, 0, { start: 0, end: torrent.bytesOf(0).length - 1 })
    await Promise.all(Array.from({ length: players }, async () => {
      for (let seek = 0; seek < 6; seek++) {
        const start = random(length)
        const end = Math.min(length - 1, start + random(3) * random(length))
        const leaves = new AbortController()
        const leaveAfter = random(3) === 0 ? 1 + random(10) : Infinity
        let chunks = 0
        const bytes = await play(store, filler, 1, { start, end }, {
          signal: leaves.signal,
          each: async () => {
            sample()
            if (++chunks === leaveAfter) leaves.abort(new Error('left'))
            else if (random(5) === 0) await pause(random(5))
          }
        }).catch(error => {
          if (error.message !== 'left') throw error
          return null
        })
        if (bytes !== null && !bytes.equals(torrent.bytesOf(1).subarray(start, end + 1))) t.fail(`seed ${seed + round}: ${start}-${end}`)
      }
    }))
    t.ok((await neighbour).equals(torrent.bytesOf(0)))
    await filler.idle()
    await until('the windows are gone', () => store.counters().seats === 0 && room.held === 0)
    sample()
    // The wanted neighbour whole, the pieces that it shares, the bitmap and its successor, and what came unasked.
    const beside = torrent.bytesOf(0).length + pieceLength + 2 * (torrent.metadata.pieceCount / 8 + 100)
    t.ok(most <= room.bytes + beside + (parallel + 1) * pieceLength, `seed ${seed + round}: ${most} bytes, windows of ${room.bytes}`)
    t.equal(room.held, 0)
    t.same([store.counters().waiters, filler.demand.size], [0, 0])
    const shared = torrent.bytesOf(0).length % pieceLength === 0 ? [] : [`${Math.floor(torrent.bytesOf(0).length / pieceLength)}`]
    t.same(await edgesOf(directory), shared, 'only what the neighbour needs is left')
    await checkClaims(t, store, torrent, `seed ${seed + round}`)
    t.equal(store.isFinished(1), false)
    await swarm.close()
    await store.close()
  }
})

t.test('played from end to end each piece is fetched once, and again after a seek back', async t => {
  const torrent = makeTorrent(1000, [50_500])
  const directory = ownDirectory(t)
  const store = await openStore(t, torrent, directory, { room: new SmallRoom(6000), windowTimes: { lingerMs: 60_000 } })
  store.on('finished', () => t.fail('a windowed file is never finished'))
  const filler = fillerOf(t, store, torrent)
  const dropped: number[] = []
  store.on('dropped', piece => dropped.push(piece))
  t.ok((await play(store, filler, 0, { start: 0, end: 50_499 }, { each: () => { t.ok(bytesBelow(directory) <= 6000) } })).equals(torrent.content))
  t.equal(store.isWindowed(0), true)
  t.same(store.layout.files, [])
  t.same([...filler.brought.values()], Array(51).fill(1))
  const kept = Array.from({ length: 51 }, (_, index) => index).filter(index => !dropped.includes(index))
  t.ok(dropped.length <= 50 && kept.every(index => index > 44), `pieces ${kept} are in the window still`)
  t.same([claimed(store), await edgesOf(directory)], [kept, kept.map(String)])
  t.equal(store.verifiedBytesOf(0), kept.length * 1000 - 500)

  t.ok((await play(store, filler, 0, { start: 2500, end: 4499 })).equals(torrent.content.subarray(2500, 4500)))
  t.same([2, 3, 4].map(index => filler.brought.get(index)), [2, 2, 2])
  t.equal(filler.brought.get(5), 1, 'nothing beyond the range')
  await store.close()
  t.same(await edgesOf(directory), [], 'a store that is closed leaves no window behind')
  t.same(claimed(store), [])
})

t.test('a reader asks for its window and no more, the head and tail included', async t => {
  const torrent = makeTorrent(1000, [100_000])
  const store = await openStore(t, torrent, ownDirectory(t), { room: new SmallRoom(8000) })
  const demand = new Demand()
  const reading = readPieces(store, 0, { start: 50_500, end: 99_999 }, { want: demand.open(), signal: never, progress: () => 0 })
  const first = reading.next()
  await until('it waits', () => store.counters().waiters > 0)
  t.same(demand.ranges(), [{ first: 50, last: 50, urgency: urgencies.waiting }, { first: 51, last: 56, urgency: urgencies.readAhead }], 'one piece behind it stays')
  const outside = store.geometry.piece(57)
  t.equal(await store.write(outside, torrent.pieceBytes(57)), false, 'what is outside is declined')
  const swarm = new PieceFiles(store.geometry, store.layout, () => false)
  t.teardown(() => swarm.close())
  const dropped: number[] = []
  store.on('dropped', piece => dropped.push(piece))
  t.equal(await store.markVerified(outside, await swarm.writePiece(outside, torrent.pieceBytes(57))), false, 'or dropped at once')
  t.same(dropped, [57])
  t.same(await edgesOf(store.directory), [])
  t.equal(await store.markVerified(store.geometry.piece(56), store.layout.version), false, 'a piece that is not there is not believed')
  await store.write(store.geometry.piece(50), torrent.pieceBytes(50))
  t.same((await first).value, torrent.content.subarray(50_500, 51_000))
  await reading.return()
})

t.test('two players at different places have a window each, and share what both keep', async t => {
  const torrent = makeTorrent(1000, [40_000])
  const directory = ownDirectory(t)
  const room = new SmallRoom(12_000)
  const store = await openStore(t, torrent, directory, { room, windowTimes: { lingerMs: 0 } })
  const filler = fillerOf(t, store, torrent)
  const results = await Promise.all([0, 20_000, 3000].map(start => play(store, filler, 0, { start, end: 39_999 }, {
    each: async () => {
      t.ok(bytesBelow(directory) <= 12_000 + 1000)
      await pause(1)
    }
  })))
  for (const [i, start] of [0, 20_000, 3000].entries()) t.ok(results[i]?.equals(torrent.content.subarray(start)))
  await until('nothing is left', async () => room.held === 0 && (await edgesOf(directory)).length === 0)
  t.same([claimed(store), room.held, store.counters().seats], [[], 0, 0])
})

t.test('who finds no room for a window is told before anything is fetched; a window that only lingers makes way', async t => {
  const torrent = makeTorrent(1000, [40_000])
  const parent = ownDirectory(t)
  const room = new SmallRoom(2000)
  const store = await openStore(t, torrent, join(parent, 'a'), { room, windowTimes: { lingerMs: 60_000 } })
  const other = await openStore(t, torrent, join(parent, 'b'), { room, windowTimes: { lingerMs: 60_000 } })
  const [filler, otherFiller] = [fillerOf(t, store, torrent), fillerOf(t, other, torrent)]
  await store.want(0)
  await other.want(0)
  const seat = await store.sit(0, 0, never, { isShared: true })
  const twin = await store.sit(0, 0, never, { isShared: true })
  t.equal(seat, twin, 'sources that start for the same place use one window')
  await t.rejects(store.sit(0, 30_000, never), { code: 'NO_ROOM' })
  await t.rejects(play(other, otherFiller, 0, { start: 0, end: 0 }), { code: 'NO_ROOM' })
  t.equal(otherFiller.brought.size, 0)
  await t.rejects(store.sit(0, 0, AbortSignal.abort(new Error('left'))), { message: 'left' })
  seat.release()
  t.equal(room.granted.size, 1)
  twin.release()
  t.equal(room.granted.size, 1, 'the next reader finds it')
  t.same(await play(store, filler, 0, { start: 0, end: 2000 }), torrent.content.subarray(0, 2001))
  t.same(await edgesOf(store.directory), ['2'])
  t.same(await play(other, otherFiller, 0, { start: 0, end: 1000 }), torrent.content.subarray(0, 1001), 'the other store gets the room')
  t.same(await edgesOf(store.directory), [])
  t.same([store.counters().seats, claimed(store)], [0, []])
  await other.close()
  t.equal(room.held, 0)
})

t.test('a window shrinks for another reader while its own one waits or sleeps', async t => {
  const torrent = makeTorrent(1000, [40_000])
  const directory = ownDirectory(t)
  const room = new SmallRoom(12_000)
  const store = await openStore(t, torrent, directory, { room, windowTimes: { lingerMs: 0, idleMs: 500 } })
  const filler = fillerOf(t, store, torrent)
  const sleeping = readPieces(store, 0, { start: 0, end: 39_999 }, { want: filler.demand.open(), signal: never, progress: () => 0 })
  const rest = [(await sleeping.next()).value ?? Buffer.alloc(0)]
  await until('the window is full', () => store.verifiedCount === 12)
  const second = await store.sit(0, 20_000, never)
  t.ok(store.verifiedCount <= 6)
  t.same(await edgesOf(directory), ['0', '1', '2', '3', '4', '5'])
  second.release()
  await until('a client that takes nothing loses its window', () => store.verifiedCount === 0 && room.held === 0)
  const before = [...filler.brought.values()].reduce((a, b) => a + b)
  await pause(50)
  t.equal([...filler.brought.values()].reduce((a, b) => a + b), before, 'and nothing is fetched for it')
  for await (const chunk of sleeping) rest.push(chunk)
  t.ok(Buffer.concat(rest).equals(torrent.content), 'when it goes on it gets one again')
})

t.test('a reader that leaves while it waits for a window leaves no claim behind', async t => {
  const torrent = makeTorrent(1000, [40_000])
  const { promise: isGiven, resolve: give } = Promise.withResolvers<void>()
  let released = 0
  const room: Room = {
    takeFile: async () => false,
    openWindow: async (_infohash, bytes) => {
      await isGiven
      return { bytes, release: () => { released++ } }
    },
    makeRoom: async () => false,
    release () { /* nothing was counted */ }
  }
  const store = await openStore(t, torrent, ownDirectory(t), { room })
  const filler = fillerOf(t, store, torrent)
  const leaves = new AbortController()
  const playing = play(store, filler, 0, { start: 0, end: 10 }, { signal: leaves.signal })
  await until('it waits', () => store.counters().seats === 1)
  leaves.abort(new Error('left'))
  await t.rejects(playing, { message: 'left' })
  t.same([store.counters().seats, filler.demand.size], [0, 0])
  give()
  await until('it is given back', () => released === 1)
})

t.test('a piece that is shared with a file that fits is kept, and what a crash leaves of a window is not', async t => {
  const torrent = makeTorrent(1000, [2500, 20_000, 1500])
  const directory = ownDirectory(t, { store: {} })
  const store = await openStore(t, torrent, join(directory, 'store'), { room: new SmallRoom(4000, [0, 2]), windowTimes: { lingerMs: 60_000 } })
  const filler = fillerOf(t, store, torrent)
  await store.want(0)
  t.ok((await play(store, filler, 1, { start: 0, end: 9999 })).equals(torrent.bytesOf(1).subarray(0, 10_000)))
  const [shared, ...window] = await edgesOf(store.directory)
  t.equal(shared, '2')
  t.ok(window.length > 0 && window.length <= 4)
  t.equal(store.isWindowed(1), true)
  await store.flush()
  await cp(store.directory, join(directory, 'crashed'), { recursive: true })
  const crashed = await openStore(t, torrent, join(directory, 'crashed'))
  await allChecked(crashed)
  t.same(claimed(crashed), [2])
  t.same(await edgesOf(crashed.directory), ['2'])
  await checkClaims(t, crashed, torrent, 'crashed')

  t.ok((await play(store, filler, 1, { start: 19_000, end: 19_999 })).equals(torrent.bytesOf(1).subarray(19_000)))
  t.same(claimed(store), [2, 21, 22])
  await store.want(2)
  t.same(claimed(store), [2, 21, 22], 'a file that joins takes what the window has of it')
  await store.flush()
  await store.close()
  const again = await openStore(t, torrent, store.directory)
  t.same(claimed(again), [2, 22], 'and that outlives the window')
  await checkClaims(t, again, torrent, 'again')
})

t.test('a file that fits later is kept whole from then on', async t => {
  const torrent = makeTorrent(1000, [20_000])
  const directory = ownDirectory(t)
  const fitting: number[] = []
  const room = new SmallRoom(4000)
  room.takeFile = async (_infohash, fileIndex) => fitting.includes(fileIndex)
  const store = await openStore(t, torrent, directory, { room, windowTimes: { lingerMs: 0 } })
  const filler = fillerOf(t, store, torrent)
  await play(store, filler, 0, { start: 0, end: 5000 })
  fitting.push(0)
  await until('the window is gone', () => store.counters().seats === 0)
  const finished = new Promise(resolve => store.once('finished', resolve))
  t.ok((await play(store, filler, 0, { start: 0, end: 19_999 })).equals(torrent.content))
  t.equal(await finished, 0)
  t.equal(store.isWindowed(0), false)
  t.same(await edgesOf(directory), [])
})

/** Lets writes fail as a full disk does, from when `isFull` says so. */
async function fillDisk (t: Test, directory: string, isFull: (bytes: Uint8Array) => boolean): Promise<void> {
  const handle = await open(directory, 'r')
  const handles: FileHandle = Object.getPrototypeOf(handle)
  await handle.close()
  const write = handles.write
  t.teardown(() => { handles.write = write })
  handles.write = async function (this: FileHandle, bytes: Uint8Array, ...rest: unknown[]) {
    if (isFull(bytes)) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    return await Reflect.apply(write, this, [bytes, ...rest])
  } as typeof handles.write
}

t.test('a full disk: the stream goes on through memory, and nothing of it is believed later', async t => {
  const parent = ownDirectory(t)
  let isFull = false
  await fillDisk(t, parent, () => isFull)
  for (const fitting of [[], [0]]) {
    const torrent = makeTorrent(1 << 20, [30 << 20])
    const directory = join(parent, `${fitting.length}`)
    const warnings: string[] = []
    const room = new SmallRoom(16 << 20, fitting)
    const store = await openStore(t, torrent, directory, { room, windowTimes: { lingerMs: 0 }, log: { ...silent, warn: (_, message) => { warnings.push(message) } } })
    const filler = fillerOf(t, store, torrent)
    store.on('finished', () => t.fail('it is not on the disk'))
    let most = 0
    let arrived = 0
    store.on('verified', () => {
      if (++arrived === 5) isFull = true
      most = Math.max(most, store.counters().piecesInMemory)
    })
    const bytes = await play(store, filler, 0, { start: 0, end: (30 << 20) - 1 })
    t.ok(bytes.equals(torrent.content))
    t.equal(store.isDiskFull, true)
    t.same(warnings.filter(warning => warning.includes('disk is full')).length, 1)
    t.ok(most > 0 && most <= 8, `${most} pieces of 1 MiB in memory`)
    await filler.idle()
    await until('the memory is free', () => store.counters().piecesInMemory === 0 && store.counters().seats === 0)
    isFull = false
    const late = store.geometry.piece(20)
    t.equal(await store.write(late, torrent.pieceBytes(20)), fitting.length === 1, 'a piece that nobody waits for tries the disk')
    t.equal(store.isDiskFull, fitting.length === 0)
    await store.close()
    const again = await openStore(t, torrent, directory)
    await checkClaims(t, again, torrent, 'again')
    t.equal(claimed(again).length > 0, fitting.length === 1)
    await again.close()
  }
})

t.test('a full disk and more players than pieces that may be in memory: who came first goes first', async t => {
  const torrent = makeTorrent(5 << 20, [60 << 20])
  const directory = ownDirectory(t)
  await fillDisk(t, directory, () => true)
  const store = await openStore(t, torrent, directory, { room: new SmallRoom(60 << 20), windowTimes: { lingerMs: 0 } })
  const filler = fillerOf(t, store, torrent)
  let most = 0
  store.on('verified', () => { most = Math.max(most, store.counters().piecesInMemory) })
  const ended: number[] = []
  await Promise.all([0, 20 << 20, 40 << 20].map(async (start, player) => {
    const bytes = await play(store, filler, 0, { start, end: start + (15 << 20) - 1 })
    ended.push(player)
    t.ok(bytes.equals(torrent.content.subarray(start, start + (15 << 20))))
  }))
  t.equal(ended[2], 2)
  t.ok(most <= 2, `${most} pieces of 5 MiB in memory`)
  const fetched = [...filler.brought.values()].reduce((a, b) => a + b)
  t.ok(fetched <= 9 + 4, `${fetched} pieces fetched for 9`)
})

t.test('a disk that is full for a moment only: what can go goes, and a file that was read through memory is still finished', async t => {
  const torrent = makeTorrent(1000, [20_000, 5000])
  const directory = ownDirectory(t)
  let refusals = 0
  await fillDisk(t, directory, ({ length }) => length === 1000 && refusals-- > 0)
  const room = new SmallRoom(0, [0, 1])
  const store = await openStore(t, torrent, directory, { room, windowTimes: { lingerMs: 0 } })
  const filler = fillerOf(t, store, torrent)
  refusals = 2
  room.makesRoom = 2
  t.ok((await play(store, filler, 1, { start: 0, end: 4999 })).equals(torrent.bytesOf(1)))
  t.equal(store.isDiskFull, false, 'room was made twice')

  refusals = 1
  const first = store.geometry.piece(0)
  const reading = readPieces(store, 0, { start: 0, end: 999 }, { want: new Demand().open(), signal: never, progress: () => 0 })
  const chunk = reading.next()
  await until('it waits', () => store.counters().waiters === 1)
  t.equal(await store.takeBytes(first, torrent.pieceBytes(1)), false, 'wrong bytes')
  t.equal(await store.takeBytes(first, torrent.pieceBytes(0)), true)
  t.same([store.isDiskFull, store.counters().piecesInMemory, store.has(first)], [true, 1, true])
  t.same((await chunk).value, torrent.pieceBytes(0))
  await reading.return()
  await until('it was read', () => store.counters().piecesInMemory === 0)
  t.equal(store.has(first), false)

  const finished = new Promise(resolve => store.on('finished', fileIndex => { if (fileIndex === 0) resolve(0) }))
  for (let index = 0; index < 20; index++) await store.write(store.geometry.piece(index), torrent.pieceBytes(index))
  t.equal(await finished, 0)
  t.equal(store.isDiskFull, false)
  t.ok((await store.readFile(0, 0, 20_000)).equals(torrent.bytesOf(0)))
})

t.test('a disk without space for even an empty file is no reason not to play', async t => {
  const torrent = makeTorrent(1000, [20_000])
  const directory = ownDirectory(t)
  const handle = await open(directory, 'r')
  const handles: FileHandle = Object.getPrototypeOf(handle)
  await handle.close()
  const { truncate } = handles
  t.teardown(() => { handles.truncate = truncate })
  handles.truncate = async () => { throw Object.assign(new Error('quota exceeded'), { code: 'EDQUOT' }) }
  const store = await openStore(t, torrent, directory, { room: new SmallRoom(4000, [0]) })
  t.ok((await play(store, fillerOf(t, store, torrent), 0, { start: 0, end: 19_999 })).equals(torrent.content))
  t.equal(store.isWindowed(0), true)
})
