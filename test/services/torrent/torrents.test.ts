import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { StoredFiles } from '../../../services/cache/stored-files.ts'
import { CodedError } from '../../../services/errors.ts'
import { silent } from '../../../services/log.ts'
import { Demand } from '../../../services/pieces/demand.ts'
import { unlimitedRoom } from '../../../services/pieces/room.ts'
import { Torrents } from '../../../services/torrent/torrents.ts'
import { makeTorrent, temporaryDirectory, testBytes, until } from '../../testnet.ts'
import type { TorrentRoom } from '../../../services/pieces/room.ts'
import type { Metadata } from '../../../services/torrent/metadata.ts'
import type { Resolver, TorrentsOptions } from '../../../services/torrent/torrents.ts'
import type { Test } from 'tap'

const never = new AbortController().signal

async function open (t: Test, options: Partial<TorrentsOptions> = {}): Promise<{ torrents: Torrents, stored: StoredFiles, directory: string }> {
  const directory = options.directory ?? await temporaryDirectory(t)
  const stored = await StoredFiles.open({ directory, log: silent })
  const torrents = new Torrents({ directory, stored, lingerMs: 50, maxTorrents: 2, log: silent, ...options })
  t.teardown(async () => { await torrents.close() })
  return { torrents, stored, directory }
}

t.test('one torrent for all who join; it is let go after the linger time, and a retry keeps it', async (t) => {
  const { torrents } = await open(t)
  const first = torrents.join('a'.repeat(40))
  const second = torrents.join('a'.repeat(40))
  t.equal(first.torrent, second.torrent)
  first.release()
  first.release()
  second.release()
  const third = torrents.join('a'.repeat(40))
  t.equal(third.torrent, first.torrent)
  third.release()
  await until('it is let go', () => torrents.get('a'.repeat(40)) === null)
  t.ok(first.torrent.closing.aborted)
})

t.test('one that gives to peers goes on after the linger time until it has given enough, or its place is needed', async (t) => {
  const { torrents } = await open(t, { lingerMs: 1, seedCheckMs: 10 })
  let checks = 0
  let isSeeding = true
  const filler = { name: 'p2p', demand: new Demand(), receivedBytes: 0, peersConnected: 0, isHopeful: false, failure: null, state: '', close () {}, get isSeeding () { checks++; return isSeeding } }
  const [a, b] = ['a', 'b'].map((digit) => torrents.join(digit.repeat(40)))
  for (const lease of [a, b]) {
    await lease?.torrent.fill('p2p', async () => filler)
    lease?.release()
  }
  await until('it was looked at twice', () => checks > 4)
  t.equal(torrents.list().length, 2)
  const other = torrents.join('c'.repeat(40))
  t.same(torrents.list().map(({ infohash }) => infohash[0]), ['b', 'c'], 'the one that was idle longest made room')
  isSeeding = false
  await until('it is let go', () => torrents.get('b'.repeat(40)) === null)
  other.release()
})

t.test('when all are busy another is refused; when one is idle it makes room', async (t) => {
  const { torrents } = await open(t, { lingerMs: 60_000 })
  const [a, b] = ['a', 'b'].map((digit) => torrents.join(digit.repeat(40)))
  t.throws(() => torrents.join('c'.repeat(40)), { code: 'TOO_MANY_TORRENTS' })
  t.equal(torrents.join('a'.repeat(40)).torrent, a?.torrent, 'one that runs can always be joined')
  b?.release()
  torrents.join('c'.repeat(40))
  t.equal(torrents.get('b'.repeat(40)), null)
  t.equal(torrents.list().length, 2)
})

t.test('an unfinished file that does not fit any more is given up before its store can fill it', async (t) => {
  const film = testBytes(100_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film, 'Other.mp4': testBytes(100_000, 'other') })
  const { torrents, directory } = await open(t)
  const first = torrents.join(torrent.infohash)
  const store = await first.torrent.provide(torrent.metadata)
  await store.want(0)
  await store.want(1)
  t.ok(await store.write(store.geometry.piece(0), film.subarray(0, store.geometry.lengthOf(store.geometry.piece(0)))))
  first.release()
  await torrents.close()

  const room: TorrentRoom = { ...unlimitedRoom, takeFile: async (_infohash, fileIndex) => fileIndex === 1 }
  const again = await open(t, { directory, room })
  const lease = again.torrents.join(torrent.infohash)
  const reopened = await lease.torrent.provide(torrent.metadata)
  t.same(reopened.layout.files.map(([fileIndex]) => fileIndex), [1])
  t.notOk(reopened.has(reopened.geometry.piece(0)), 'what went with it is not believed')
  await reopened.want(0)
  t.ok(reopened.isWindowed(0))
  lease.release()
})

