import { mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'

import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { runToEnd, startServer } from '../server-process.ts'
import { makeTorrent, temporaryDirectory, testBytes } from '../testnet.ts'
import { runScript } from '../scripts/run-script.ts'

const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const quiet = { ENABLE_P2P: 'false' }

/** Every name below the folder, with what would show that somebody wrote to it. */
async function stateOf (folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true })
  return await Promise.all(names.sort().map(async (name) => {
    const { ino, size, mtimeMs, ctimeMs } = await stat(join(folder, name))
    return [name, ino, size, mtimeMs, ctimeMs].join(' ')
  }))
}

async function placeFilm (directory: string): Promise<Buffer> {
  const film = testBytes(1_500_000, 'film')
  await mkdir(directory, { recursive: true })
  await writeFile(join(directory, `${infohash}-film.mp4`), film)
  return film
}

t.test('a second server on the same download directory says who has it and what to do, in one line, and stops', async t => {
  const cwd = await temporaryDirectory(t)
  const first = await startServer(t, quiet, cwd)
  const { code, output } = await runToEnd(t, { ...quiet, PORT: '0' }, cwd)
  t.equal(code, 1)
  const line = output.split('\n').find((each) => each.includes('another Self-Streme')) ?? ''
  t.equal(line, `Self-Streme could not start: another Self-Streme (process ${first.pid}) uses the download directory ./cache: stop it, set TORRENT_DOWNLOAD_PATH to another directory, or set CACHE_READ_ONLY=true to serve beside it`)
  t.equal((await fetch(`${first.url}/health`)).status, 200, 'the first goes on')
})

t.test('kill -9 of the first lets the next start at once, and so does a stop', async t => {
  const cwd = await temporaryDirectory(t)
  const first = await startServer(t, quiet, cwd)
  await first.stop('SIGKILL')
  const second = await startServer(t, quiet, cwd)
  t.equal(await second.stop('SIGTERM'), 0)
  await startServer(t, quiet, cwd)
})

t.test('a read-only one beside it serves what is there, and what comes, and writes nothing', async t => {
  const cwd = await temporaryDirectory(t)
  const writer = await startServer(t, quiet, cwd)
  const film = await placeFilm(writer.directory)
  t.ok(film.equals(await bytesFrom(`${writer.url}/stream/proxy/${infohash}`)))
  const reader = await startServer(t, { CACHE_READ_ONLY: 'true', TORRENT_DOWNLOAD_PATH: writer.directory }, cwd)
  t.ok(film.equals(await bytesFrom(`${reader.url}/stream/proxy/${infohash}`)))

  const imported = testBytes(1_200_000, 'imported')
  await writeFile(join(cwd, 'imported.mp4'), imported)
  const { stdout } = await runScript(t, 'import', ['imported.mp4'], { cwd, env: { TORRENT_DOWNLOAD_PATH: writer.directory } })
  const response = await fetch(`${reader.url}/stream/proxy/${stdout.slice(0, 40)}`)
  t.equal(response.headers.get('x-stream-verified'), 'true')
  t.ok(imported.equals(Buffer.from(await response.arrayBuffer())))
})

t.test('what the other server stored is served by the read-only one as verified, and forgotten when it is gone', async t => {
  const directory = join(await temporaryDirectory(t), 'cache')
  const { app: writer } = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory })
  const { url } = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory, CACHE_READ_ONLY: 'true' })
  const bytes = testBytes(50_000, 'small')
  const head = async (): Promise<Response> => await fetch(`${url}/stream/proxy/${infohash}?fileIndex=0`, { method: 'HEAD' })
  t.equal((await head()).status, 404)
  await writeFile(join(directory, `${infohash}-small.mp4`), bytes)
  await writer.stored.add({ infohash, fileIndex: 0, path: `${infohash}-small.mp4`, lengthBytes: bytes.length, name: 'small.mp4', isDefault: true })
  const response = await head()
  t.equal(response.headers.get('x-stream-verified'), 'true')
  t.equal(response.headers.get('etag'), `"${infohash}-0"`)
  await writer.stored.remove(infohash)
  t.equal((await head()).status, 404)
})

