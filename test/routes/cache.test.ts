import { once } from 'node:events'
import { readdir, stat, utimes, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'
import type { IncomingMessage } from 'node:http'
import type { Test } from 'tap'
import type { TestApp } from '../helper.ts'

const MB = 1_000_000
const placedHash = 'b'.repeat(40)

interface Server extends TestApp {
  readonly infohash: string
  readonly stream: string
}

/** A server with a film that it stored, and one that a person placed. */
async function setUp (t: Test, { env = {}, filmBytes = 2 * MB }: { env?: Record<string, string>, filmBytes?: number } = {}): Promise<Server> {
  const film = testBytes(filmBytes, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 262_144 })
  const mirror = await startMirror(t, torrent)
  const server = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, ...env })
  const placed = join(server.directory, `${placedHash}-mine.mp4`)
  await writeFile(placed, testBytes(1_200_000, 'mine'))
  await utimes(placed, 1, 1)
  const stream = `${server.url}/stream/proxy/${torrent.infohash}`
  t.ok(film.equals(await bytesFrom(stream)))
  await until('it is stored', async () => await server.app.stored.find(torrent.infohash, 0))
  await until('nobody reads it', () => !server.app.torrents.isBusy(torrent.infohash))
  return { ...server, infohash: torrent.infohash, stream }
}

/** A player that has begun, and does not go on. */
async function pausedPlayer (t: Test, url: string): Promise<IncomingMessage> {
  const asking = request(url).end()
  t.teardown(() => { asking.destroy() })
  const [response]: IncomingMessage[] = await once(asking, 'response')
  if (response === undefined) throw new Error('no response')
  response.pause()
  return response
}

t.test('lists what is cached, with what it takes and when it was streamed', async (t) => {
  const startedAt = Date.now()
  const { url, infohash } = await setUp(t, { env: { CACHE_MAX_DISK_MB: '100', CACHE_ACCOUNTING: 'apparent' } })
  const { status, headers, body } = await jsonFrom(`${url}/api/cache`)
  t.equal(status, 200)
  t.equal(headers.get('cache-control'), 'no-store')
  t.equal(body.success, true)
  t.match(body.data, { limit: 100 * MB, minFree: 200 * MB, accounting: 'apparent', free: Number, used: Number })
  t.ok(body.data.used >= 2 * MB && body.data.used < 3 * MB, String(body.data.used))
  t.same(body.data.entries.map(({ kind }: { kind: string }) => kind).sort(), ['placed', 'stored'])
  const stored = body.data.entries.find(({ kind }: { kind: string }) => kind === 'stored')
  t.match(stored, { infoHash: infohash, fileIndex: 0, name: 'Film.mp4', path: `${infohash}-Film.mp4`, size: 2 * MB, isPinned: false, isStreaming: false, isVerified: true })
  t.same(Object.keys(stored).sort(), ['fileIndex', 'infoHash', 'isMismatch', 'isPinned', 'isStreaming', 'isVerified', 'kind', 'lastStreamedAt', 'name', 'path', 'size'])
  t.ok(Date.parse(stored.lastStreamedAt) >= startedAt && Date.parse(stored.lastStreamedAt) <= Date.now())
  const placed = body.data.entries.find(({ kind }: { kind: string }) => kind === 'placed')
  t.match(placed, { infoHash: placedHash, path: `${placedHash}-mine.mp4`, size: 1_200_000, lastStreamedAt: null, isPinned: false })
})

t.test('a pin holds until it is taken off; what is not cached cannot be pinned', async (t) => {
  const { url, infohash } = await setUp(t)
  const pin = async (method: string, hash: string) => await jsonFrom(`${url}/api/cache/${hash}/pin`, { method })
  t.match(await pin('DELETE', infohash), { status: 404, body: { error: 'Not cached', infoHash: infohash } })
  t.match(await pin('POST', infohash.toUpperCase()), { status: 200, body: { success: true, data: { infoHash: infohash, isPinned: true } } })
  t.match(await jsonFrom(`${url}/api/cache`, { method: 'DELETE' }), { status: 200, body: { success: true, data: { removed: 0, kept: 1 } } })
  t.match((await jsonFrom(`${url}/api/cache`)).body.data.entries.find(({ kind }: { kind: string }) => kind === 'stored'), { isPinned: true })
  t.match(await pin('DELETE', infohash), { status: 200, body: { data: { isPinned: false } } })
  t.match(await jsonFrom(`${url}/api/cache`, { method: 'DELETE' }), { status: 200, body: { success: true, data: { removed: 1, kept: 0 } } })
  for (const hash of ['c'.repeat(40), 'nonsense', infohash]) t.match(await pin('POST', hash), { status: 404, body: { error: 'Not cached', infoHash: hash } })
})