t.test('a torrent is closed for others only while nobody is at work with it, and does not start meanwhile', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': testBytes(100_000, 'film') })
  let isStalled = false
  const released: string[] = []
  const room: TorrentRoom = { ...unlimitedRoom, release: (infohash) => { released.push(infohash) } }
  const { torrents } = await open(t, { room, use: { begin: () => ({ touch () {}, get isStalled () { return isStalled }, end () {} }) }, lingerMs: 60_000 })
  const { infohash } = torrent
  let runs = 0
  const whileClosed = async () => await torrents.whileClosed(infohash, async () => { runs++ }, 5000)
  t.ok(await whileClosed(), 'one that does not run')
  const start = torrents.join(infohash)
  await start.torrent.provide(torrent.metadata)
  t.ok(torrents.isBusy(infohash))
  t.notOk(await whileClosed(), 'a start')
  const reader = torrents.read(infohash, 0)
  start.release()
  t.notOk(await whileClosed(), 'a reader')
  t.equal(runs, 1)
  isStalled = true
  const { promise: isDone, resolve: finish } = Promise.withResolvers<void>()
  const closing = torrents.whileClosed(infohash, async () => { await isDone }, 5000)
  t.equal(torrents.get(infohash), null, 'a reader that took nothing for long')
  const next = torrents.join(infohash)
  let hasOpened = false
  const opening = next.torrent.provide(torrent.metadata).then(() => { hasOpened = true })
  await until('the old one is closed', () => released.length > 0)
  t.notOk(hasOpened)
  finish()
  t.ok(await closing)
  await opening
  t.ok(hasOpened)
  reader.release()
  next.release()
})

t.test('metadata is kept: the next start needs no lookup; damaged metadata counts as none', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': testBytes(100_000, 'film') })
  const { torrents, directory } = await open(t)
  const { torrent: first, release } = torrents.join(torrent.infohash)
  await first.provide(torrent.metadata)
  release()
  await torrents.close()
  const kept = join(directory, '.self-streme', 'torrents', `${torrent.infohash}.torrent`)
  t.ok(torrent.torrent.equals(await readFile(kept)))

  const again = await open(t, { directory })
  const lease = again.torrents.join(torrent.infohash)
  await lease.torrent.load()
  t.equal((await lease.torrent.ready(never)).metadata.name, 'Film.mp4')
  lease.release()
  await again.torrents.close()

  await writeFile(kept, 'd4:infoi1ee')
  t.equal(await (await open(t, { directory })).torrents.knownMetadata(torrent.infohash), null)
})

t.test('a finished file is renamed into the cache and recorded; a file of that name is never replaced', async (t) => {
  const film = testBytes(100_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film })
  const { torrents, stored, directory } = await open(t)
  await mkdir(directory, { recursive: true })
  await writeFile(join(directory, `${torrent.infohash}-Film.mp4`), 'mine')
  const lease = torrents.join(torrent.infohash)
  const store = await lease.torrent.provide(torrent.metadata)
  await store.want(0)
  for (let i = 0; i < store.geometry.pieceCount; i++) {
    const piece = store.geometry.piece(i)
    t.ok(await store.write(piece, film.subarray(store.geometry.offsetOf(piece), store.geometry.offsetOf(piece) + store.geometry.lengthOf(piece))))
  }
  const found = await until('it is recorded', async () => await stored.find(torrent.infohash, 0))
  t.equal(found.isDefault, true)
  t.ok(film.equals(await readFile(join(directory, found.path))))
  t.equal(await readFile(join(directory, `${torrent.infohash}-Film.mp4`), 'utf8'), 'mine')
  lease.release()
})

t.test('removing with files leaves nothing of the torrent, and its readers are told', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': testBytes(100_000, 'film') })
  const { torrents } = await open(t)
  const lease = torrents.join(torrent.infohash)
  const store = await lease.torrent.provide(torrent.metadata)
  await store.want(0)
  const waiting = store.waitFor(store.geometry.piece(0), never)
  waiting.catch(() => {})
  await torrents.remove(torrent.infohash, { deleteFiles: true })
  await t.rejects(waiting, { code: 'STORE_CLOSED' })
  t.equal(await torrents.knownMetadata(torrent.infohash), null)
  t.equal(torrents.get(torrent.infohash), null)
})

t.test('a start whose torrent begins anew begins anew with it, unless the torrent was deleted', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': testBytes(100_000, 'film') })
  const { torrents } = await open(t)
  const begin = async (end: () => void): Promise<number> => {
    let begun = 0
    await torrents.whileJoined(torrent.infohash, {}, async (running) => {
      const store = await running.provide(torrent.metadata)
      await store.want(0)
      if (++begun > 1) return
      const waiting = store.waitFor(store.geometry.piece(0), never)
      end()
      await waiting
    }).catch((error: unknown) => {
      t.match(error, { code: 'STORE_CLOSED' })
      begun = -begun
    })
    return begun
  }
  t.equal(await begin(() => { torrents.get(torrent.infohash)?.store?.emit('changed', 0) }), 2)
  let deleting = Promise.resolve()
  t.equal(await begin(() => { deleting = torrents.remove(torrent.infohash, { deleteFiles: true }) }), -1)
  await deleting
  await torrents.whileJoined(torrent.infohash, {}, async ({ closing }) => { t.notOk(closing.aborted) })
  await until('it holds the torrent no longer', () => torrents.get(torrent.infohash) === null)
})

