import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, temporaryDirectory, testBytes, until } from '../testnet.ts'

const post = async (url: string, body: unknown): Promise<{ status: number, body: unknown }> =>
  await jsonFrom(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })

t.test('200 torrents added at the same moment are all there, each once', async (t) => {
  const { app, url } = await startApp(t, { ENABLE_HTTP_FALLBACK: 'false' })
  const infohashes = Array.from({ length: 200 }, (_, i) => i.toString(16).padStart(40, 'e'))
  const answers = await Promise.all(infohashes.map(async (infoHash) => (await post(url, { infoHash })).status))
  t.same(new Set(answers), new Set([202]))
  t.equal((await app.torrentList.list({ offset: 0, limit: 1 })).total, 200)
})

t.test('an added torrent that was downloaded, and has gone from the cache since, is fetched again only when it is added again', async (t) => {
  const film = testBytes(300_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 65_536 })
  const other = await makeTorrent({ 'Other.mp4': testBytes(100_000, 'other') })
  const [mirror, another] = [await startMirror(t, torrent), await startMirror(t, other)]
  const env = {
    TORRENT_DOWNLOAD_PATH: join(await temporaryDirectory(t), 'cache'),
    TORRENT_METADATA_URLS: `${mirror.metadataUrl},${another.metadataUrl}`,
    HTTP_MIRROR_URLS: `${mirror.mirrorUrl},${another.mirrorUrl}`
  }
  const statusOf = async (url: string): Promise<string> => (await jsonFrom(`${url}/api/torrents/${torrent.infohash}`)).body.data.status
  const first = await startApp(t, env)
  t.equal((await post(first.url, { infoHash: torrent.infohash })).status, 202)
  await until('it is in the cache', async () => await statusOf(first.url) === 'cached')
  await until('that is noted', async () => (await readFile(join(first.directory, '.self-streme', 'added.json'), 'utf8')).includes('"isDone":true'))
  await first.app.close()
  await rm(join(first.directory, `${torrent.infohash}-Film.mp4`))
  await rm(join(first.directory, '.self-streme', 'partial'), { recursive: true, force: true })

  const asked = mirror.requests.length
  const second = await startApp(t, env)
  t.equal(await statusOf(second.url), 'idle')
  // Whoever was added now is begun after whatever a start goes on with.
  await post(second.url, { infoHash: other.infohash })
  await until('the other one is there', async () => (await jsonFrom(`${second.url}/api/torrents/${other.infohash}`)).body.data.status === 'cached')
  t.same(mirror.requests.slice(asked).filter((request) => request.includes(torrent.infohash)), [])
  t.equal((await post(second.url, { infoHash: torrent.infohash })).status, 202)
  await until('it is in the cache once more', async () => await statusOf(second.url) === 'cached')
})

t.test('a list of added torrents that was damaged is put aside; what makes sense of it is kept', async (t) => {
  const directory = join(await temporaryDirectory(t), 'cache')
  const good = { infohash: 'a'.repeat(40), addedAt: '2026-01-01T00:00:00.000Z', hints: { name: 'Good', trackers: [] } }
  await mkdir(join(directory, '.self-streme'), { recursive: true })
  await writeFile(join(directory, '.self-streme', 'added.json'), JSON.stringify({ version: 1, added: [null, good, { infohash: '../../../etc' }, { infohash: 'b'.repeat(40) }] }))
  const { url } = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory, ENABLE_HTTP_FALLBACK: 'false' })
  t.match((await jsonFrom(`${url}/api/torrents`)).body.data, [{ infoHash: 'a'.repeat(40), name: 'Good' }])
  t.ok((await readdir(join(directory, '.self-streme'))).some((name) => name.startsWith('added.json.corrupt-')))
})