t.test('deletes one, and the next stream fetches it again; a second time there is nothing', async (t) => {
  const { url, infohash, directory, stream } = await setUp(t)
  const deleteIt = async () => await jsonFrom(`${url}/api/cache/${infohash}`, { method: 'DELETE' })
  t.match(await deleteIt(), { status: 200, body: { success: true, data: { infoHash: infohash, size: Number } } })
  t.same((await readdir(directory)).filter((name) => name.startsWith(infohash)), [])
  t.match(await deleteIt(), { status: 404, body: { error: 'Not cached', infoHash: infohash } })
  t.match(await jsonFrom(`${url}/api/cache/nonsense`, { method: 'DELETE' }), { status: 404, body: { error: 'Not cached', infoHash: 'nonsense' } })
  const response = await fetch(stream)
  t.equal(response.headers.get('x-stream-source'), 'http-fallback')
  t.ok(testBytes(2 * MB, 'film').equals(Buffer.from(await response.arrayBuffer())))
})

t.test('what is being streamed is not deleted: 409, until the player leaves', async (t) => {
  const { app, url, infohash, stream } = await setUp(t, { filmBytes: 30 * MB })
  const player = await pausedPlayer(t, stream)
  t.equal(player.headers['x-stream-source'], 'cache')
  t.match(await jsonFrom(`${url}/api/cache/${infohash}`, { method: 'DELETE' }), { status: 409, body: { error: 'In use', message: /being streamed/, infoHash: infohash } })
  t.match(await jsonFrom(`${url}/api/cache`, { method: 'DELETE' }), { status: 200, body: { data: { removed: 0 } } })
  t.match((await jsonFrom(`${url}/api/cache`)).body.data.entries.find(({ kind }: { kind: string }) => kind === 'stored'), { isStreaming: true })
  player.destroy()
  await until('it has left', () => !app.lastUse.isStreaming(infohash))
  t.match(await jsonFrom(`${url}/api/cache/${infohash}`, { method: 'DELETE' }), { status: 200 })
})

t.test('a download under way is not deleted either', async (t) => {
  const film = testBytes(30 * MB, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 262_144 })
  const mirror = await startMirror(t, torrent)
  const { app, url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const player = await pausedPlayer(t, `${url}/stream/proxy/${torrent.infohash}`)
  t.equal(player.headers['x-stream-source'], 'http-fallback')
  t.match(await jsonFrom(`${url}/api/cache/${torrent.infohash}`, { method: 'DELETE' }), { status: 409 })
  player.destroy()
  await until('it has left', () => !app.torrents.isBusy(torrent.infohash))
  t.match(await jsonFrom(`${url}/api/cache/${torrent.infohash}`, { method: 'DELETE' }), { status: 200 })
  t.same((await jsonFrom(`${url}/api/cache`)).body.data.entries, [])
})

t.test('what a person placed is deleted only when told', async (t) => {
  for (const isTold of [false, true]) {
    const { url, directory } = await setUp(t, { env: { CACHE_EVICT_PLACED: String(isTold), TORRENT_DOWNLOAD_PATH: join(t.testdir({ [String(isTold)]: {} }), String(isTold)) } })
    const { status, body } = await jsonFrom(`${url}/api/cache/${placedHash}`, { method: 'DELETE' })
    t.equal(status, isTold ? 200 : 403)
    if (!isTold) t.match(body, { error: 'Not ours', message: /CACHE_EVICT_PLACED/ })
    t.equal(await stat(join(directory, `${placedHash}-mine.mp4`)).then(() => true, () => false), !isTold)
  }
})

t.test('a disk that is too full is said by /ready', async (t) => {
  const { url } = await startApp(t, { CACHE_MIN_FREE_MB: '999999999' })
  await jsonFrom(`${url}/api/cache`)
  t.match(await jsonFrom(`${url}/ready`), { status: 200, body: { status: 'degraded', reasons: [/^disk: .* free, less than/] } })
})
