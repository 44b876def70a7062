import { createServer } from 'node:http'
import t from 'tap'
import { once } from 'node:events'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { listenOnLoopback } from '../loopback.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'
import type { IncomingMessage } from 'node:http'
import type { Test } from 'tap'

const srt = '1\n00:00:01,000 --> 00:00:02,500\nHello\n'
const video = testBytes(300_000, 'elsewhere')

/** A server elsewhere: a video with ranges, subtitles, and pages that mean no good. */
async function startElsewhere (t: Test): Promise<{ readonly origin: string, readonly requests: IncomingMessage[] }> {
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    const path = (request.url ?? '/').split('?')[0]
    const [, start, end] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
    if (path === '/a.srt') response.end(srt)
    else if (path === '/page') response.writeHead(200, { 'Content-Type': 'text/html', 'Set-Cookie': 'a=b', 'Access-Control-Allow-Origin': '*', 'Content-Security-Policy': 'default-src *' }).end('<script>alert(1)</script>')
    else if (path === '/moved') response.writeHead(302, { Location: '/video.mp4' }).end()
    else if (path === '/short.mp4') response.writeHead(206, { 'Content-Range': `bytes ${start}-${Number(start) + 9}/${video.length}` }).end(video.subarray(Number(start), Number(start) + 10))
    else if (path === '/cut.mp4') response.writeHead(206, { 'Content-Range': `bytes ${start}-${end}/${video.length}` }).end('x')
    else if (path !== '/video.mp4') response.writeHead(404).end()
    else if (start === undefined) response.writeHead(200, { 'Content-Type': 'video/mp4', 'Content-Length': video.length }).end(video)
    else {
      const last = end === '' || end === undefined ? video.length - 1 : Number(end)
      const part = video.subarray(Number(start), last + 1)
      response.writeHead(206, { 'Content-Type': 'video/mp4', 'Content-Length': part.length, 'Content-Range': `bytes ${start}-${last}/${video.length}` }).end(part)
    }
  })
  return { origin: await listenOnLoopback(t, server), requests }
}

const viaProxy = (origin: string, path: string, options: ReadonlyArray<[string, string]> = []): string => `/proxy/${new URLSearchParams([['d', origin], ...options]).toString()}${path}`

t.test('the hash of a video is the same for a file here and for the same file elsewhere', async (t) => {
  const { origin } = await startElsewhere(t)
  const torrent = await makeTorrent({ 'Film.mp4': video })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const hash = async (videoUrl: string) => await jsonFrom(`${url}/opensubHash?videoUrl=${encodeURIComponent(videoUrl)}`)
  const { status, body } = await hash(`${origin}/video.mp4`)
  t.equal(status, 200)
  t.match(body, { error: null, result: { size: video.length, hash: /^[0-9a-f]{16}$/ } })
  for (const own of [`${url}/${torrent.infohash}/0`, `${url}/${torrent.infohash}/-1?tr=x`, `/stream/proxy/${torrent.infohash}`]) t.same((await hash(own)).body, body, own)
  t.equal((await hash(`${origin}/a.srt`)).status, 404, 'a server without ranges')
  t.equal((await hash(`${origin}/nothing`)).status, 404)
  for (const liar of ['short', 'cut']) t.equal((await hash(`${origin}/${liar}.mp4`)).status, 404, 'one that sends less than was asked for')
  t.equal((await hash(`${url}/metrics`)).status, 400, 'no file of this server')
  t.equal((await hash('file:///etc/passwd')).status, 400)
})

