import { spawn } from 'node:child_process'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { freePort, hasStarted, isListening, makeTorrent, missing, stopper, temporaryDirectory, testBytes, testWith, until } from '../testnet.ts'

const content = testBytes(5_000_000, 'behind nginx')
const placedHash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'

/** deploy/nginx.conf with our names in it, before the server at `url`. Resolves to nginx's own address, and counts what it sent by itself. */
async function startNginx (t: Test, url: string, directory: string) {
  const scratch = await temporaryDirectory(t)
  const port = await freePort()
  const example = await readFile(new URL('../../deploy/nginx.conf', import.meta.url), 'utf8')
  const server = example
    .replace('listen 80;', `listen 127.0.0.1:${port};`)
    .replace('http://127.0.0.1:11470', url)
    .replace('/srv/self-streme/cache/', `${directory}/`)
    .replace('internal;', `internal; access_log ${scratch}/handed plain;`)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${scratch}/${kind};`).join(' ')
  // Its workers run as another user where root starts it.
  await chmod(scratch, 0o777)
  for (const path of [directory, dirname(directory)]) await chmod(path, 0o755)
  await writeFile(join(scratch, 'conf'), `daemon off; pid ${scratch}/pid; error_log stderr crit; events {} http { log_format plain "$request_method $uri"; access_log off; types {} ${temporary} ${server} }`)
  const child = spawn('/usr/sbin/nginx', ['-p', scratch, '-c', join(scratch, 'conf'), '-e', 'stderr'], { stdio: ['ignore', 'ignore', 'inherit'] })
  const stop = stopper(child)
  // A master that is killed leaves its workers behind.
  t.teardown(async () => { child.kill('SIGTERM'); await until('nginx has ended', () => child.exitCode !== null || child.signalCode !== null, 5000).catch(() => {}); await stop() })
  if (!await hasStarted(child)) throw missing('nginx-light')
  await until('nginx listens', async () => await isListening(port))
  const handed = async (): Promise<number> => (await readFile(join(scratch, 'handed'), 'utf8').catch(() => '')).split('\n').length - 1
  return { url: `http://127.0.0.1:${port}`, handed }
}

async function setUp (t: Test) {
  const torrent = await makeTorrent({ 'Film + 100% ü?.mp4': content }, { pieceLength: 65_536 })
  const mirror = await startMirror(t, torrent)
  const app = await startApp(t, { SENDFILE_HEADER: 'x-accel-redirect', TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const nginx = await startNginx(t, app.url, app.directory)
  const path = `/stream/proxy/${torrent.infohash}`
  return { app, nginx, path, film: `${nginx.url}${path}`, infohash: torrent.infohash }
}

async function ask (url: string, headers: Record<string, string> = {}, method = 'GET') {
  const response = await fetch(url, { headers, method })
  return { status: response.status, headers: response.headers, body: Buffer.from(await response.arrayBuffer()) }
}

testWith(t, 'a film that is not cached comes through nginx while it is downloaded; once it is cached nginx sends it itself', async (t) => {
  const { app, nginx, film, infohash } = await setUp(t)
  const first = await ask(film)
  t.ok(first.body.equals(content))
  t.equal(first.headers.get('x-stream-source'), 'http-fallback')
  t.equal(await nginx.handed(), 0)
  await until('it is in the cache', async () => await app.app.cache.find(infohash, 0, null) !== null)

  const whole = await ask(film)
  t.ok(whole.body.equals(content), 'every byte')
  t.equal(await nginx.handed(), 1, 'sent by nginx')
  for (const name of ['content-type', 'etag', 'content-length', 'content-disposition', 'cache-control', 'accept-ranges', 'x-stream-verified', 'access-control-allow-origin', 'access-control-expose-headers', 'last-modified']) {
    t.equal(whole.headers.get(name), first.headers.get(name), `${name} is the same`)
  }
  t.equal(whole.headers.get('x-stream-source'), 'cache')
  t.equal(whole.headers.get('x-accel-redirect'), null)
})

testWith(t, 'ranges, HEAD and conditions are answered through nginx as the server alone answers them', async (t) => {
  const { app, nginx, film, path, infohash } = await setUp(t)
  await ask(film)
  await until('it is in the cache', async () => await app.app.cache.find(infohash, 0, null) !== null)
  // The same directory without a proxy, for comparison.
  const alone = await startApp(t, { CACHE_READ_ONLY: 'true', TORRENT_DOWNLOAD_PATH: app.directory })
  const etag = `"${infohash}-0"`
  const cases: Array<[headers: Record<string, string>, isHanded: boolean]> = [
    [{ Range: 'bytes=0-' }, true], [{ Range: 'bytes=0-1' }, true], [{ Range: 'bytes=1000000-2999999' }, true], [{ Range: 'bytes=-1000' }, true],
    [{ Range: 'bytes=4999999-9999999' }, true], [{ Range: 'bytes=5000000-' }, true], [{ Range: 'bytes=0-0' }, true],
    [{ 'If-Match': etag, Range: 'bytes=5-9' }, false], [{ 'If-Match': '"other"' }, false], [{ 'If-None-Match': etag }, false],
    [{ 'If-Range': etag, Range: 'bytes=5-9' }, false], [{ 'If-Range': '"other"', Range: 'bytes=5-9' }, false]
  ]
  for (const [headers, isHanded] of cases) {
    const before = await nginx.handed()
    const [seen, expected] = [await ask(film, headers), await ask(`${alone.url}${path}`, headers)]
    const what = JSON.stringify(headers)
    t.equal(seen.status, expected.status, `${what}: ${expected.status}`)
    if (expected.status < 400) t.ok(seen.body.equals(expected.body), `${what}: every byte`)
    t.equal(seen.headers.get('content-range'), expected.headers.get('content-range'), what)
    if (expected.status < 400) t.equal(seen.headers.get('etag'), expected.headers.get('etag'), what)
    if (expected.status < 400) t.equal(await nginx.handed() - before, isHanded ? 1 : 0, `${what}: ${isHanded ? 'by nginx' : 'by the server'}`)
  }
  const head = await ask(film, {}, 'HEAD')
  t.match(head, { status: 200, body: { length: 0 } })
  t.equal(head.headers.get('content-length'), String(content.length))
  t.equal(head.headers.get('etag'), etag)
})

testWith(t, 'nobody gets at the files but through a stream', async (t) => {
  const { nginx, film, infohash } = await setUp(t)
  await ask(film)
  for (const path of [`${infohash}-Film%20%2B%20100%25%20%C3%BC%3F.mp4`, '.self-streme/lock', '']) t.equal((await ask(`${nginx.url}/_self-streme/${path}`)).status, 404, path)
})

testWith(t, 'what nobody has hashed, and the mock, the server sends itself', async (t) => {
  const { app, nginx } = await setUp(t)
  await writeFile(join(app.directory, `${placedHash}.mp4`), content)
  t.ok((await ask(`${nginx.url}/stream/proxy/${placedHash}`)).body.equals(content))
  t.equal((await ask(`${nginx.url}/stream/proxy/39730aa7c09b864432bc8c878c20c933059241fd`)).body.length, 2_097_152)
  t.equal(await nginx.handed(), 0)
})
