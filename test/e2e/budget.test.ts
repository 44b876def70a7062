import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'
import type { Test } from 'tap'
import type { TestApp } from '../helper.ts'
import type { TestTorrent } from '../testnet.ts'
import type { Most } from './budget-watcher.ts'

const MB = 1_000_000

interface Film {
  readonly infohash: string
  readonly bytes: Buffer
  readonly env: { readonly TORRENT_METADATA_URLS: string, readonly HTTP_MIRROR_URLS: string }
}

async function makeFilm (t: Test, name: string, length: number, pieceLength = 65_536): Promise<Film & { torrent: TestTorrent }> {
  const bytes = testBytes(length, name)
  const torrent = await makeTorrent({ [`${name}.mp4`]: bytes }, { pieceLength })
  const mirror = await startMirror(t, torrent)
  return { infohash: torrent.infohash, bytes, torrent, env: { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl } }
}

/** One setting that finds each of the films. */
function mirrorsOf (films: readonly Film[]): Record<string, string> {
  const joined = (name: keyof Film['env']): string => films.map(({ env }) => env[name]).join(',')
  return { TORRENT_METADATA_URLS: joined('TORRENT_METADATA_URLS'), HTTP_MIRROR_URLS: joined('HTTP_MIRROR_URLS') }
}

const urlOf = ({ url }: TestApp, { infohash }: Film): string => `${url}/stream/proxy/${infohash}`

async function download (t: Test, server: TestApp, film: Film): Promise<void> {
  t.ok(film.bytes.equals(await bytesFrom(urlOf(server, film))))
  await until('it is in the cache', async () => await server.app.stored.find(film.infohash, 0))
}

/** In a thread of its own, for the server's work must not decide when is looked. */
async function watchDirectory (t: Test, directory: string): Promise<() => Promise<Most>> {
  const watcher = new Worker(new URL('budget-watcher.ts', import.meta.url), { workerData: directory })
  t.teardown(async () => { await watcher.terminate() })
  await once(watcher, 'message')
  return async () => {
    watcher.postMessage('stop')
    const [most]: Most[] = await once(watcher, 'message')
    if (most === undefined) throw new Error('nothing was seen')
    return most
  }
}

t.test('the film that was streamed longest ago goes for a new one, also after a restart; what is being streamed stays', { timeout: 60_000 }, async (t) => {
  const [a, b, c, d] = await Promise.all([makeFilm(t, 'a', 2 * MB), makeFilm(t, 'b', 2 * MB), makeFilm(t, 'c', 2 * MB), makeFilm(t, 'd', 2 * MB)])
  const env = { ...mirrorsOf([a, b, c, d]), CACHE_MAX_DISK_MB: '5', LINGER: '1' }
  const first = await startApp(t, env)
  const { directory } = first
  const films = async (): Promise<string[]> => [a, b, c, d].filter(({ infohash }) => first.app.stored.list().some((entry) => entry.infohash === infohash)).map(({ torrent }) => torrent.metadata.name)

  await download(t, first, a)
  await download(t, first, b)
  t.ok(a.bytes.equals(await bytesFrom(urlOf(first, a))), 'a is streamed once more, from the cache')
  await until('b is idle', () => !first.app.torrents.isBusy(b.infohash))
  await download(t, first, c)
  t.same(await films(), ['a.mp4', 'c.mp4'])
  t.same((await readdir(directory)).filter((name) => name.endsWith('.mp4')).sort(), [a, c].map(({ infohash, torrent }) => `${infohash}-${torrent.metadata.name}`).sort())
  t.ok(a.bytes.equals(await bytesFrom(urlOf(first, a))), 'and again')
  await first.app.close()

  const second = await startApp(t, { ...env, TORRENT_DOWNLOAD_PATH: directory })
  await download(t, second, d)
  t.equal(await second.app.stored.find(c.infohash, 0), null, 'c was stored last, but a was streamed last')
  t.ok(await second.app.stored.find(a.infohash, 0))
  const { body } = await jsonFrom(`${second.url}/api/cache`)
  t.same(body.data.entries.filter(({ kind }: { kind: string }) => kind === 'stored').map(({ infoHash }: { infoHash: string }) => infoHash), [a.infohash, d.infohash], 'the next to go comes first')
  t.ok(body.data.used <= body.data.limit)
})