t.test('subtitles come as WebVTT and as a list, from here and from elsewhere', async (t) => {
  const { origin } = await startElsewhere(t)
  const torrent = await makeTorrent({ 'Film.mp4': video, 'Film.en.srt': Buffer.from(srt) }, { name: 'Film' })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  for (const from of [`${origin}/a.srt`, `${url}/${torrent.infohash}/1`, `${url}/${torrent.infohash}/Film.en.srt`, `/api/torrents/${torrent.infohash}/subtitles/1`]) {
    const response = await fetch(`${url}/subtitles.vtt?from=${encodeURIComponent(from)}`, { headers: { Origin: 'https://web.stremio.com' } })
    t.equal(response.status, 200, from)
    t.match(response.headers.get('content-type'), /^text\/vtt/)
    t.equal(response.headers.get('access-control-allow-origin'), 'https://web.stremio.com')
    t.equal(await response.text(), 'WEBVTT\n\n00:00:01.000 --> 00:00:02.500\nHello\n')
  }
  t.equal(String(await bytesFrom(`${url}/subtitles.vtt?offset=3600500&from=${encodeURIComponent(`${origin}/a.srt`)}`)), 'WEBVTT\n\n01:00:01.500 --> 01:00:03.000\nHello\n')
  t.equal(String(await bytesFrom(`${url}/subtitles.vtt?offset=-2000&from=${encodeURIComponent(`${origin}/a.srt`)}`)), 'WEBVTT\n\n00:00:00.000 --> 00:00:00.500\nHello\n')
  t.match((await jsonFrom(`${url}/subtitlesTracks?subsUrl=${encodeURIComponent(`${origin}/a.srt`)}`)).body, { error: null, result: { tracks: [{ number: 1, startTime: 1000, endTime: 2500, text: 'Hello' }] } })
  t.equal((await fetch(`${url}/subtitles.vtt?from=${encodeURIComponent(`${url}/${torrent.infohash}/0`)}`)).status, 404, 'a film is no subtitle')
})

t.test('a stream elsewhere plays with the headers that it wants, ranges included', async (t) => {
  const { origin, requests } = await startElsewhere(t)
  const { url } = await startApp(t)
  const whole = await bytesFrom(`${url}${viaProxy(origin, '/video.mp4?token=1', [['h', 'Referer:https://site.example/'], ['h', 'User-Agent:Player'], ['h', 'Host:internal']])}`)
  t.ok(whole.equals(video))
  t.match(requests.at(-1), { url: '/video.mp4?token=1', headers: { referer: 'https://site.example/', 'user-agent': 'Player', host: new URL(origin).host } })
  const part = await fetch(`${url}${viaProxy(origin, '/moved', [['r', 'Content-Type:video/webm']])}`, { headers: { Range: 'bytes=100000-', Cookie: 'secret=1', Authorization: 'Basic x' } })
  t.equal(part.status, 206)
  t.match(Object.fromEntries(part.headers), { 'content-range': `bytes 100000-299999/${video.length}`, 'content-type': 'video/webm' })
  t.ok(Buffer.from(await part.arrayBuffer()).equals(video.subarray(100_000)))
  t.equal(requests.at(-1)?.headers.cookie, undefined)
  t.equal(requests.at(-1)?.headers.authorization, undefined)
  const head = await fetch(`${url}${viaProxy(origin, '/video.mp4')}`, { method: 'HEAD' })
  t.match([head.status, head.headers.get('content-length')], [200, String(video.length)])
  const page = await fetch(`${url}${viaProxy(origin, '/page', [['r', 'Content-Security-Policy:default-src *'], ['r', 'Set-Cookie:c=d']])}`)
  t.match(Object.fromEntries(page.headers), { 'content-security-policy': "default-src 'none'; sandbox", 'x-content-type-options': 'nosniff' })
  t.equal(page.headers.get('set-cookie'), null)
  t.equal(page.headers.get('access-control-allow-origin'), null, 'nobody reads it who is not let in')
})

t.test('files of this server are not fetched by a proxy, but streamed', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': video })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, API_TOKEN: 'a-token-of-some-length' })
  const response = await fetch(`${url}${viaProxy(url, `/${torrent.infohash}/0`)}`)
  t.equal(response.headers.get('x-stream-verified'), 'true')
  t.ok(Buffer.from(await response.arrayBuffer()).equals(video), 'for strangers, too')
  t.equal((await fetch(`${url}${viaProxy(url, '/metrics')}`)).status, 400)
})

