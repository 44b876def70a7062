import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, temporaryDirectory, testBytes, until } from '../testnet.ts'

/** Which bytes a seeded walk through a file asks for: the same in every run. */
function ranges (length: number, count: number): Array<[number, number]> {
  const numbers = testBytes(count * 8, 'ranges')
  return Array.from({ length: count }, (_, i) => {
    const start = numbers.readUInt32BE(i * 8) % length
    return [start, Math.min(length - 1, start + numbers.readUInt32BE(i * 8 + 4) % 200_000)]
  })
}

t.test('without any peer a file streams from a mirror, each byte as in the torrent, and is in the cache afterwards', async (t) => {
  const film = testBytes(3_000_123, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 65_536 })
  const mirror = await startMirror(t, torrent)
  const { url, directory } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })

  const response = await fetch(`${url}/stream/proxy/${torrent.infohash}`)
  t.equal(response.status, 200)
  t.match(Object.fromEntries(response.headers), {
    'x-stream-source': 'http-fallback', 'x-stream-verified': 'true', etag: `"${torrent.infohash}-0"`, 'cache-control': 'private, max-age=3600', 'content-type': 'video/mp4'
  })
  t.ok(film.equals(Buffer.from(await response.arrayBuffer())))

  const stored = join(directory, `${torrent.infohash}-Film.mp4`)
  await until('the file is in the cache', async () => await stat(stored).catch(() => null))
  const asked = mirror.requests.length
  const again = await until('the cache answers', async () => {
    const again = await fetch(`${url}/stream/proxy/${torrent.infohash}`)
    if (again.headers.get('x-stream-source') === 'cache') return again
    await again.arrayBuffer()
  })
  t.match(Object.fromEntries(again.headers), { 'x-stream-verified': 'true', etag: `"${torrent.infohash}-0"` }, 'the same ETag')
  t.ok(film.equals(Buffer.from(await again.arrayBuffer())))
  t.equal(mirror.requests.length, asked, 'no request reached the mirror')
})

t.test('ranges anywhere in a file that is not there yet', async (t) => {
  const film = testBytes(4_000_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 32_768 })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const last = film.length - 1
  for (const [start, end] of [[last, last], [0, 0], [0, 1], ...ranges(film.length, 50)] as const) {
    const response = await fetch(`${url}/stream/proxy/${torrent.infohash}`, { headers: { Range: `bytes=${start}-${end}` } })
    t.equal(response.status, 206)
    t.ok(film.subarray(start, end + 1).equals(Buffer.from(await response.arrayBuffer())), `bytes=${start}-${end}`)
  }
})

t.test('a mirror that sends wrong bytes never reaches the client: alone it is a 404 with a reason, beside an honest one nothing shows', async (t) => {
  const film = testBytes(1_000_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 32_768 })
  const liar = await startMirror(t, torrent, { tamper: (bytes) => Buffer.from(bytes.map((byte) => byte ^ 1)) })
  const honest = await startMirror(t, torrent)

  const alone = await startApp(t, { TORRENT_METADATA_URLS: honest.metadataUrl, HTTP_MIRROR_URLS: liar.mirrorUrl, TORRENT_DOWNLOAD_PATH: join(await temporaryDirectory(t), 'a') })
  const { status, body } = await jsonFrom(`${alone.url}/stream/proxy/${torrent.infohash}`)
  t.equal(status, 404)
  t.match(body, { error: 'Stream not found', reasons: [{ source: 'http-fallback', code: 'HTTP_MIRRORS_FAILED' }] })

  const both = await startApp(t, { TORRENT_METADATA_URLS: honest.metadataUrl, HTTP_MIRROR_URLS: `${liar.mirrorUrl},${honest.mirrorUrl}`, TORRENT_DOWNLOAD_PATH: join(await temporaryDirectory(t), 'b') })
  t.ok(film.equals(await bytesFrom(`${both.url}/stream/proxy/${torrent.infohash}`)))
  t.ok(liar.requests.length > 0)
})

