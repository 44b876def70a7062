import t from 'tap'
import { jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes } from '../testnet.ts'
import { formatMagnet } from '../../services/torrent/magnet.ts'

const first = testBytes(300_000, 'first')
const second = testBytes(200_000, 'second')
const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'

t.test('a URL that ends in a file name is the same stream: whole, ranges, HEAD, OPTIONS, ETag', async (t) => {
  const torrent = await makeTorrent({ 'One.mp4': first, 'Two.mkv': second }, { pieceLength: 65_536 })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const named = `${url}/stream/${torrent.infohash.toUpperCase()}/1/${encodeURIComponent('any name: שלום/?#.mp4')}`
  const whole = await fetch(named)
  t.equal(whole.status, 200)
  t.match(Object.fromEntries(whole.headers), {
    'content-type': 'video/x-matroska', 'content-disposition': /Two\.mkv/, etag: `"${torrent.infohash}-1"`, 'access-control-allow-origin': '*', 'x-stream-source': 'http-fallback'
  }, 'the file decides, not the name')
  t.ok(second.equals(Buffer.from(await whole.arrayBuffer())))
  const part = await fetch(named, { headers: { Range: 'bytes=1000-1999', 'If-Match': `"${torrent.infohash}-1"` } })
  t.equal(part.status, 206)
  t.ok(second.subarray(1000, 2000).equals(Buffer.from(await part.arrayBuffer())))
  t.equal((await fetch(named, { headers: { Range: `bytes=${second.length}-` } })).status, 416)
  const head = await fetch(named, { method: 'HEAD' })
  t.equal(head.headers.get('content-length'), String(second.length))
  t.equal((await fetch(named, { method: 'OPTIONS', headers: { Origin: 'https://example.org' } })).status, 204)
  t.match((await fetch(`${named}?download=true`, { method: 'HEAD' })).headers.get('content-disposition'), /^attachment/)
  t.match(await jsonFrom(`${url}/stream/${torrent.infohash}/7/x.mp4`), { status: 404, body: { error: 'Stream not found', reasons: [{ code: 'FILE_INDEX' }] } })
})

t.test('the mock plays under a name, too', async (t) => {
  const { url } = await startApp(t)
  const response = await fetch(`${url}/stream/${mockHash}/0/mock.mp4`, { method: 'HEAD' })
  t.equal(response.status, 200)
  t.equal(response.headers.get('x-stream-source'), 'mock')
})

t.test('a magnet is answered with its stream; what it says of where to look is used, and it may choose the file', async (t) => {
  const torrent = await makeTorrent({ 'One.mp4': first, 'Two.mkv': second }, { pieceLength: 65_536 })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t)
  const magnet = formatMagnet({ infohash: torrent.infohash, exactSources: [mirror.metadataUrl.replace('{hash}', torrent.infohash)], webSeeds: [mirror.webSeed] })
  const of = (uri: string, more = ''): string => `${url}/stream/magnet?uri=${encodeURIComponent(uri)}${more}`

  const bare = await jsonFrom(of(`magnet:?xt=urn:btih:${torrent.infohash}`))
  t.match(bare, { status: 404, body: { error: 'Stream not found', reasons: [{ source: 'http-fallback', code: 'METADATA_NOT_FOUND' }] } }, 'nobody knows it')

  const response = await fetch(of(magnet), { redirect: 'error' })
  t.equal(response.status, 200, 'that it failed without web seeds says nothing of this')
  t.ok(first.equals(Buffer.from(await response.arrayBuffer())))
  const chosen = await fetch(of(`${magnet}&so=1`), { headers: { Range: 'bytes=5-9' } })
  t.equal(chosen.status, 206)
  t.ok(second.subarray(5, 10).equals(Buffer.from(await chosen.arrayBuffer())))
  t.equal((await fetch(of(`${magnet}&so=1`, '&fileIndex=0'), { method: 'HEAD' })).headers.get('content-length'), String(first.length))
})

t.test('what is no magnet is 404 with what is wrong', async (t) => {
  const { url } = await startApp(t)
  for (const [query, message] of [
    ['', /does not start with "magnet:\?"/], ['?uri=', /does not start/], ['?uri=http://example.org', /does not start/], ['?uri=magnet:?dn=x', /no infohash/],
    [`?uri=${encodeURIComponent('magnet:?xt=urn:btmh:1220')}`, /v2/]
  ] as const) {
    t.match(await jsonFrom(`${url}/stream/magnet${query}`), { status: 404, body: { error: 'Stream not found', reasons: [{ source: 'request', code: 'MAGNET_INVALID', message }] } }, query)
  }
})