t.test('the metadata of many torrents does not fill the cache for good: each next film plays, and is cached', { timeout: 60_000 }, async (t) => {
  const films = await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map(async (name) => {
    const plain = await makeTorrent({ [`${name}.mp4`]: testBytes(1 * MB, name) })
    // A tracker list, or whatever makes a .torrent large.
    const torrent = Buffer.concat([Buffer.from('d7:comment900000:'), Buffer.alloc(900_000, 'x'), plain.torrent.subarray(1)])
    const mirror = await startMirror(t, { ...plain, torrent })
    return { infohash: plain.infohash, bytes: testBytes(1 * MB, name), env: { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl } }
  }))
  const server = await startApp(t, { ...mirrorsOf(films), CACHE_MAX_DISK_MB: '4', LINGER: '0' })
  const finish = await watchDirectory(t, server.directory)
  for (const film of films) {
    await download(t, server, film)
    await until('it is idle', () => !server.app.torrents.isBusy(film.infohash))
  }
  const { apparent, allocated } = await finish()
  t.ok(Math.min(apparent, allocated) <= 4 * MB, `${apparent} and ${allocated} bytes at most`)
})

t.test('a season: while one episode is watched, finished ones go for other films, the oldest first, and can be had again', { timeout: 60_000 }, async (t) => {
  const episodes = [0, 1, 2, 3].map((number) => testBytes(2 * MB, `episode ${number}`))
  const season = await makeTorrent(Object.fromEntries(episodes.map((bytes, number) => [`Season/E${number}.mp4`, bytes])), { pieceLength: 65_536 })
  const mirror = await startMirror(t, season)
  const film = await makeFilm(t, 'film', 3 * MB)
  const server = await startApp(t, {
    TORRENT_METADATA_URLS: `${mirror.metadataUrl},${film.env.TORRENT_METADATA_URLS}`,
    HTTP_MIRROR_URLS: `${mirror.mirrorUrl},${film.env.HTTP_MIRROR_URLS}`,
    CACHE_MAX_DISK_MB: '9'
  })
  const urlOfEpisode = (number: number): string => `${server.url}/stream/proxy/${season.infohash}?fileIndex=${number}`
  for (const number of [0, 1, 2]) {
    t.ok(episodes[number]?.equals(await bytesFrom(urlOfEpisode(number))))
    await until('it is in the cache', async () => await server.app.stored.find(season.infohash, number))
  }
  const watched = await fetch(urlOfEpisode(3))
  const player = watched.body?.getReader()
  await player?.read()
  t.ok(server.app.torrents.isBusy(season.infohash))
  await download(t, server, film)
  t.ok(await server.app.stored.find(season.infohash, 2), 'the newest one stays')
  t.equal(await server.app.stored.find(season.infohash, 0), null)
  t.same((await readdir(server.directory)).filter((name) => name.includes('E0')), [])
  await player?.cancel()
  t.ok(episodes[0]?.equals(await bytesFrom(urlOfEpisode(0))), 'what went is fetched again')
  t.ok(server.app.budget.usedBytes <= 9 * MB)
})

for (const accounting of ['apparent', 'allocated'] as const) {
  t.test(`a film larger than the cache plays to the end, and the disk is never over the limit (${accounting})`, { timeout: 60_000 }, async (t) => {
    const [old, film] = await Promise.all([makeFilm(t, 'old', 2 * MB), makeFilm(t, 'film', 40 * MB, 262_144)])
    const server = await startApp(t, { ...mirrorsOf([old, film]), CACHE_MAX_DISK_MB: '6', CACHE_ACCOUNTING: accounting })
    await download(t, server, old)
    await until('it is idle', () => !server.app.torrents.isBusy(old.infohash))
    const stop = await watchDirectory(t, server.directory)
    t.ok(film.bytes.equals(await bytesFrom(urlOf(server, film))), 'each byte')
    const most = await stop()
    t.comment(JSON.stringify(most))
    t.ok(most[accounting] <= 6 * MB, `${most[accounting]} bytes at most`)
    t.ok(most.samples > 100)
    t.match((await jsonFrom(`${server.url}/ready`)).body, { status: 'degraded', reasons: [/does not fit/] })
    t.equal(await server.app.stored.find(film.infohash, 0), null)
  })

  t.test(`films at the same time stay within the limit together (${accounting})`, { timeout: 60_000 }, async (t) => {
    const films = await Promise.all(['a', 'b', 'c', 'd'].map(async (name) => await makeFilm(t, name, 3 * MB)))
    const server = await startApp(t, { ...mirrorsOf(films), CACHE_MAX_DISK_MB: '8', CACHE_ACCOUNTING: accounting })
    const stop = await watchDirectory(t, server.directory)
    const bodies = await Promise.all(films.map(async (film) => await bytesFrom(urlOf(server, film))))
    for (const [i, film] of films.entries()) t.ok(bodies[i]?.equals(film.bytes), `film ${i}`)
    const most = await stop()
    t.comment(JSON.stringify(most))
    t.ok(most[accounting] <= 8 * MB, `${most[accounting]} bytes at most`)
  })
}