t.test('a store that could not be opened once is tried again by the next request', async (t) => {
  const film = testBytes(200_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film })
  const mirror = await startMirror(t, torrent)
  const { url, directory } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  await mkdir(join(directory, '.self-streme'), { recursive: true })
  await writeFile(join(directory, '.self-streme', 'partial'), 'a file in the way')
  const { status, body } = await jsonFrom(`${url}/stream/proxy/${torrent.infohash}`)
  t.equal(status, 404)
  t.match(body.reasons, [{ source: 'http-fallback', code: 'STORE_FAILED' }])
  t.notMatch(JSON.stringify(body), directory, 'no path of ours is told')
  await rm(join(directory, '.self-streme', 'partial'))
  t.ok(film.equals(await bytesFrom(`${url}/stream/proxy/${torrent.infohash}`)))
})

t.test('what is verified on disk is served with no peer and no mirror; a file that was whole at a stop is in the cache after it', async (t) => {
  const film = testBytes(2_000_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 65_536 })
  const directory = join(await temporaryDirectory(t), 'cache')
  const { promise: stuck } = Promise.withResolvers<void>()
  let served = 0
  const mirror = await startMirror(t, torrent, { async before () { if (++served > 1) await stuck } })
  const first = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory, TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  t.ok(film.subarray(0, 60_000).equals(await bytesFrom(`${first.url}/stream/proxy/${torrent.infohash}`, { Range: 'bytes=0-59999' })))
  await first.app.close()

  const second = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory, RESPONSE_STALL_LIMIT: '500' })
  const response = await fetch(`${second.url}/stream/proxy/${torrent.infohash}`, { headers: { Range: 'bytes=0-59999' } })
  t.match(Object.fromEntries(response.headers), { 'x-stream-source': 'cache', 'x-stream-verified': 'true', etag: `"${torrent.infohash}-0"` })
  t.ok(film.subarray(0, 60_000).equals(Buffer.from(await response.arrayBuffer())))
  t.equal((await fetch(`${second.url}/stream/proxy/${torrent.infohash}`, { headers: { Range: 'bytes=1900000-' } })).status, 404, 'what is not there is a 404')
  await second.app.close()

  const honest = await startMirror(t, torrent)
  const third = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory, HTTP_MIRROR_URLS: honest.mirrorUrl, LINGER: '0' })
  t.ok(film.equals(await bytesFrom(`${third.url}/stream/proxy/${torrent.infohash}`)))
  await third.app.close()
  t.equal((await stat(join(directory, `${torrent.infohash}-Film.mp4`))).size, film.length, 'finished at the last moment, and in the cache')
})

t.test('a HEAD makes no file', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': testBytes(200_000, 'film') })
  const mirror = await startMirror(t, torrent)
  const { url, directory } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const head = await fetch(`${url}/stream/proxy/${torrent.infohash}`, { method: 'HEAD' })
  t.match(Object.fromEntries(head.headers), { 'content-length': '200000', etag: `"${torrent.infohash}-0"` })
  t.notOk((await readdir(join(directory, '.self-streme', 'partial', torrent.infohash))).some((name) => name.endsWith('.part')))
  t.notOk(mirror.requests.some((request) => request.startsWith('/by-index/')), 'and fetches no content')
})

t.test('DELETE ends a stream for good and leaves nothing; a file that a person put in its place stays', async (t) => {
  const film = testBytes(3_000_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 65_536 })
  const { promise: stuck } = Promise.withResolvers<void>()
  let served = 0
  const mirror = await startMirror(t, torrent, { async before () { if (++served > 1) await stuck } })
  const { app, url, directory } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const response = await fetch(`${url}/stream/proxy/${torrent.infohash}`)
  const reader = response.body?.getReader()
  await reader?.read()
  t.equal((await jsonFrom(`${url}/api/torrents/${torrent.infohash}?deleteFiles=true`, { method: 'DELETE' })).status, 200)
  await t.rejects((async () => { while ((await reader?.read())?.done === false); })(), 'the stream is cut')
  t.equal(app.torrents.get(torrent.infohash), null)
  t.same((await readdir(join(directory, '.self-streme', 'partial'))), [])

  await writeFile(join(directory, `${torrent.infohash}-Mine.bin`), 'theirs')
  await app.stored.add({ infohash: torrent.infohash, fileIndex: 0, path: `${torrent.infohash}-Mine.bin`, lengthBytes: 6, name: 'Mine.bin', isDefault: true })
  await rm(join(directory, `${torrent.infohash}-Mine.bin`))
  await writeFile(join(directory, `${torrent.infohash}-Mine.bin`), 'mine, by hand')
  await app.torrents.remove(torrent.infohash, { deleteFiles: true })
  t.equal((await stat(join(directory, `${torrent.infohash}-Mine.bin`))).size, 13)
})