t.test('a torrent of many files: the largest video by default, each by its index, whatever it is called', async (t) => {
  const names = ['readme.txt', 'a #1?.mkv', '100% real.mp4', 'סרט בעברית.mp4', 'sub folder/b+c.srt', 'big.iso']
  const files = Object.fromEntries(names.map((name, i) => [name, testBytes([2_000, 300_000, 400_000, 700_000, 5_000, 900_000][i] ?? 0, name)]))
  const torrent = await makeTorrent(files, { name: 'Season 1', pieceLength: 16_384 })
  const mirror = await startMirror(t, torrent)
  const { url, directory } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })

  const byDefault = await fetch(`${url}/stream/proxy/${torrent.infohash}`)
  t.match(byDefault.headers.get('content-disposition'), /filename\*=UTF-8''%D7%A1%D7%A8%D7%98/)
  t.ok(files['סרט בעברית.mp4']?.equals(Buffer.from(await byDefault.arrayBuffer())))
  for (const [i, name] of names.entries()) {
    t.ok(files[name]?.equals(await bytesFrom(`${url}/stream/proxy/${torrent.infohash}?fileIndex=${i}`)), name)
  }
  const { status, body } = await jsonFrom(`${url}/stream/proxy/${torrent.infohash}?fileIndex=6`)
  t.equal(status, 404)
  t.match(body.reasons, [{ code: 'FILE_INDEX', message: /0 to 5/ }])
  await until('all files are in the cache', async () => (await readdir(directory)).filter((name) => name.startsWith(torrent.infohash)).length === names.length)
})

t.test('the same by the web seeds that the torrent itself names (BEP 19)', async (t) => {
  const files = { 'a #1?.mp4': testBytes(200_000, 'a'), 'סרט/100%+.mkv': testBytes(100_000, 'b') }
  const plain = await makeTorrent(files, { name: 'Pack + more' })
  const mirror = await startMirror(t, plain)
  const torrent = await makeTorrent(files, { name: 'Pack + more', webSeeds: [mirror.webSeed] })
  const { app, url } = await startApp(t)
  const lease = app.torrents.join(torrent.infohash)
  await lease.torrent.load()
  await lease.torrent.provide(torrent.metadata)
  lease.release()
  for (const [i, bytes] of Object.values(files).entries()) {
    t.ok(bytes.equals(await bytesFrom(`${url}/stream/proxy/${torrent.infohash}?fileIndex=${i}`)), `file ${i}`)
  }
})

t.test('hostile file names stay inside the directory', async (t) => {
  const names = ['../../escape.mp4', '/etc/absolute.mp4', 'CON.mp4', 'nul\0byte.mp4', `${'n'.repeat(300)}.mp4`, '..', '.self-streme']
  const bytes = names.map((name) => testBytes(40_000, name))
  const root = await temporaryDirectory(t)
  const torrent = await makeTorrent(Object.fromEntries(names.map((name, i) => [`x${i}.mp4`, bytes[i] ?? Buffer.alloc(0)])), { name: 'safe' })
  // create-torrent would clean the names: put them into the metadata as a hostile .torrent would have them.
  const { app, url, directory } = await startApp(t, { TORRENT_DOWNLOAD_PATH: join(root, 'cache'), HTTP_MIRROR_URLS: (await startMirror(t, torrent)).mirrorUrl })
  const files = torrent.metadata.files.map((file, i) => ({ ...file, name: names[i] ?? '', path: names[i] ?? '', components: (names[i] ?? '').split('/') }))
  const lease = app.torrents.join(torrent.infohash)
  await lease.torrent.load()
  await lease.torrent.provide({ ...torrent.metadata, files })
  for (const [i, content] of bytes.entries()) {
    t.ok(content.equals(await bytesFrom(`${url}/stream/proxy/${torrent.infohash}?fileIndex=${i}`)), names[i] ?? '')
  }
  await until('all are stored', () => app.stored.list().length === names.length)
  lease.release()
  t.same(await readdir(root), ['cache'], 'nothing beside the cache')
  for (const { path } of app.stored.list()) {
    t.ok(path.startsWith(`${torrent.infohash}-`) && !path.includes('/') && Buffer.byteLength(path) <= 255, path)
    t.ok((await stat(join(directory, path))).isFile())
  }
})