t.test('strangers have nothing fetched; who has a secret path does; nobody reaches the private network', async (t) => {
  const { origin, requests } = await startElsewhere(t)
  const token = 'a-token-of-some-length'
  const asked = [viaProxy(origin, '/video.mp4'), `/opensubHash?videoUrl=${encodeURIComponent(`${origin}/video.mp4`)}`, `/subtitles.vtt?from=${encodeURIComponent(`${origin}/a.srt`)}`, `/subtitlesTracks?subsUrl=${encodeURIComponent(`${origin}/a.srt`)}`]
  const open = await startApp(t, { API_TOKEN: token })
  for (const path of asked) t.equal((await fetch(`${open.url}${path}`)).status, 401, path.slice(0, 20))
  t.equal(requests.length, 0)
  const created = await jsonFrom(`${open.url}/api/secret-paths`, { method: 'POST', headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` }, body: JSON.stringify({ name: 'TV' }) })
  const path = new URL(created.body.data.url).pathname.replace(/\/$/, '')
  for (const each of asked) t.equal((await fetch(`${open.url}${path}${each}`)).status, 200, each.slice(0, 20))

  const guarded = await startApp(t, { HTTP_ALLOW_PRIVATE_NETWORKS: 'false' })
  const before = requests.length
  for (const each of asked) t.equal((await fetch(`${guarded.url}${each}`)).status, 404, each.slice(0, 20))
  t.equal(requests.length, before, 'nobody was asked')
  // One more than are passed on at a time, none of which ends.
  const hanging = await listenOnLoopback(t, createServer(() => {}))
  const gone = new AbortController()
  const waiting = Array.from({ length: 32 }, async () => { await fetch(`${open.url}${path}${viaProxy(hanging, '/')}`, { signal: gone.signal }).catch(() => {}) })
  await until('all places are taken', async () => {
    const answer = await fetch(`${open.url}${path}${viaProxy(origin, '/video.mp4')}`)
    await answer.body?.cancel()
    return answer.status === 503 && answer.headers.has('retry-after')
  })
  gone.abort()
  await Promise.all(waiting)
  await until('they are free again', async () => {
    const answer = await fetch(`${open.url}${path}${viaProxy(origin, '/video.mp4')}`)
    await answer.body?.cancel()
    return answer.status === 200
  })
  const image = { 'Sec-Fetch-Site': 'cross-site', Referer: 'https://evil.example/' }
  for (const each of asked) t.equal((await fetch(`${open.url}${each}`, { headers: image })).status, 403, 'not for an image on any page')
})

t.test('who has a secret path does not become the owner by having this server ask itself', async (t) => {
  const { origin, requests } = await startElsewhere(t)
  const { app, url } = await startApp(t)
  // A second way in, of which the server does not know that it is its own.
  const again = createServer((request, response) => { app.server.emit('request', request, response) }).listen(0, '127.0.0.1')
  await once(again, 'listening')
  t.teardown(() => { again.close() })
  const address = again.address()
  const own = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
  const made = await app.access.secretPaths.create('the TV')
  const asGuest = { headers: { 'X-Forwarded-For': '203.0.113.1' } }
  for (const path of ['/api/secret-paths', '/removeAll', '/stats.json']) {
    const answer = await fetch(`${url}/t/${made?.secret}${viaProxy(own, path)}`, asGuest)
    t.equal(answer.status, 401, path)
  }
  t.equal((await fetch(`${url}/t/${made?.secret}${viaProxy(own, `/t/${made?.secret}${viaProxy(origin, '/video.mp4')}`)}`, asGuest)).status, 404, 'nor does it go round in circles')
  t.equal(requests.length, 0)
})