t.test('odd requests get an answer that says what is wrong', async (t) => {
  const { url } = await startApp(t)
  const hash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
  for (const path of ['/stream/proxy/%', '/stream/proxy/%E0%A4%A', `/stream/proxy/${'a'.repeat(3000)}`]) {
    const { status, headers, body } = await jsonFrom(`${url}${path}`)
    t.equal(status, 404, path.slice(0, 30))
    t.match(body, { error: 'Stream not found', reasons: [{ code: 'INFOHASH_INVALID' }] })
    t.equal(headers.get('access-control-allow-origin'), '*')
    t.equal(headers.get('cache-control'), 'no-store')
  }
  t.match(await jsonFrom(`${url}/stream/proxy/x?fileIndex=zz`), { status: 404, body: { reasons: [{ code: 'INFOHASH_INVALID' }] } })
  t.match(await jsonFrom(`${url}/stream/proxy/${hash}?fileIndex=-1`), { status: 404, body: { reasons: [{ code: 'FILE_INDEX' }] } })
  t.match(await jsonFrom(`${url}/stream/proxy/${hash}?fileIndex=&download=&${'tr=x&'.repeat(300)}`), { status: 404, body: { error: 'Stream not found' } })
  t.match(await post(url, null), { status: 400, body: { error: 'magnetUri or infoHash is required' } })
  t.match(await post(url, []), { status: 400, body: { error: 'magnetUri or infoHash is required' } })
  t.match(await jsonFrom(`${url}/api/torrents`, { method: 'POST' }), { status: 400, body: { error: 'magnetUri or infoHash is required' } })
  t.match(await jsonFrom(`${url}/api/torrents/${'b'.repeat(40)}`, { method: 'DELETE', headers: { 'Content-Type': 'application/json' } }), { status: 404 })
})

t.test('a stop with a paused player, a silent connection and half a request: exit 0 within 5 s', { timeout: 20_000 }, async (t) => {
  const cwd = await temporaryDirectory(t)
  await mkdir(join(cwd, 'cache'))
  const hash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
  await writeFile(join(cwd, 'cache', `${hash}.mp4`), testBytes(60_000_000, 'film'))
  const child = spawn(process.execPath, [join(import.meta.dirname, '..', '..', 'index.js')], {
    cwd, stdio: ['ignore', 'pipe', 'ignore'], env: { PATH: process.env['PATH'], PORT: '0', ENABLE_P2P: 'false', TORRENT_METADATA_URLS: 'none' }
  })
  t.teardown(() => { child.kill('SIGKILL') })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => { output += chunk.toString() })
  const port = await until('it listens', () => /listening on port (\d+)/.exec(output)?.[1])
  const sockets = ['', 'GET /hea', 'POST /api/torrents HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"inf', `GET /stream/proxy/${hash} HTTP/1.1\r\nHost: x\r\n\r\n`]
    .map((text) => {
      const socket = connect(Number(port), '127.0.0.1', () => { socket.write(text) })
      socket.on('error', () => {})
      t.teardown(() => { socket.destroy() })
      return socket
    })
  const player = sockets.at(-1)
  if (player !== undefined) {
    await once(player, 'data')
    player.pause()
  }
  const stoppedAt = performance.now()
  child.kill('SIGTERM')
  const [code] = await once(child, 'exit')
  t.equal(code, 0)
  t.ok(performance.now() - stoppedAt < 5000)
})