t.test('what starts anew while its files are being deleted waits for that, also when it was let go in between', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': testBytes(100_000, 'film') })
  const deleting = Promise.withResolvers<void>()
  const { torrents, stored, directory } = await open(t)
  const remove = stored.remove.bind(stored)
  stored.remove = async (infohash) => {
    await deleting.promise
    await remove(infohash)
  }
  await torrents.join(torrent.infohash).torrent.provide(torrent.metadata)
  const first = torrents.remove(torrent.infohash, { deleteFiles: true })
  torrents.join(torrent.infohash)
  const second = torrents.remove(torrent.infohash, { deleteFiles: false })
  for (let i = 0; i < 20; i++) await stat(directory)
  const opening = torrents.join(torrent.infohash).torrent.provide(torrent.metadata)
  let isOpen = false
  void opening.then(() => { isOpen = true })
  for (let i = 0; i < 20; i++) await stat(directory)
  t.notOk(isOpen)
  deleting.resolve()
  await first
  await second
  const store = await opening
  await store.want(0)
  t.ok(await store.write(store.geometry.piece(0), testBytes(100_000, 'film').subarray(0, store.geometry.lengthOf(store.geometry.piece(0)))), 'its folder is there')
  t.ok(await torrents.knownMetadata(torrent.infohash))
})

/** A resolver that answers when it is told to. */
class SlowResolver implements Resolver {
  readonly asked: Array<{ exactSources: readonly string[], signal: AbortSignal, answer: PromiseWithResolvers<Metadata> }> = []
  readonly forgotten: string[] = []

  async resolve ({ exactSources }: { exactSources: readonly string[] }, signal: AbortSignal): Promise<Metadata> {
    const answer = Promise.withResolvers<Metadata>()
    this.asked.push({ exactSources, signal, answer })
    return await answer.promise
  }

  forget (infohash: string): void {
    this.forgotten.push(infohash)
  }
}

t.test('the .torrent is looked for once for all who ask; after a failure the next one asks again', async (t) => {
  const { infohash, metadata } = await makeTorrent({ 'Film.mp4': testBytes(100_000, 'film') })
  const resolver = new SlowResolver()
  const { torrents } = await open(t, { resolver })
  torrents.remember(infohash, { exactSources: ['http://a.example/film.torrent'] })
  t.same(resolver.forgotten, [infohash], 'adding it is asking again')
  const { torrent } = torrents.join(infohash)
  const [first, second] = [torrent.lookUp(), torrent.lookUp()]
  t.match(resolver.asked, [{ exactSources: ['http://a.example/film.torrent'] }])
  t.equal(resolver.asked.length, 1)
  resolver.asked[0]?.answer.reject(new CodedError('METADATA_NOT_FOUND', 'nobody has it'))
  await t.rejects(first, { code: 'METADATA_NOT_FOUND' })
  await t.rejects(second, { code: 'METADATA_NOT_FOUND' })
  t.match(torrent.lookupFailure, { message: 'nobody has it' })

  const before = torrent.reasonsToLook
  torrents.remember(infohash, {})
  t.ok(torrent.reasonsToLook > before, 'and a reason for who still waits')
  const third = torrent.lookUp()
  resolver.asked[1]?.answer.resolve(metadata)
  t.equal(await third, metadata)
  t.equal(await torrent.lookUp(), metadata)
  t.equal(resolver.asked.length, 2)
})

t.test('a lookup ends as soon as somebody else brings the metadata, and when the torrent is let go', async (t) => {
  const { infohash, metadata } = await makeTorrent({ 'Film.mp4': testBytes(100_000, 'film') })
  const resolver = new SlowResolver()
  const { torrents } = await open(t, { resolver })
  const { torrent } = torrents.join(infohash)
  const lookup = torrent.lookUp()
  await torrent.provide(metadata)
  t.equal(await lookup, metadata)
  t.ok(resolver.asked[0]?.signal.aborted)

  const other = torrents.join('a'.repeat(40)).torrent
  const vain = other.lookUp()
  await Promise.all([t.rejects(vain, { code: 'DELETED' }), torrents.remove('a'.repeat(40), { deleteFiles: false })])
  t.ok(resolver.asked[1]?.signal.aborted)
})

t.test('without a resolver a lookup fails at once', async (t) => {
  const { torrents } = await open(t)
  const { torrent } = torrents.join('a'.repeat(40))
  for (let i = 0; i < 2; i++) await t.rejects(torrent.lookUp(), { code: 'METADATA_NOT_FOUND' })
})

t.test('after close nothing starts', async (t) => {
  const { torrents } = await open(t)
  await torrents.close()
  t.throws(() => torrents.join('a'.repeat(40)), { code: 'SHUTTING_DOWN' })
})
