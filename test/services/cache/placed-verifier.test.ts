import { mkdir, readFile, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'

import { CacheIndex } from '../../../services/cache/cache-index.ts'
import type { CachedFile } from '../../../services/cache/cache-index.ts'
import { PlacedVerdicts } from '../../../services/cache/placed-verdicts.ts'
import { PlacedVerifier } from '../../../services/cache/placed-verifier.ts'
import { StoredFiles } from '../../../services/cache/stored-files.ts'
import type { Log } from '../../../services/log.ts'
import { parseMetadata } from '../../../services/torrent/metadata.ts'
import type { Metadata } from '../../../services/torrent/metadata.ts'
import { jsonFrom, startApp } from '../../helper.ts'
import { makeTorrent, testBytes } from '../../testnet.ts'
import type { TestTorrent } from '../../testnet.ts'

const MB = 1_000_000

interface Place {
  readonly directory: string
  readonly messages: string[]
  readonly cache: CacheIndex
  readonly verifier: PlacedVerifier
  /** Bytes that the verifier has read. */
  put (path: string, bytes: Buffer): Promise<string>
  know (torrent: TestTorrent): Promise<void>
  find (torrent: TestTorrent, fileIndex?: number | null): Promise<CachedFile | null>
}

/** What a server that was just started knows. */
async function place (t: Test, directory = t.testdir(), bytesPerSecond = Infinity): Promise<Place> {
  const messages: string[] = []
  const say = (_fields: object, message: string): void => { messages.push(message) }
  const log: Log = { debug () {}, info: say, warn: say, error: say }
  const stored = await StoredFiles.open({ directory, log })
  const verdicts = new PlacedVerdicts({ directory, log })
  const cache = new CacheIndex({ directory, mediaPaths: [], stored, verdicts, isCacheOnly: false, log })
  const metadataOf = async (infohash: string): Promise<Metadata | null> =>
    await readFile(join(directory, '.self-streme', 'torrents', `${infohash}.torrent`)).then((bytes) => parseMetadata(bytes), () => null)
  const verifier = new PlacedVerifier({ directory, list: async (signal) => await cache.list(signal), metadataOf, verdicts, log, bytesPerSecond })
  t.teardown(async () => { await verifier.close() })
  return {
    directory,
    messages,
    cache,
    verifier,
    async put (path, bytes) {
      const whole = join(directory, path)
      await mkdir(dirname(whole), { recursive: true })
      await writeFile(whole, bytes)
      const anHourAgo = new Date(Date.now() - 3_600_000)
      await utimes(whole, anHourAgo, anHourAgo)
      return whole
    },
    async know ({ infohash, torrent }) {
      await mkdir(join(directory, '.self-streme', 'torrents'), { recursive: true })
      await writeFile(join(directory, '.self-streme', 'torrents', `${infohash}.torrent`), torrent)
    },
    find: async ({ infohash, metadata }, fileIndex = null) => await cache.find(infohash, fileIndex, metadata)
  }
}

function flipped (bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[at] = (copy[at] ?? 0) ^ 1
  return copy
}

t.test('a placed file is verified once its metadata is on disk, and the server that starts next knows it', async t => {
  const film = testBytes(MB, 'film')
  const torrent = await makeTorrent({ 'film.mp4': film })
  const { put, know, find, verifier, messages, directory } = await place(t)
  await put(`${torrent.infohash}-film.mp4`, film)
  await verifier.look()
  t.match(await find(torrent), { isVerified: false, fileIndex: 0 }, 'named so, no more')
  await know(torrent)
  await verifier.look()
  t.match(await find(torrent), { isVerified: true, isMismatch: false, fileIndex: 0 })
  t.strictSame(messages, [`verified ${torrent.infohash}-film.mp4 (977 KB): it is file 0 of its torrent`])

  const next = await place(t, directory)
  t.match(await next.find(torrent), { isVerified: true })
  await next.verifier.look()
  t.strictSame(next.messages, [], 'nothing is hashed again')
  t.match(await next.cache.find(torrent.infohash, 0, null), { isVerified: true, fileIndex: 0 }, 'though its metadata is gone, its index is known')
})

t.test('one wrong byte: reported once, listed as something else, and no file of the torrent', async t => {
  const film = testBytes(MB, 'film')
  const torrent = await makeTorrent({ 'film.mp4': film })
  const { put, know, find, verifier, messages, directory, cache } = await place(t)
  await put(`${torrent.infohash}-film.mp4`, flipped(film, 500_000))
  await know(torrent)
  await verifier.look()
  await verifier.look()
  t.strictSame(messages, [`${torrent.infohash}-film.mp4 is not what its name says: its bytes are not those of its torrent; it is served as it is, unverified`])
  t.match(await cache.list(), [{ isMismatch: true, isVerified: false, fileIndex: null }])
  t.match(await find(torrent), { isVerified: false, fileIndex: null }, 'who asks for no file gets it, as it always was')
  t.equal(await find(torrent, 0), null, 'who asks for the file does not')
  const next = await place(t, directory)
  await next.verifier.look()
  t.strictSame(next.messages, [])
})

t.test("somebody's own encode is no file of the torrent", async t => {
  const torrent = await makeTorrent({ 'film.mp4': testBytes(MB, 'film') })
  const { put, know, verifier, messages, cache } = await place(t)
  await put(`${torrent.infohash}.mkv`, testBytes(MB + 1, 'encode'))
  await know(torrent)
  await verifier.look()
  t.match(messages, [/no file of its torrent has 1000001 bytes/])
  t.match(await cache.list(), [{ isMismatch: true }])
})

t.test('a file that is written to is hashed again: wrong, then right', async t => {
  const film = testBytes(MB, 'film')
  const torrent = await makeTorrent({ 'film.mp4': film })
  const { put, know, find, verifier } = await place(t)
  await know(torrent)
  const path = await put(`${torrent.infohash}-film.mp4`, film)
  await verifier.look()
  t.match(await find(torrent), { isVerified: true })
  await writeFile(path, flipped(film, 0))
  t.match(await find(torrent), { isVerified: false }, 'at once')
  await utimes(path, 1, 1)
  await verifier.look()
  t.match(await find(torrent), { isVerified: false, isMismatch: true })
  await writeFile(path, film)
  await utimes(path, 2, 2)
  await verifier.look()
  t.match(await find(torrent), { isVerified: true })
})

t.test('files of one length that nobody can tell apart by name: their bytes tell', async t => {
  const [one, two] = [testBytes(MB, '1'), testBytes(MB, '2')]
  // Pieces end where files end, so that each can be checked alone.
  const torrent = await makeTorrent({ 'one.mp4': one, '.pad/1': Buffer.alloc(16384 * 62 - MB), 'two.mp4': two }, { name: 'Both' })
  const { put, know, find, verifier } = await place(t)
  await know(torrent)
  const first = await put(`${torrent.infohash}/x.mp4`, two)
  const second = await put(`${torrent.infohash}/y.mp4`, one)
  t.equal(await find(torrent, 0), null)
  await verifier.look()
  t.match(await find(torrent, 0), { path: second, isVerified: true })
  t.match(await find(torrent, 2), { path: first, isVerified: true })
})

t.test('pieces that are shared with a file that is not there: verified as soon as that one comes', async t => {
  const files = { 'one.mp4': testBytes(MB, '1'), 'two.mp4': testBytes(MB + 5, '2'), 'three.mp4': testBytes(MB + 9, '3') }
  const torrent = await makeTorrent(files, { name: 'Season' })
  const { put, know, find, verifier, messages } = await place(t)
  await know(torrent)
  await put(`${torrent.infohash}-two.mp4`, files['two.mp4'])
  await verifier.look()
  t.match(await find(torrent, 1), { isVerified: false, isMismatch: false, fileIndex: 1 }, 'nothing wrong was found')
  await put(`${torrent.infohash}-one.mp4`, files['one.mp4'])
  await put(`${torrent.infohash}-three.mp4`, files['three.mp4'])
  await verifier.look()
  await verifier.look()
  for (const index of [0, 1, 2]) t.match(await find(torrent, index), { isVerified: true }, `file ${index}`)
  t.equal(messages.length, 3)
})

t.test('a neighbour with wrong bytes makes no other file wrong', async t => {
  const files = { 'one.mp4': testBytes(MB, '1'), 'two.mp4': testBytes(MB + 5, '2') }
  const torrent = await makeTorrent(files, { name: 'Season' })
  const { put, know, find, verifier } = await place(t)
  await know(torrent)
  await put(`${torrent.infohash}-one.mp4`, flipped(files['one.mp4'], MB - 1))
  await put(`${torrent.infohash}-two.mp4`, files['two.mp4'])
  await verifier.look()
  await verifier.look()
  t.match(await find(torrent, 1), { isVerified: false, isMismatch: false })
})

t.test('it reads no faster than it is told, and ends at once when the server stops', async t => {
  const film = testBytes(8 * MB, 'film')
  const torrent = await makeTorrent({ 'film.mp4': film })
  const slow = await place(t, t.testdir(), 20 * MB)
  await slow.put(`${torrent.infohash}-film.mp4`, film)
  await slow.know(torrent)
  const startedAt = performance.now()
  await slow.verifier.look()
  const tookMs = performance.now() - startedAt
  t.ok(tookMs > 380, `8 MB at 20 MB/s: ${tookMs} ms`)
  t.match(await slow.find(torrent), { isVerified: true })

  await rm(join(slow.directory, '.self-streme', 'verified'), { recursive: true })
  const slower = await place(t, slow.directory, 1000)
  const looking = slower.verifier.look()
  await slower.verifier.close()
  await looking
  t.match(await slower.find(torrent), { isVerified: false })
})

t.test('a damaged record counts as none', async t => {
  const film = testBytes(MB, 'film')
  const torrent = await makeTorrent({ 'film.mp4': film })
  const { put, know, verifier, directory } = await place(t)
  await put(`${torrent.infohash}-film.mp4`, film)
  await know(torrent)
  await verifier.look()
  const folder = join(directory, '.self-streme', 'verified')
  const [name = ''] = await readdir(folder)
  const record: unknown = JSON.parse(await readFile(join(folder, name), 'utf8'))
  for (const damage of ['', '{', 'null', '[]', '{"version":2}', JSON.stringify({ ...(typeof record === 'object' ? record : {}), fileIndex: -1 }), JSON.stringify({ ...(typeof record === 'object' ? record : {}), result: 'good' })]) {
    await writeFile(join(folder, name), damage)
    const next = await place(t, directory)
    t.match(await next.find(torrent), { isVerified: false }, damage)
  }
})

t.test('in the server: the stream is verified, with the ETag that every source gives', async t => {
  const film = testBytes(MB, 'film')
  const torrent = await makeTorrent({ 'film.mp4': film })
  const { app, url, directory } = await startApp(t)
  await mkdir(join(directory, '.self-streme', 'torrents'), { recursive: true })
  await writeFile(join(directory, '.self-streme', 'torrents', `${torrent.infohash}.torrent`), torrent.torrent)
  await writeFile(join(directory, 'arriving'), film)
  await rename(join(directory, 'arriving'), join(directory, `${torrent.infohash}.mp4`))
  const address = `${url}/stream/proxy/${torrent.infohash}`
  t.equal((await fetch(address, { method: 'HEAD' })).headers.get('x-stream-verified'), 'false')
  await app.placedVerifier?.look()
  const response = await fetch(address)
  t.equal(response.headers.get('x-stream-verified'), 'true')
  t.equal(response.headers.get('etag'), `"${torrent.infohash}-0"`)
  t.ok(film.equals(Buffer.from(await response.arrayBuffer())))

  await writeFile(join(directory, `${torrent.infohash} (encode).mp4`), testBytes(MB + 1, 'encode'))
  await app.placedVerifier?.look()
  const { body } = await jsonFrom(`${url}/api/cache`)
  const listed = body.data.entries.map(({ isVerified, isMismatch, fileIndex }: Record<string, unknown>) => [isVerified, isMismatch, fileIndex])
  t.strictSame(listed.sort(), [[false, true, null], [true, false, 0]], 'the cache listing says which is which')
})
