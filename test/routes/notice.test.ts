import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes } from '../testnet.ts'

const unknown = 'e'.repeat(40)

t.test('a start that fails is a short video for who asks for it, and is kept by nobody', async (t) => {
  const { url } = await startApp(t)
  const address = `${url}/stream/proxy/${unknown}?notice=1`
  const whole = await fetch(address)
  const bytes = Buffer.from(await whole.arrayBuffer())
  t.equal(whole.status, 200)
  t.match(Object.fromEntries(whole.headers), {
    'content-type': 'video/mp4', 'cache-control': 'no-store', etag: /^"notice-not-found-/, 'x-stream-notice': 'not-found', 'accept-ranges': 'bytes', 'access-control-allow-origin': '*', 'content-length': String(bytes.length)
  })
  t.equal(bytes.toString('latin1', 4, 8), 'ftyp')
  const head = await fetch(address, { method: 'HEAD' })
  t.match(Object.fromEntries(head.headers), { 'content-type': 'video/mp4', 'content-length': String(bytes.length) })
  const part = await fetch(address, { headers: { Range: 'bytes=100-199' } })
  t.equal(part.status, 206)
  t.equal(part.headers.get('content-range'), `bytes 100-199/${bytes.length}`)
  t.ok(bytes.subarray(100, 200).equals(Buffer.from(await part.arrayBuffer())))
  t.ok(bytes.equals(await bytesFrom(address, { Range: 'bytes=0-9,20-29' })), 'several ranges are not worth it')
  t.match((await fetch(`${url}/stream/proxy/39730aa7c09b864432bc8c878c20c933059241fd?fileIndex=5&notice=1`)).headers.get('x-stream-notice'), 'no-such-file')
})

t.test('nobody gets it who did not ask, has begun with a film, or has it switched off', async (t) => {
  const { url } = await startApp(t)
  const address = `${url}/stream/proxy/${unknown}`
  t.match(await jsonFrom(address), { status: 404, body: { error: 'Stream not found' } })
  for (const headers of [{ Range: 'bytes=5000000-' }, { Range: 'bytes=0-', 'If-Range': `"${unknown}-0"` }]) {
    t.match(await jsonFrom(`${address}?notice=1`, { headers }), { status: 404, body: { error: 'Stream not found' } }, JSON.stringify(headers))
  }
  const { url: quiet } = await startApp(t, { STREAM_NOTICES: 'false' })
  t.match(await jsonFrom(`${quiet}/stream/proxy/${unknown}?notice=1`), { status: 404 })
})

t.test('a link that does not count says so on the screen', async (t) => {
  const { url } = await startApp(t, { STREAM_ACCESS: 'signed', API_TOKEN: 'a-token-of-some-length' })
  t.equal((await fetch(`${url}/stream/${unknown}/0/film.mkv?notice=1`)).headers.get('x-stream-notice'), 'not-allowed')
})

t.test('the next torrent plays where the first does not, whole, and from the middle', async (t) => {
  const bytes = testBytes(100_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': bytes })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const address = `${url}/stream/${unknown}/0/Other.mp4?notice=1&alt=nonsense&alt=${torrent.infohash}:0`
  const first = await fetch(address)
  t.ok(bytes.equals(Buffer.from(await first.arrayBuffer())))
  t.equal(first.headers.get('etag'), `"${torrent.infohash}-0"`)
  t.ok(bytes.subarray(50_000).equals(await bytesFrom(address, { Range: 'bytes=50000-' })))
  t.match(await jsonFrom(`${url}/stream/${unknown}/1/Other.mp4?notice=1&alt=${torrent.infohash}:0`, { headers: { Range: 'bytes=50000-' } }), { status: 404 }, 'one that nobody has begun with begins at its beginning')
})
