import { readdir } from 'node:fs/promises'
import { createServer } from 'node:http'
import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes } from '../testnet.ts'
import { listenOnLoopback } from '../loopback.ts'
import type { RequestListener } from 'node:http'
import type { Test } from 'tap'

const infohash = 'ab'.repeat(20)
const film = testBytes(2_000_000, 'film')

/** A server of the operator's own: its origin, and what it was asked. */
async function serve (t: Test, listener: RequestListener): Promise<{ url: string, requests: string[] }> {
  const requests: string[] = []
  const server = createServer((request, response) => {
    requests.push(`${request.url ?? ''} ${request.headers.range ?? ''}`)
    listener(request, response)
  })
  return { url: await listenOnLoopback(t, server), requests }
}

/** Ranges of `bytes()` under every path. */
function ranges (bytes: () => Buffer, headers: Record<string, string> = {}): RequestListener {
  return (request, response) => {
    const [, start, end = ''] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
    const all = bytes()
    const part = all.subarray(Number(start), end === '' ? undefined : Number(end) + 1)
    response.writeHead(206, { ...headers, 'content-length': part.length, 'content-range': `bytes ${start}-${Number(start) + part.length - 1}/${all.length}` }).end(part)
  }
}

async function checkRanges (t: Test, stream: string): Promise<void> {
  for (const [start, end] of [[0, 0], [0, 99], [1_000_000, 1_099_999], [1_999_990, 1_999_999]] as const) {
    const response = await fetch(stream, { headers: { Range: `bytes=${start}-${end}` } })
    t.equal(response.status, 206)
    t.equal(response.headers.get('content-range'), `bytes ${start}-${end}/2000000`)
    t.ok(film.subarray(start, end + 1).equals(Buffer.from(await response.arrayBuffer())), `${start}-${end}`)
  }
}

