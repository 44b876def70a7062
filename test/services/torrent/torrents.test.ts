import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { StoredFiles } from '../../../services/cache/stored-files.ts'
import { silent } from '../../../services/log.ts'
import { Torrents } from '../../../services/torrent/torrents.ts'
import { makeTorrent, testBytes, until } from '../../testnet.ts'
import type { TorrentsOptions } from '../../../services/torrent/torrents.ts'
import type { Test } from 'tap'

const never = new AbortController().signal

async function open (t: Test, options: Partial<TorrentsOptions> = {}): Promise<{ torrents: Torrents, stored: StoredFiles, directory: string }> {
  const directory = options.directory ?? t.testdir()
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

t.test('after close nothing starts', async (t) => {
  const { torrents } = await open(t)
  await torrents.close()
  t.throws(() => torrents.join('a'.repeat(40)), { code: 'SHUTTING_DOWN' })
})
