import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { until } from '../testnet.ts'
import type { Socket } from 'node:net'

const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'
const content = randomBytes(1_500_000)

async function place (directory: string, name: string, bytes = content): Promise<string> {
  await mkdir(directory, { recursive: true })
  const path = join(directory, name)
  await writeFile(path, bytes)
  return path
}

t.test('a cached file is served whole, with everything a player needs to know', async (t) => {
  const { url, directory } = await startApp(t)
  await place(directory, `${infohash}-Big Buck Bunny.mp4`)
  const response = await fetch(`${url}/stream/proxy/${infohash}`)
  t.equal(response.status, 200)
  t.match(Object.fromEntries(response.headers), {
    'content-type': 'video/mp4',
    'content-length': '1500000',
    'accept-ranges': 'bytes',
    etag: new RegExp(`^"${infohash}-1500000-[0-9.]+"$`),
    'content-disposition': /inline; filename=/,
    'x-stream-source': 'cache',
    'x-stream-verified': 'false',
    'server-timing': /^cache;dur=/,
    'access-control-allow-origin': '*',
    'transfermode.dlna.org': 'Streaming',
    'cache-control': 'no-cache'
  })
  t.ok(content.equals(Buffer.from(await response.arrayBuffer())))
})

t.test('the infohash may be upper case or base32', async (t) => {
  const { url, directory } = await startApp(t)
  await place(directory, `${infohash}.mkv`)
  for (const text of [infohash.toUpperCase(), '3WBFL3G4PSSV7MF37AJSHWDQMLNR63I4']) {
    const response = await fetch(`${url}/stream/proxy/${text}`, { method: 'HEAD' })
    t.equal(response.status, 200, text)
    t.equal(response.headers.get('content-type'), 'video/x-matroska')
  }
})

t.test('every range is exactly the bytes it names', async (t) => {
  const { url, directory } = await startApp(t)
  await place(directory, `${infohash}.mp4`)
  const last = content.length - 1
  for (const [range, start, end] of [
    ['bytes=0-0', 0, 0], ['bytes=0-1', 0, 1], ['bytes=0-', 0, last], ['bytes=-1', last, last], [`bytes=${last}-`, last, last],
    ['bytes=1000000-1400000', 1_000_000, 1_400_000], ['bytes=5-99999999', 5, last], ['bytes=-99999999', 0, last]
  ] as const) {
    const response = await fetch(`${url}/stream/proxy/${infohash}`, { headers: { Range: range } })
    t.equal(response.status, 206, range)
    t.equal(response.headers.get('content-range'), `bytes ${start}-${end}/${content.length}`, range)
    t.ok(content.subarray(start, end + 1).equals(Buffer.from(await response.arrayBuffer())), range)
  }
  const beyond = await fetch(`${url}/stream/proxy/${infohash}`, { headers: { Range: `bytes=${content.length}-` } })
  t.equal(beyond.status, 416)
  t.equal(beyond.headers.get('content-range'), `bytes */${content.length}`)
  t.equal((await fetch(`${url}/stream/proxy/${infohash}`, { headers: { Range: 'bytes=9-1' } })).status, 200)
})

t.test('HEAD says what GET would and sends nothing; OPTIONS answers a preflight', async (t) => {
  const { url, directory } = await startApp(t)
  await place(directory, `${infohash}.mp4`)
  const head = await fetch(`${url}/stream/proxy/${infohash}`, { method: 'HEAD', headers: { Range: 'bytes=0-0' } })
  t.equal(head.status, 200)
  t.equal(head.headers.get('content-length'), '1500000')
  t.equal((await head.arrayBuffer()).byteLength, 0)
  const options = await fetch(`${url}/stream/proxy/${infohash}`, { method: 'OPTIONS', headers: { Origin: 'https://example.org', 'Access-Control-Request-Headers': 'range' } })
  t.equal(options.status, 204)
  t.match(options.headers.get('access-control-allow-headers'), /Range/)
})

t.test('a second look with the ETag is 304, with a wrong If-Match 412, with a stale If-Range the whole file', async (t) => {
  const { url, directory } = await startApp(t)
  await place(directory, `${infohash}.mp4`)
  const stream = `${url}/stream/proxy/${infohash}`
  const etag = (await fetch(stream, { method: 'HEAD' })).headers.get('etag') ?? ''
  t.equal((await fetch(stream, { headers: { 'If-None-Match': etag } })).status, 304)
  t.equal((await fetch(stream, { headers: { 'If-Match': '"other"' } })).status, 412)
  t.equal((await fetch(stream, { headers: { 'If-Range': '"other"', Range: 'bytes=0-9' } })).status, 200)
  t.equal((await fetch(stream, { headers: { 'If-Range': etag, Range: 'bytes=0-9' } })).status, 206)
})

t.test('several ranges come as multipart/byteranges', async (t) => {
  const { url, directory } = await startApp(t)
  await place(directory, `${infohash}.mp4`)
  const response = await fetch(`${url}/stream/proxy/${infohash}`, { headers: { Range: 'bytes=0-9,100000-100009' } })
  t.equal(response.status, 206)
  t.match(response.headers.get('content-type'), /^multipart\/byteranges; boundary=/)
  const body = Buffer.from(await response.arrayBuffer())
  t.equal(String(body.length), response.headers.get('content-length'))
  t.ok(body.includes(content.subarray(0, 10)) && body.includes(content.subarray(100_000, 100_010)))
})