t.test('with no .torrent to be had, a template marked trusted: is streamed, and says that nobody checked it', async (t) => {
  const { url: nas, requests } = await serve(t, ranges(() => film, { etag: '"1"' }))
  const { app, url, directory } = await startApp(t, { HTTP_MIRROR_URLS: `trusted:${nas}/{hash}.mkv` })
  const stream = `${url}/stream/proxy/${infohash}`
  const response = await fetch(stream)
  t.equal(response.status, 200)
  t.match(Object.fromEntries(response.headers), {
    'x-stream-source': 'http-fallback', 'x-stream-verified': 'false', 'cache-control': 'no-cache', 'content-length': '2000000', 'content-type': 'video/x-matroska', 'accept-ranges': 'bytes'
  })
  const etag = response.headers.get('etag') ?? ''
  t.match(etag, /^"unverified-/)
  t.ok(film.equals(Buffer.from(await response.arrayBuffer())))
  await checkRanges(t, stream)
  const head = await fetch(stream, { method: 'HEAD' })
  t.equal(head.headers.get('etag'), etag, 'the same every time')
  t.equal((await fetch(stream, { headers: { Range: 'bytes=5-', 'If-Match': etag } })).status, 206)
  t.ok(requests.includes(`/${infohash}.mkv bytes=1000000-1099999`), 'ranges are passed on')
  t.strictSame((await readdir(directory)).filter((name) => name.includes(infohash)), [], 'nothing is kept')
  t.strictSame(app.stored.list(), [])
})

t.test('a server that ignores Range is read from its start', async (t) => {
  const { url: nas } = await serve(t, (_request, response) => { response.writeHead(200, { 'content-length': film.length, 'content-type': 'video/mp4', 'content-disposition': 'attachment; filename="../My film.mp4"' }).end(film) })
  const { url } = await startApp(t, { HTTP_MIRROR_URLS: `trusted:${nas}/{hash}` })
  await checkRanges(t, `${url}/stream/proxy/${infohash}`)
  const head = await fetch(`${url}/stream/proxy/${infohash}`, { method: 'HEAD' })
  t.equal(head.headers.get('content-type'), 'video/mp4')
  t.equal(head.headers.get('content-disposition'), 'inline; filename="My film.mp4"')
})

t.test('a file that is another one by now ends the response rather than be joined to it', async (t) => {
  let version = 1
  const { url: nas } = await serve(t, (request, response) => {
    ranges(() => film, { etag: `"${version}"` })(request, response)
    if (request.headers.range !== 'bytes=0-0') version++
  })
  const { app } = await startApp(t, { HTTP_MIRROR_URLS: `trusted:${nas}/{hash}.mkv` })
  const { file } = await app.sources.open({ infohash, fileIndex: null, trackers: [], head: { start: 0 } }, AbortSignal.timeout(10_000))
  const read = async (): Promise<void> => { for await (const chunk of file.read({ start: 0, end: 9 }, AbortSignal.timeout(10_000))) t.equal(chunk.length, 10) }
  await read()
  await t.rejects(read(), { code: 'FILE_CHANGED' })
})

t.test('a request for a file by its number goes to templates with a number, one for the default file to those without', async (t) => {
  const { url: nas, requests } = await serve(t, ranges(() => film))
  const { url } = await startApp(t, { HTTP_MIRROR_URLS: `trusted:${nas}/{hash}/{name},trusted:${nas}/{hash}.mkv,trusted:${nas}/{HASH}/{index}/{index1}` })
  t.ok(film.equals(await bytesFrom(`${url}/stream/proxy/${infohash}`)))
  t.ok(requests.every((request) => request.startsWith(`/${infohash}.mkv `)))
  requests.length = 0
  t.ok(film.equals(await bytesFrom(`${url}/stream/proxy/${infohash}?fileIndex=3`)))
  t.ok(requests.every((request) => request.startsWith(`/${infohash.toUpperCase()}/3/4 `)))
})

t.test('without the mark nothing is streamed, and the reason says what to do', async (t) => {
  const { url: nas, requests } = await serve(t, ranges(() => film))
  const { url } = await startApp(t, { HTTP_MIRROR_URLS: `${nas}/{hash}.mkv` })
  const { status, body } = await jsonFrom(`${url}/stream/proxy/${infohash}`)
  t.equal(status, 404)
  t.match(body.reasons, [{ source: 'http-fallback', code: 'METADATA_NOT_FOUND', message: /mirrors cannot be checked.*trusted:/ }])
  t.strictSame(requests, [])
})

t.test('a trusted server that has nothing usable is a reason', async (t) => {
  for (const [listener, message] of [
    [(_request, response) => { response.writeHead(404).end() }, /status 404/],
    [(_request, response) => { response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<html>') }, /a page and no file/],
    [(_request, response) => { response.writeHead(206, { 'content-range': 'bytes 0-0/*' }).end('x') }, /how long/],
    [(_request, response) => { response.writeHead(206, { 'content-range': 'bytes 7-7/9' }).end('x') }, /asked for bytes from 0/],
    [(_request, response) => { response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': 9 }).end() }, /encoded/],
    [(_request, response) => { response.writeHead(200, { 'transfer-encoding': 'chunked' }).end('x') }, /how long/],
    [(_request, response) => { response.destroy() }, /127\.0\.0\.1/]
  ] satisfies Array<[RequestListener, RegExp]>) {
    const { url: nas } = await serve(t, listener)
    const { url } = await startApp(t, { HTTP_MIRROR_URLS: `trusted:${nas}/{hash}.mkv` })
    const { status, body } = await jsonFrom(`${url}/stream/proxy/${infohash}`)
    t.equal(status, 404)
    t.match(body.reasons, [{ code: 'METADATA_NOT_FOUND', message }])
  }
})

t.test('with a .torrent a trusted mirror is checked like any other', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 65_536 })
  const mirror = await startMirror(t, torrent)
  const liar = await startMirror(t, torrent, { tamper: (bytes) => Buffer.from(bytes.map((byte) => byte ^ 1)) })
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: `trusted:${mirror.mirrorUrl}` })
  const response = await fetch(`${url}/stream/proxy/${torrent.infohash}`)
  t.equal(response.headers.get('x-stream-verified'), 'true')
  t.ok(film.equals(Buffer.from(await response.arrayBuffer())))
  const { url: lied } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: `trusted:${liar.mirrorUrl}` })
  t.equal((await fetch(`${lied}/stream/proxy/${torrent.infohash}`)).status, 404)
})

t.test('an added torrent of which there is only an unverified copy says so, and is not called ready', async (t) => {
  const { url: nas } = await serve(t, ranges(() => film))
  const { url } = await startApp(t, { HTTP_MIRROR_URLS: `trusted:${nas}/{hash}.mkv` })
  await fetch(`${url}/api/torrents`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ infoHash: infohash }) })
  for (;;) {
    const { body } = await jsonFrom(`${url}/api/torrents/${infohash}`)
    t.not(body.data.status, 'ready')
    if (/unverified copy only/.test(body.data.reason ?? '')) break
    await new Promise((resolve) => { setTimeout(resolve, 50) })
  }
})
