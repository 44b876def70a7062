import t from 'tap'
import { once } from 'node:events'
import { cp, open as openFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { HttpDownloader } from '../../../services/download/http-downloader.ts'
import { MirrorScores } from '../../../services/download/mirror-scores.ts'
import { templateMirrors, webSeedMirrors } from '../../../services/download/mirrors.ts'
import { urgencies } from '../../../services/pieces/demand.ts'
import { PieceStore } from '../../../services/pieces/piece-store.ts'
import { silent } from '../../../services/log.ts'
import { closed, honest, makeTorrent, noise, openFetcher, serve } from './origin.ts'
import type { HttpDownloaderOptions } from '../../../services/download/http-downloader.ts'
import type { Urgency } from '../../../services/pieces/demand.ts'
import type { PieceIndex } from '../../../services/pieces/geometry.ts'
import type { RequestListener, ServerResponse } from 'node:http'
import type { Mirror } from '../../../services/download/mirror.ts'
import type { Test } from 'tap'
import type { TestTorrent } from './origin.ts'

/** 31 pieces, the last one short. */
const film = makeTorrent({ name: 'film.mp4', content: noise(500_000) })
const PIECE = 16_384

interface Download { readonly downloader: HttpDownloader, readonly store: PieceStore }

/** A store that wants every file, and a downloader of these mirrors, which are URLs (templates) of the operator. */
async function open (t: Test, torrent: TestTorrent, templates: readonly string[], options: Partial<HttpDownloaderOptions> = {}): Promise<Download> {
  const { metadata } = torrent
  const store = await PieceStore.open({ metadata, directory: t.testdir() })
  for (const { index, isPadding } of metadata.files) if (!isPadding) await store.want(index)
  const downloader = new HttpDownloader({
    metadata, store, fetcher: openFetcher(t), log: silent, mirrors: templateMirrors(templates, metadata), headersTimeoutMs: 300, idleTimeoutMs: 300, firstBackoffMs: 20, ...options
  })
  t.teardown(async () => {
    await downloader.close()
    await store.close()
  })
  return { downloader, store }
}

function wantAll ({ downloader, store }: Download, urgency: Urgency = urgencies.background): ReturnType<HttpDownloader['demand']['open']> {
  const want = downloader.demand.open()
  want.set([{ first: store.geometry.piece(0), last: store.geometry.piece(store.geometry.pieceCount - 1), urgency }])
  return want
}

/** Resolves when every piece is verified. */
async function whole (store: PieceStore): Promise<void> {
  while (store.verifiedCount < store.geometry.pieceCount) await once(store, 'verified')
}

async function checkBytes (t: Test, store: PieceStore, { metadata, files }: TestTorrent): Promise<void> {
  for (const { index, lengthBytes, isPadding, path } of metadata.files) {
    if (!isPadding && lengthBytes > 0) t.ok((await store.readFile(index, 0, lengthBytes)).equals(files[index] ?? Buffer.alloc(0)), path)
  }
}

/** The whole torrent arrives, byte for byte. */
async function checkDownload (t: Test, download: Download, torrent: TestTorrent): Promise<void> {
  wantAll(download)
  await whole(download.store)
  await checkBytes(t, download.store, torrent)
}

const filmFiles = new Map([['/film.mp4', film.content]])
const filmMirror = honest(filmFiles)
/** 206 with whatever headers and body. */
function partial (response: ServerResponse, contentRange: string, body: Buffer, headers: Record<string, string> = {}): void {
  response.writeHead(206, { 'content-range': contentRange, ...headers }).end(body)
}
function rangeOf (range: string | undefined): { start: number, end: number } {
  const [, start, end] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? []
  return { start: Number(start), end: Number(end) }
}

t.test('after a crash only what is missing or wrong on the disk is fetched', async (t) => {
  const { url, requests } = await serve(t, filmMirror)
  const directory = t.testdir({ killed: {} })
  const first = await PieceStore.open({ metadata: film.metadata, directory: join(directory, 'first') })
  await first.want(0)
  for (let i = 0; i < 20; i++) await first.write(first.geometry.piece(i), film.content.subarray(i * PIECE, (i + 1) * PIECE))
  await cp(first.directory, join(directory, 'killed'), { recursive: true })
  await first.close()
  const part = await openFile(join(directory, 'killed', '0.part'), 'r+')
  await part.write(Buffer.from('wrong'), 0, 5, 7 * PIECE)
  await part.close()

  const store = await PieceStore.open({ metadata: film.metadata, directory: join(directory, 'killed'), checkDelayMs: 200 })
  const downloader = new HttpDownloader({ metadata: film.metadata, store, fetcher: openFetcher(t), log: silent, mirrors: templateMirrors([`${url.href}{name}`], film.metadata) })
  t.teardown(async () => {
    await downloader.close()
    await store.close()
  })
  t.equal(store.verifiedCount, 0, 'nothing is believed')
  wantAll({ downloader, store })
  await whole(store)
  await checkBytes(t, store, film)
  const fetched = requests.map((request) => rangeOf(request.split(' ')[1])).sort((a, b) => a.start - b.start)
  t.equal(fetched[0]?.start, 7 * PIECE, 'the piece that was wrong')
  t.equal(fetched[0]?.end, 8 * PIECE - 1, 'and nothing of its neighbours')
  t.ok(fetched.slice(1).every(({ start }) => start >= 20 * PIECE), 'and what was never there')
})

t.test('a single file from one honest mirror, byte for byte', async (t) => {
  const { url, requests, sockets } = await serve(t, filmMirror)
  const download = await open(t, film, [`${url.href}{name}`])
  await checkDownload(t, download, film)
  t.equal(download.downloader.receivedBytes, film.content.length)
  t.equal(download.downloader.isHopeful, true)
  t.strictSame(requests, ['/film.mp4 bytes=0-499999'], 'one request for neighbouring pieces')
  t.ok(sockets.size <= 4)
})

t.test('a folder with odd names, an empty file, pieces across files, padding that is never fetched', async (t) => {
  const folder = makeTorrent({
    name: 'Root #1?',
    content: [
      [['100%', 'סרט+1.mkv'], noise(70_000, 'a')], [['.pad', '1'], Buffer.alloc(11_920)], [['empty.txt'], Buffer.alloc(0)], [['a b.srt'], noise(300, 'b')],
      [['x', 'y', 'z.nfo'], noise(5, 'c')], [['big.mkv'], noise(200_001, 'd')]
    ]
  })
  const path = (components: readonly string[]): string => `/pub/${['Root #1?', ...components].map((component) => encodeURIComponent(component)).join('/')}`
  const { url, requests } = await serve(t, honest(new Map(folder.metadata.files.map((file, i) => [path(file.components), folder.files[i] ?? Buffer.alloc(0)]))))
  const mirrors = webSeedMirrors(folder.metadata, [`${url.href}pub`])
  const download = await open(t, folder, [], { mirrors, fetcher: openFetcher(t, { allowPrivateNetworks: true }) })
  await checkDownload(t, download, folder)
  t.notOk(requests.some((request) => request.includes('.pad') || request.includes('empty')))
})

t.test('only what is wanted is fetched, and never what is there', async (t) => {
  const { url, requests } = await serve(t, filmMirror)
  const download = await open(t, film, [`${url.href}{name}`])
  const { geometry } = download.store
  const piece = (i: number): Buffer => film.content.subarray(i * PIECE, (i + 1) * PIECE)
  await download.store.write(geometry.piece(3), piece(3))
  download.downloader.demand.open().set([{ first: geometry.piece(2), last: geometry.piece(5), urgency: urgencies.readAhead }])
  while (download.store.verifiedCount < 4) await once(download.store, 'verified')
  t.strictSame(requests.toSorted(), [`/film.mp4 bytes=${2 * PIECE}-${3 * PIECE - 1}`, `/film.mp4 bytes=${4 * PIECE}-${6 * PIECE - 1}`])
  t.equal(download.downloader.receivedBytes, 3 * PIECE)
})

t.test('the piece that a reader waits for comes first', async (t) => {
  const { url, requests } = await serve(t, filmMirror)
  const download = await open(t, film, [`${url.href}{name}`], { maxConnections: 1 })
  const { geometry } = download.store
  const order: number[] = []
  download.store.on('verified', (piece) => { order.push(piece) })
  download.downloader.demand.open().set([{ first: geometry.piece(0), last: geometry.piece(30), urgency: urgencies.background }])
  download.downloader.demand.open().set([{ first: geometry.piece(20), last: geometry.piece(20), urgency: urgencies.waiting }])
  await whole(download.store)
  t.equal(order[0], 20)
  t.match(requests[0], `bytes=${20 * PIECE}-`)
  await checkBytes(t, download.store, film)
})

t.test('a reader that waits takes the connection from background work, whose pieces stay', async (t) => {
  const large = makeTorrent({ name: 'large.mp4', content: noise(6_000_000), pieceLength: 262_144 })
  const requested: number[] = []
  const { url } = await serve(t, (request, response) => {
    const { start, end } = rangeOf(request.headers.range)
    requested.push(start)
    const part = large.content.subarray(start, end + 1)
    response.writeHead(206, { 'content-length': part.length, 'content-range': `bytes ${start}-${end}/${large.content.length}` })
    // The background request gets two pieces and a half, then nothing more.
    if (requested.length === 1) response.write(part.subarray(0, 650_000))
    else response.end(part)
  })
  const download = await open(t, large, [`${url.href}{name}`], { maxConnections: 1, idleTimeoutMs: 60_000 })
  const { store, downloader } = download
  wantAll(download)
  while (store.verifiedCount < 2) await once(store, 'verified')
  downloader.demand.open().set([{ first: store.geometry.piece(15), last: store.geometry.piece(15), urgency: urgencies.waiting }])
  const [piece] = await once(store, 'verified')
  t.equal(piece, 15)
  await whole(store)
  await checkBytes(t, store, large)
  t.equal(requested.filter((start) => start < 2 * 262_144).length, 1, 'what the background had brought is not fetched again')
})

t.test('after a seek the piece that is waited for has the line to itself, then all goes on', async (t) => {
  const large = makeTorrent({ name: 'large.mp4', content: noise(8_000_000), pieceLength: 65_536 })
  const seek = { piece: 100, isAnswered: false }
  const { url, sockets, requests } = await serve(t, (request, response) => {
    const { start, end } = rangeOf(request.headers.range)
    const part = large.content.subarray(start, end + 1)
    response.writeHead(206, { 'content-length': part.length, 'content-range': `bytes ${start}-${end}/${large.content.length}` })
    if (start === seek.piece * 65_536) seek.isAnswered = true
    if (seek.isAnswered) response.end(part)
    else response.write(part.subarray(0, 100_000))
  })
  const download = await open(t, large, [`${url.href}{name}`], { idleTimeoutMs: 60_000 })
  const { store, downloader } = download
  const { geometry } = store
  const want = downloader.demand.open()
  // Three connections, each of which has brought a piece and a half.
  want.set([0, 30, 60].map((i) => ({ first: geometry.piece(i), last: geometry.piece(i + 9), urgency: urgencies.readAhead })))
  while (store.verifiedCount < 3) await once(store, 'verified')
  const before = [...sockets]
  t.equal(before.length, 3)
  downloader.demand.open().set([{ first: geometry.piece(seek.piece), last: geometry.piece(seek.piece), urgency: urgencies.waiting }])
  await store.waitFor(geometry.piece(seek.piece), AbortSignal.timeout(10_000))
  t.equal(requests.length, 4, 'nothing else was asked for before')
  await closed(before)
  while (store.verifiedCount < 31) await once(store, 'verified')
  t.equal(requests.length, 7)
})

t.test('a seek ends what nobody wants any more', async (t) => {
  const { url, sockets } = await serve(t, (request, response) => {
    const { start } = rangeOf(request.headers.range)
    if (start === 0) response.writeHead(206, { 'content-range': `bytes 0-${PIECE - 1}/500000`, 'content-length': PIECE }).flushHeaders()
    else filmMirror(request, response)
  })
  const download = await open(t, film, [`${url.href}{name}`], { idleTimeoutMs: 60_000 })
  const { geometry } = download.store
  const want = download.downloader.demand.open()
  want.set([{ first: geometry.piece(0), last: geometry.piece(0), urgency: urgencies.waiting }])
  while (sockets.size === 0) await new Promise((resolve) => { setImmediate(resolve) })
  const [first] = sockets
  want.set([{ first: geometry.piece(20), last: geometry.piece(20), urgency: urgencies.waiting }])
  await download.store.waitFor(geometry.piece(20), AbortSignal.timeout(10_000))
  if (first !== undefined) await closed([first])
  want.release()
  want.release()
})

/** Mirrors that lie or break, by what they do. Each gets the request's range. */
const liars: Record<string, (response: ServerResponse, range: { start: number, end: number }) => void> = {
  'wrong bytes': (response, { start, end }) => { partial(response, `bytes ${start}-${end}/500000`, Buffer.alloc(end - start + 1, 'x')) },
  'Content-Range from another start': (response, { start, end }) => { partial(response, `bytes ${start + 1}-${end}/500000`, film.content.subarray(start + 1, end + 1)) },
  'Content-Range with another total': (response, { start, end }) => { partial(response, `bytes ${start}-${end}/500001`, film.content.subarray(start, end + 1)) },
  'no Content-Range': (response, { start, end }) => { response.writeHead(206).end(film.content.subarray(start, end + 1)) },
  'nonsense for Content-Range': (response, { start, end }) => { partial(response, 'bytes */500000', film.content.subarray(start, end + 1)) },
  'a body that ends too soon': (response, { start, end }) => { partial(response, `bytes ${start}-${end}/500000`, film.content.subarray(start, start + 1000)) },
  'a body shorter than its Content-Length': (response, { start, end }) => {
    response.writeHead(206, { 'content-range': `bytes ${start}-${end}/500000`, 'content-length': end - start + 1 }).write(film.content.subarray(start, start + 1000), () => { response.destroy() })
  },
  'nothing at all': () => {},
  'headers, then nothing': (response, { start, end }) => { response.writeHead(206, { 'content-range': `bytes ${start}-${end}/500000` }).flushHeaders() },
  'half a piece, then nothing': (response, { start, end }) => { response.writeHead(206, { 'content-range': `bytes ${start}-${end}/500000` }).write(film.content.subarray(start, start + PIECE / 2)) },
  'a drip': (response, { start, end }) => {
    response.writeHead(206, { 'content-range': `bytes ${start}-${end}/500000` })
    let sent = 0
    const timer = setInterval(() => { response.write(film.content.subarray(start + sent, start + ++sent)) }, 20)
    response.on('close', () => { clearInterval(timer) })
  },
  'a reset': (response) => { response.socket?.resetAndDestroy() },
  'a reset in the middle': (response, { start, end }) => {
    response.writeHead(206, { 'content-range': `bytes ${start}-${end}/500000` }).write(film.content.subarray(start, start + 1000), () => { response.socket?.resetAndDestroy() })
  },
  'an HTML page': (response) => { response.writeHead(200, { 'content-type': 'text/html', 'content-length': 15 }).end('<!doctype html>') },
  'an HTML page of no length': (response) => {
    response.writeHead(200, { 'content-type': 'text/html' })
    response.write('<!doctype html>')
    response.end()
  },
  gzip: (response, { start, end }) => { partial(response, `bytes ${start}-${end}/500000`, film.content.subarray(start, end + 1), { 'content-encoding': 'gzip' }) },
  'a redirect to this machine': (response) => { response.writeHead(302, { location: '/secret' }).end() },
  'a redirect loop': (response) => { response.writeHead(302, { location: '/film.mp4' }).end() },
  'status 404': (response) => { response.writeHead(404).end() },
  'status 410': (response) => { response.writeHead(410).end() },
  'status 416': (response) => { response.writeHead(416, { 'content-range': 'bytes */1000' }).end() },
  'status 500': (response) => { response.writeHead(500).end() },
  'status 204': (response) => { response.writeHead(204).end() },
  'HTTP that is none': (response) => { response.socket?.end('nonsense\r\n\r\n') }
}
/** These are believed until the bytes are hashed, or asked again in vain; all others are out or backed off at once. */
const onceIsEnough = ['wrong bytes', 'an HTML page', 'gzip', 'a redirect to this machine', 'status 404', 'status 410', 'status 416', 'Content-Range with another total']

t.test('beside one honest mirror no other can do harm', async (t) => {
  for (const [name, lie] of Object.entries(liars)) {
    await t.test(name, async (t) => {
      const liar = await serve(t, (request, response) => { lie(response, rangeOf(request.headers.range)) })
      const good = await serve(t, filmMirror)
      const download = await open(t, film, [`${liar.url.href}{name}`, `${good.url.href}{name}`], { maxConnections: 2 })
      const written: PieceIndex[] = []
      download.store.on('verified', (piece) => { written.push(piece) })
      await checkDownload(t, download, film)
      t.ok(liar.requests.length > 0, 'the liar was asked')
      t.ok(liar.requests.every((request) => request.startsWith('/film.mp4')), 'and no redirect of it was followed')
      if (onceIsEnough.includes(name)) t.equal(liar.requests.length, 1)
      t.equal(download.downloader.isHopeful, true)
    })
  }
})

t.test('alone, each of them ends in a reason that names it', async (t) => {
  for (const [name, lie] of Object.entries(liars)) {
    await t.test(name, async (t) => {
      const { url, requests, sockets } = await serve(t, (request, response) => { lie(response, rangeOf(request.headers.range)) })
      const { downloader, store } = await open(t, film, [`${url.href}{name}`], { maxConnections: 2, headersTimeoutMs: 150, idleTimeoutMs: 150 })
      const failed = once(downloader, 'failed')
      wantAll({ downloader, store })
      const [error] = await failed
      t.match(error, { code: 'HTTP_MIRRORS_FAILED', isTemporary: true, message: url.host })
      t.equal(downloader.isHopeful, false)
      t.equal(downloader.failure, error)
      t.equal(downloader.state, downloader.failure?.message)
      t.equal(store.verifiedCount, 0)
      if (onceIsEnough.includes(name)) t.equal(requests.length, 1)
      await downloader.close()
      await Promise.all([...sockets].filter(({ destroyed }) => destroyed).map(async (socket) => { await closed([socket]) }))
    })
  }
})

t.test('a mirror that lies once in fifty pieces is quarantined, and what was right of it stays', async (t) => {
  const wrong = Buffer.from(film.content)
  wrong.fill('x', 17 * PIECE, 17 * PIECE + 1)
  const liar = await serve(t, honest(new Map([['/film.mp4', wrong]])))
  const lines: string[] = []
  const log = { ...silent, warn: (_fields: object, message: string) => { lines.push(message) } }
  const { downloader, store } = await open(t, film, [`${liar.url.href}{name}`], { maxConnections: 1, log })
  const failed = once(downloader, 'failed')
  wantAll({ downloader, store })
  const [error] = await failed
  t.match(error, { message: /wrong bytes for piece 17/ })
  t.equal(store.verifiedCount, 17)
  t.equal(store.has(store.geometry.piece(17)), false)
  t.match(lines.join('\n'), /wrong bytes/)
  t.equal(liar.requests.length, 1)
})

t.test('a body that goes on beyond what was asked is cut', async (t) => {
  const { url } = await serve(t, (request, response) => {
    const { start, end } = rangeOf(request.headers.range)
    partial(response, `bytes ${start}-${end}/500000`, Buffer.concat([film.content.subarray(start, end + 1), Buffer.alloc(3_000_000, 'x')]))
  })
  await checkDownload(t, await open(t, film, [`${url.href}{name}`]), film)
})

t.test('a mirror that sends less at a time than it is asked for is asked for the rest', async (t) => {
  const { url, requests } = await serve(t, (request, response) => {
    const { start, end } = rangeOf(request.headers.range)
    const part = film.content.subarray(start, Math.min(end + 1, start + 100_000))
    partial(response, `bytes ${start}-${start + part.length - 1}/500000`, part, { 'content-length': String(part.length) })
  })
  await checkDownload(t, await open(t, film, [`${url.href}{name}`]), film)
  t.equal(requests.length, 5)
})

t.test('a mirror that ignores Range is read from its start to its end', async (t) => {
  const { url, requests } = await serve(t, (_request, response) => { response.writeHead(200, { 'content-length': film.content.length }).end(film.content) })
  const download = await open(t, film, [`${url.href}{name}`])
  const { downloader, store } = download
  await store.write(store.geometry.piece(9), film.content.subarray(9 * PIECE, 10 * PIECE))
  downloader.demand.open().set([{ first: store.geometry.piece(5), last: store.geometry.piece(30), urgency: urgencies.readAhead }])
  while (store.verifiedCount < 26) await once(store, 'verified')
  t.ok(requests.length <= 3)
  await checkDownload(t, download, film)
})

t.test('a mirror that ignores Range is read up to where a reader waits, and what flows by is kept', async (t) => {
  const large = makeTorrent({ name: 'large.mp4', content: noise(3_000_000) })
  const { url, requests } = await serve(t, (_request, response) => { response.writeHead(200, { 'content-length': large.content.length }).end(large.content) })
  const download = await open(t, large, [`${url.href}{name}`])
  const { downloader, store } = download
  const { geometry } = store
  downloader.demand.open().set([
    { first: geometry.piece(150), last: geometry.piece(150), urgency: urgencies.waiting }, { first: geometry.piece(100), last: geometry.piece(149), urgency: urgencies.background }
  ])
  await store.waitFor(geometry.piece(150), AbortSignal.timeout(10_000))
  t.equal(store.verifiedCount, 51, 'what is wanted of that, that is')
  t.equal(requests.length, 2, 'one request to learn that it ignores ranges, one for the file')
  await checkDownload(t, download, large)
  t.equal(downloader.failure, null)
})

t.test('503 with Retry-After is honoured, and the download goes on afterwards', async (t) => {
  const times: number[] = []
  const { url } = await serve(t, (request, response) => {
    times.push(performance.now())
    if (times.length === 1) response.writeHead(503, { 'retry-after': '1' }).end()
    else filmMirror(request, response)
  })
  await checkDownload(t, await open(t, film, [`${url.href}{name}`]), film)
  t.ok((times[1] ?? 0) - (times[0] ?? 0) >= 990, `asked again after ${(times[1] ?? 0) - (times[0] ?? 0)} ms`)
})

t.test('a redirect is followed, each time anew', async (t) => {
  const { url, requests } = await serve(t, (request, response) => {
    if (request.url === '/film.mp4') filmMirror(request, response)
    else response.writeHead(302, { location: '/film.mp4' }).end()
  })
  const fetcher = openFetcher(t, { allowPrivateNetworks: true })
  await checkDownload(t, await open(t, film, [`${url.href}get/{hash}`], { fetcher }), film)
  t.match(requests[1], /^\/film\.mp4 bytes=0-/)
})

t.test('a web seed on this machine is not asked', async (t) => {
  const { url, requests } = await serve(t, filmMirror)
  const { downloader, store } = await open(t, film, [], { mirrors: webSeedMirrors(film.metadata, [`${url.href}film.mp4`]) })
  const failed = once(downloader, 'failed')
  wantAll({ downloader, store })
  t.match((await failed)[0], { code: 'HTTP_MIRRORS_FAILED', message: /not a public address/ })
  t.strictSame(requests, [])
})

t.test('a mirror that lacks one file of the torrent serves the others', async (t) => {
  const season = makeTorrent({ name: 'Season', content: [[['1.mkv'], noise(100_000, '1')], [['2.mkv'], noise(100_000, '2')]] })
  const some = await serve(t, honest(new Map([['/2.mkv', season.files[1] ?? Buffer.alloc(0)]])))
  const { downloader, store } = await open(t, season, [`${some.url.href}{path}`])
  const failed = once(downloader, 'failed')
  wantAll({ downloader, store })
  t.match((await failed)[0], { message: /status 404/ })
  t.equal(store.contiguousBytesFrom(1, 2 * PIECE, Infinity), 100_000 - 2 * PIECE)
  t.ok(some.requests.filter((request) => request.startsWith('/1.mkv')).length <= 4)
})

t.test('what failed may work later: the failure is taken back', async (t) => {
  let isBroken = true
  const { url } = await serve(t, (request, response) => {
    if (isBroken) response.writeHead(500).end()
    else filmMirror(request, response)
  })
  const download = await open(t, film, [`${url.href}{name}`])
  const failed = once(download.downloader, 'failed')
  wantAll(download)
  await failed
  isBroken = false
  await whole(download.store)
  await checkBytes(t, download.store, film)
  t.equal(download.downloader.failure, null)
})

t.test('a torrent without a mirror says so at once', async (t) => {
  await t.rejects(open(t, film, []), { code: 'HTTP_NO_MIRROR' })
})

t.test('a store that fails is no fault of the mirror', async (t) => {
  const { url } = await serve(t, filmMirror)
  const { downloader, store } = await open(t, film, [`${url.href}{name}`])
  const broken = new Error('no space left on device')
  store.write = async () => { throw broken }
  wantAll({ downloader, store })
  const [error] = await once(downloader, 'failed')
  t.match(error, { code: 'STORE_FAILED', message: /no space/ })
})

t.test('a store that declines right bytes does not make their mirror a liar', async (t) => {
  const { url } = await serve(t, filmMirror)
  const download = await open(t, film, [`${url.href}{name}`])
  const { store } = download
  const write = store.write.bind(store)
  let isDeclined = false
  store.write = async (piece, bytes) => {
    if (isDeclined || piece !== 7) return await write(piece, bytes)
    isDeclined = true
    store.emit('dropped', piece)
    return false
  }
  await checkDownload(t, download, film)
  t.equal(isDeclined, true)
})

t.test('close() ends everything: no socket, no listener, no piece afterwards', async (t) => {
  const { url, sockets } = await serve(t, (request, response) => {
    const { start, end } = rangeOf(request.headers.range)
    response.writeHead(206, { 'content-range': `bytes ${start}-${end}/500000` }).write(film.content.subarray(start, start + PIECE + 100))
  })
  const { downloader, store } = await open(t, film, [`${url.href}{name}`], { idleTimeoutMs: 60_000 })
  const listeners = (): number => store.listenerCount('verified') + store.listenerCount('dropped') + store.listenerCount('finished')
  const before = listeners()
  wantAll({ downloader, store })
  await once(store, 'verified')
  await downloader.close()
  await downloader.close()
  await closed(sockets)
  t.equal(listeners(), before - 3)
  t.equal(downloader.demand.listenerCount('change'), 0)
  const count = store.verifiedCount
  wantAll({ downloader, store })
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(store.verifiedCount, count)
})

t.test('between two requests of a player the download goes on; when nobody comes it stops', async (t) => {
  const { url, sockets } = await serve(t, (request, response) => {
    const { start, end } = rangeOf(request.headers.range)
    response.writeHead(206, { 'content-range': `bytes ${start}-${end}/500000` }).write(film.content.subarray(start, start + PIECE + 100))
  })
  const download = await open(t, film, [`${url.href}{name}`], { idleTimeoutMs: 60_000, maxConnections: 1, lingerMs: 1500 })
  const want = wantAll(download)
  await once(download.store, 'verified')
  const [socket] = sockets
  want.release()
  const again = wantAll(download)
  await new Promise((resolve) => { setImmediate(() => { setImmediate(resolve) }) })
  t.equal(socket?.destroyed, false)
  again.release()
  await closed(sockets)
})

t.test('the log has the lines that people look for, without secrets', async (t) => {
  const { url } = await serve(t, filmMirror)
  const lines: string[] = []
  const write = (_fields: object, message: string): void => { lines.push(message) }
  const download = await open(t, film, [`http://me:s3cret@${url.host}/{name}`], { log: { debug: write, info: write, warn: write, error: write } })
  wantAll(download)
  await once(download.store, 'finished')
  t.strictSame(lines, [
    `[Hybrid] Downloading from ${url.host}...`, `[Hybrid] URL: ${url.href}film.mp4`, '[Hybrid] Size: 488 KB', '[Hybrid] Download complete: 488 KB'
  ])
  t.match(download.downloader.progress, { verifiedBytes: 500_000, totalBytes: 500_000 })
  t.match(download.downloader.state, /mirror/)
})

const MiB = 1024 * 1024
/** Pieces that are worth being fetched in parts. */
const grand = makeTorrent({ name: 'grand.mp4', content: noise(12 * MiB), pieceLength: 4 * MiB })
const grandMirror = honest(new Map([['/grand.mp4', grand.content]]))

function waitFor ({ downloader, store }: Download, piece: number): Promise<void> {
  downloader.demand.open().set([{ first: store.geometry.piece(piece), last: store.geometry.piece(piece), urgency: urgencies.waiting }])
  return store.waitFor(store.geometry.piece(piece), AbortSignal.timeout(20_000))
}

/** Sends what the honest mirror does, at so many bytes a second for all its connections together. */
function limited (bytes: Buffer, bytesPerSecond: number): RequestListener {
  let freeAt = 0
  return (request, response) => {
    const { start, end } = rangeOf(request.headers.range)
    response.writeHead(206, { 'content-length': end - start + 1, 'content-range': `bytes ${start}-${end}/${bytes.length}` })
    let position = start
    const send = (): void => {
      if (response.destroyed) return
      const part = bytes.subarray(position, Math.min(end + 1, position + 32_768))
      position += part.length
      freeAt = Math.max(freeAt, performance.now()) + part.length / bytesPerSecond * 1000
      setTimeout(() => {
        if (position > end) response.end(part)
        else response.write(part, send)
      }, freeAt - performance.now())
    }
    send()
  }
}

t.test('a piece that a reader waits for comes in parts over several connections and mirrors', async (t) => {
  const [one, other] = [await serve(t, grandMirror), await serve(t, grandMirror)]
  const download = await open(t, grand, [`${one.url.href}{name}`, `${other.url.href}{name}`])
  await waitFor(download, 0)
  while (download.downloader.progress.mirrors.length > 0) await nextTurn()
  one.requests.length = other.requests.length = 0
  await waitFor(download, 2)
  t.ok((await download.store.readFile(0, 8 * MiB, 4 * MiB)).equals(grand.content.subarray(8 * MiB)))
  t.equal(one.requests.length + other.requests.length, 4)
  t.ok(one.requests.length > 0 && other.requests.length > 0)
  t.equal(download.downloader.receivedBytes, 8 * MiB, 'no byte twice')
})

t.test('after a seek a mirror with a limit for all its connections brings the piece in the time of that piece', async (t) => {
  const bytesPerSecond = 4 * MiB
  const { url } = await serve(t, limited(grand.content, bytesPerSecond))
  const download = await open(t, grand, [`${url.href}{name}`], { headersTimeoutMs: 10_000, idleTimeoutMs: 10_000 })
  await waitFor(download, 0)
  const { downloader, store: { geometry } } = download
  downloader.demand.open().set([{ first: geometry.piece(1), last: geometry.piece(1), urgency: urgencies.readAhead }])
  while (downloader.receivedBytes < 5 * MiB) await nextTurn()
  const before = downloader.receivedBytes
  await waitFor(download, 2)
  // In time, that is: what else was under way has taken nothing of the mirror's pace.
  const others = downloader.receivedBytes - before - 4 * MiB
  t.ok(others < MiB, `${others} bytes of the piece that nobody waits for came meanwhile, of ${3 * MiB} that were missing`)
})

t.test('a mirror that hangs in the middle of a piece loses it within about a second to another', async (t) => {
  const hanging = await serve(t, (request, response) => {
    const { start, end } = rangeOf(request.headers.range)
    response.writeHead(206, { 'content-range': `bytes ${start}-${end}/${grand.content.length}` }).write(grand.content.subarray(start, start + 100_000))
  })
  const good = await serve(t, grandMirror)
  const download = await open(t, grand, [`${hanging.url.href}{name}`, `${good.url.href}{name}`], { headersTimeoutMs: 20_000, idleTimeoutMs: 20_000 })
  const since = performance.now()
  await waitFor(download, 1)
  const elapsedMs = performance.now() - since
  t.ok(hanging.requests.length > 0)
  t.ok(elapsedMs > 900 && elapsedMs < 2500, `${Math.round(elapsedMs)} ms`)
  t.ok((await download.store.readFile(0, 4 * MiB, 4 * MiB)).equals(grand.content.subarray(4 * MiB, 8 * MiB)))
})

t.test('a mirror that takes minutes to find out where the bytes are holds up nobody', async (t) => {
  const good = await serve(t, grandMirror)
  const [plain] = templateMirrors([`${good.url.href}{name}`], grand.metadata)
  if (plain === undefined) return t.fail('no mirror')
  let asked = 0
  const slow: Mirror = {
    name: 'slow.example',
    mayHave: () => true,
    async request (_stretch, signal) {
      asked++
      return await new Promise((_resolve, reject) => { signal.addEventListener('abort', () => { reject(signal.reason) }, { once: true }) })
    }
  }
  const download = await open(t, grand, [], { mirrors: [slow, plain] })
  const since = performance.now()
  await waitFor(download, 1)
  t.ok(performance.now() - since < 2500)
  await checkDownload(t, download, grand)
  t.ok(asked > 0 && asked < 10, `asked ${asked} times`)
})

t.test('of several mirrors that brought a wrong piece together the one that lied is found out, and only that', async (t) => {
  const bad = Buffer.from(grand.content)
  for (let i = 0; i < bad.length; i += 100_000) bad.fill('x', i, i + 10)
  const liar = await serve(t, honest(new Map([['/grand.mp4', bad]])))
  const good = [await serve(t, grandMirror), await serve(t, grandMirror)]
  const lines: string[] = []
  const log = { ...silent, warn: (fields: object, message: string) => { lines.push(`${message} ${JSON.stringify(fields)}`) } }
  const scores = new MirrorScores()
  const download = await open(t, grand, [...good, liar].map(({ url }) => `${url.href}{name}`), { log, scores })
  // None of them has to prove itself any more.
  for (const { url } of [...good, liar]) scores.of(url.host).hasAnsweredRange = true
  await waitFor(download, 1)
  await checkDownload(t, download, grand)
  t.match(lines.join('\n'), /several mirrors is wrong/)
  const { lies, badBytes } = scores.of(liar.url.host)
  // More than one, where pieces were under way together; of each only its own part counts.
  t.ok(lies > 0, `${lies} lies`)
  t.ok(badBytes > 0 && badBytes < lies * 4 * MiB, `${badBytes} bad bytes`)
  for (const { url } of good) t.equal(scores.of(url.host).lies, 0)
})

t.test('a liar is tried again after its quarantine, with one piece, and is back when that is right', async (t) => {
  let isLying = true
  const { url, requests } = await serve(t, (request, response) => {
    if (!isLying) return filmMirror(request, response)
    const { start, end } = rangeOf(request.headers.range)
    partial(response, `bytes ${start}-${end}/500000`, Buffer.alloc(end - start + 1, 'x'))
  })
  const download = await open(t, film, [`${url.href}{name}`], { firstQuarantineMs: 300 })
  const failed = once(download.downloader, 'failed')
  wantAll(download)
  await failed
  isLying = false
  await whole(download.store)
  await checkBytes(t, download.store, film)
  t.equal(requests[1], `/film.mp4 bytes=0-${PIECE - 1}`)
  t.equal(download.downloader.failure, null)
})