t.test('download=true offers the file for saving, under its name in any script', async (t) => {
  const { url, directory } = await startApp(t)
  await place(directory, `${infohash}-סרט #1?.mp4`)
  const response = await fetch(`${url}/stream/proxy/${infohash}?download=true`, { method: 'HEAD' })
  t.match(response.headers.get('content-disposition'), /^attachment; filename=".*"; filename\*=UTF-8''.*%D7%A1%D7%A8%D7%98/)
})

t.test('what is no infohash gets the fixed 404 at once, and the truth in the reasons', async (t) => {
  const { url } = await startApp(t)
  for (const text of ['nonexistent123456789', 'x', `${infohash}0`, 'a'.repeat(500), '%00', '..%2f..%2fetc%2fpasswd']) {
    const { status, headers, body } = await jsonFrom(`${url}/stream/proxy/${text}`)
    t.equal(status, 404, text)
    t.match(body, {
      error: 'Stream not found',
      message: 'Unable to stream this content. P2P connectivity is unavailable and no cached version exists.',
      suggestion: 'This content requires P2P connectivity or needs to be downloaded first.',
      reasons: [{ source: 'request', code: 'INFOHASH_INVALID' }]
    })
    t.equal(headers.get('cache-control'), 'no-store')
    t.equal(headers.get('access-control-allow-origin'), '*')
    t.equal(headers.get('retry-after'), null)
  }
})

t.test('a fileIndex that is no number is a clear 400', async (t) => {
  const { url } = await startApp(t)
  const { status, body } = await jsonFrom(`${url}/stream/proxy/${infohash}?fileIndex=first`)
  t.equal(status, 400)
  t.match(body.message, /fileIndex must be a whole number from 0 on, got "first"/)
})

t.test('cache-only mode says so, and mock hashes still play', async (t) => {
  const { url } = await startApp(t, { CACHE_ONLY_MODE: 'true' })
  const { status, body } = await jsonFrom(`${url}/stream/proxy/${infohash}`)
  t.equal(status, 404)
  t.same(body, {
    error: 'Content not cached',
    message: 'This content is not available in cache. P2P streaming is disabled in cache-only mode.',
    suggestion: 'Enable P2P mode by setting CACHE_ONLY_MODE=false, or pre-download this content to cache.',
    mode: 'cache-only'
  })
  t.equal((await bytesFrom(`${url}/stream/proxy/${mockHash}`)).length, 2_097_152)
})

t.test('a test hash plays the mock, unless its file is in the cache; another index is no file of it', async (t) => {
  const { url, directory } = await startApp(t)
  const mock = await fetch(`${url}/stream/proxy/${mockHash}`)
  t.match(Object.fromEntries(mock.headers), { 'x-stream-source': 'mock', 'content-type': 'video/mp4', 'content-length': '2097152', 'cache-control': 'no-store' })
  t.equal((await mock.arrayBuffer()).byteLength, 2_097_152)
  const { status, body } = await jsonFrom(`${url}/stream/proxy/${mockHash}?fileIndex=3`)
  t.equal(status, 404)
  t.match(body.reasons, [{ source: 'mock', code: 'FILE_INDEX' }])
  await place(directory, `${mockHash}.mp4`)
  t.equal((await fetch(`${url}/stream/proxy/${mockHash}`, { method: 'HEAD' })).headers.get('x-stream-source'), 'cache')
})

t.test('a file that disappears in the middle leaves a broken connection, never a short body that looks whole', async (t) => {
  const { url, directory } = await startApp(t)
  const path = await place(directory, `${infohash}.mp4`, randomBytes(30_000_000))
  const port = Number(new URL(url).port)
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => { socket.destroy() })
  let received = 0
  const closed = new Promise<void>((resolve) => { socket.on('close', () => { resolve() }) })
  socket.on('error', () => {})
  socket.once('data', (chunk) => {
    received += chunk.length
    socket.pause()
    writeFile(path, '').then(() => {
      socket.on('data', (chunk) => { received += chunk.length })
      socket.resume()
    }, () => {})
  })
  socket.write(`GET /stream/proxy/${infohash} HTTP/1.1\r\nHost: x\r\n\r\n`)
  await closed
  t.ok(received < 30_000_000, `${received} bytes came`)
  await rm(path)
})

t.test('a player that leaves in the middle, as for each seek, is nothing to warn of', async (t) => {
  let log = ''
  const { app, url, directory } = await startApp(t, {}, { level: 'debug', stream: { write (line: string) { log += line } } })
  await writeFile(join(directory, `${infohash}.mp4`), Buffer.alloc(30_000_000, 1))
  for (const leave of ['destroy', 'resetAndDestroy'] as const) {
    const accepted = once(app.server, 'connection')
    const player = connect(Number(new URL(url).port), '127.0.0.1')
    player.on('error', () => {})
    player.write(`GET /stream/proxy/${infohash} HTTP/1.1\r\nHost: x\r\n\r\n`)
    const [served]: Socket[] = await accepted
    await once(player, 'data')
    player.pause()
    await until('the server has what it does not take', () => served?.writableNeedDrain)
    player[leave]()
  }
  await until('both have left', () => [...log.matchAll(/the client left|response cut/g)].length === 2)
  t.notMatch(log, /"level":[456]0/)
})