t.test('a client that hangs up every 2 s against a start that takes 5 s gets its bytes on the third try, from one start', { timeout: 30_000 }, async (t) => {
  const film = testBytes(500_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film })
  let startedAt = Infinity
  const mirror = await startMirror(t, torrent, {
    async before () { await new Promise((resolve) => { setTimeout(resolve, Math.max(0, startedAt + 5000 - performance.now())) }) }
  })
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  startedAt = performance.now()
  let tries = 0
  let bytes: Buffer | null = null
  while (bytes === null && tries < 5) {
    tries++
    bytes = await fetch(`${url}/stream/proxy/${torrent.infohash}`, { headers: { Range: 'bytes=0-99999' }, signal: AbortSignal.timeout(2000) })
      .then(async (response) => Buffer.from(await response.arrayBuffer()), () => null)
  }
  t.equal(tries, 3)
  t.ok(bytes !== null && film.subarray(0, 100_000).equals(bytes))
  t.equal(mirror.requests.filter((request) => request.startsWith('/torrents/')).length, 1, 'metadata was asked for once')
  const ranges = mirror.requests.filter((request) => request.startsWith('/by-index/'))
  t.equal(new Set(ranges).size, ranges.length, 'and no range twice')
})

t.test('many requests for one torrent share one download', async (t) => {
  const film = testBytes(2_000_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 65_536 })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const bodies = await Promise.all(Array.from({ length: 20 }, async () => await bytesFrom(`${url}/stream/proxy/${torrent.infohash}`)))
  for (const body of bodies) t.ok(film.equals(body))
  const bytesAsked = mirror.requests.map((request) => / bytes=(\d+)-(\d+)$/.exec(request)).reduce((sum, match) => sum + (match === null ? 0 : Number(match[2]) - Number(match[1]) + 1), 0)
  t.ok(bytesAsked < film.length * 1.5, `${bytesAsked} bytes were asked of the mirror for ${film.length}`)
})

t.test('a client that leaves frees its demand at once; the torrent itself is let go after LINGER', async (t) => {
  const film = testBytes(2_000_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 16_384 })
  const { promise: stuck } = Promise.withResolvers<void>()
  let served = 0
  const mirror = await startMirror(t, torrent, { async before () { if (++served > 1) await stuck } })
  const { app, url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, LINGER: '1' })
  const controller = new AbortController()
  const response = await fetch(`${url}/stream/proxy/${torrent.infohash}`, { signal: controller.signal })
  const reader = response.body?.getReader()
  await reader?.read()
  const filler = app.torrents.get(torrent.infohash)?.fillers[0]
  t.ok(filler !== undefined && !filler.demand.isEmpty, 'while it reads there is demand')
  const leftAt = performance.now()
  controller.abort()
  await until('no demand is left', () => filler?.demand.isEmpty)
  t.comment(`demand was gone ${Math.round(performance.now() - leftAt)} ms after the client left`)
  t.ok(app.torrents.get(torrent.infohash) !== null, 'the start lives on')
  await until('the torrent is let go', () => app.torrents.get(torrent.infohash) === null)
})

t.test('while it downloads over HTTP the API says how far it is, how fast, how long it will take and from whom', async (t) => {
  const film = testBytes(2_000_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 65_536 })
  const { promise: stuck } = Promise.withResolvers<void>()
  let served = 0
  const mirror = await startMirror(t, torrent, { async before () { if (++served > 1) await stuck } })
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const response = await fetch(`${url}/stream/proxy/${torrent.infohash}`)
  const reader = response.body?.getReader()
  await reader?.read()
  const { body } = await jsonFrom(`${url}/api/torrents/${torrent.infohash}`)
  t.match(body.data.http, { downloaded: Number, length: 2_000_000, downloadSpeed: Number, eta: Number, mirrors: [new URL(mirror.mirrorUrl).host] })
  t.ok(body.data.http.downloaded > 0 && body.data.http.downloadSpeed > 0 && body.data.http.eta > 0)
  await reader?.cancel()
})

t.test('after its reader has left, the rest of the file is fetched until LINGER is over, and is in the cache', async (t) => {
  const film = testBytes(3_000_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 16_384 })
  const mirror = await startMirror(t, torrent, { async before () { await new Promise((resolve) => { setTimeout(resolve, 200) }) } })
  const { url, directory } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, LINGER: '30' })
  t.ok(film.subarray(0, 10_000).equals(await bytesFrom(`${url}/stream/proxy/${torrent.infohash}`, { Range: 'bytes=0-9999' })))
  await until('the file is in the cache', async () => await stat(join(directory, `${torrent.infohash}-Film.mp4`)).catch(() => null))
})