t.test('CACHE_READ_ONLY=true: not a name, not a byte, not a time in the directory changes, whatever is asked', async t => {
  const directory = join(await temporaryDirectory(t), 'cache')
  const film = await placeFilm(directory)
  const { infohash: partly, torrent } = await makeTorrent({ 'partly.mp4': testBytes(100_000, 'partly') })
  const state = join(directory, '.self-streme')
  await mkdir(join(state, 'torrents'), { recursive: true })
  await mkdir(join(state, 'partial', partly, 'edges'), { recursive: true })
  await writeFile(join(state, 'torrents', `${partly}.torrent`), torrent)
  await writeFile(join(state, 'partial', partly, '0.part'), 'too short: a server that writes would remove it')
  await writeFile(join(state, 'stored.json'), 'damaged: a server that writes would put it aside')
  await writeFile(join(state, 'added.json'), 'this one, too')
  await writeFile(join(state, 'last-use.json'), 'and this one')
  const before = await stateOf(directory)

  const { app, url } = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory, CACHE_READ_ONLY: 'true', ENABLE_P2P: 'true', CACHE_CLEANUP_INTERVAL: '1', CACHE_MAX_DISK_MB: '1', CACHE_EVICT_PLACED: 'true' })
  t.ok(film.equals(await bytesFrom(`${url}/stream/proxy/${infohash}`)))
  t.equal((await jsonFrom(`${url}/stream/proxy/${partly}`)).status, 404)
  for (const [method, path] of [['POST', '/api/torrents'], ['DELETE', `/api/torrents/${infohash}?deleteFiles=true`], ['DELETE', '/api/cache'], ['DELETE', `/api/cache/${infohash}`], ['POST', `/api/cache/${infohash}/pin`]] as const) {
    const { status, body } = await jsonFrom(`${url}${path}`, { method, ...(path === '/api/torrents' ? { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash: partly }) } : {}) })
    t.equal(status, 403, `${method} ${path}`)
    t.match(body, { error: 'Read only', message: /CACHE_READ_ONLY=true/ })
  }
  t.match((await jsonFrom(`${url}/api/torrents`)).body.data, [{ infoHash: infohash, cached: true }])
  const { body: ready } = await jsonFrom(`${url}/ready`)
  t.equal(ready.status, 'ok')
  t.strictSame(ready.sources, ['cache', 'mock'])
  t.match(ready.off, { p2p: /CACHE_READ_ONLY=true/, 'http-fallback': /CACHE_READ_ONLY=true/ })
  await app.close()
  t.strictSame(await stateOf(directory), before)
})

t.test('CACHE_READ_ONLY=true on a directory that is not there: the server runs, and does not make it', async t => {
  const cwd = await temporaryDirectory(t)
  const server = await startServer(t, { CACHE_READ_ONLY: 'true' }, cwd)
  t.equal((await fetch(`${server.url}/ready`)).status, 200)
  t.equal(await server.stop('SIGTERM'), 0)
  t.strictSame(await readdir(cwd), [])
})

t.test('the lock is in the download directory: servers with different ones do not know of each other', async t => {
  const cwd = await temporaryDirectory(t)
  const first = await startServer(t, { ...quiet, TORRENT_DOWNLOAD_PATH: join(cwd, 'one') }, cwd)
  const second = await startServer(t, { ...quiet, TORRENT_DOWNLOAD_PATH: join(cwd, 'two') }, cwd)
  t.not(first.port, second.port)
  const lock = (await readdir(join(cwd, 'one', '.self-streme'))).find((name) => name.startsWith('lock')) ?? ''
  t.match(JSON.parse(await readFile(join(cwd, 'one', '.self-streme', lock), 'utf8')), { pid: first.pid })
})
