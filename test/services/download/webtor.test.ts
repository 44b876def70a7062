import t from 'tap'
import { Webtor } from '../../../services/download/webtor.ts'
import { webtorMirrors } from '../../../services/download/webtor-mirror.ts'
import { parseMagnet } from '../../../services/torrent/magnet.ts'
import { MirrorFault } from '../../../services/download/mirror.ts'
import { startWebtor } from '../../webtor.ts'
import { makeTorrent, noise, openFetcher } from './origin.ts'
import type { ServerResponse } from 'node:http'
import type { Test } from 'tap'
import type { Fetcher } from '../../../services/download/fetcher.ts'
import type { Mirror, MirrorRequest } from '../../../services/download/mirror.ts'
import type { Metadata, TorrentFile } from '../../../services/torrent/metadata.ts'
import type { WebtorMirrorOptions } from '../../../services/download/webtor-mirror.ts'

const torrent = makeTorrent({ name: 'Show', content: [[['a.mkv'], noise(40_000, 'a')], [['b.mkv'], noise(40_000, 'b')], [['c.srt'], noise(10, 'c')]] })
const [first, second, third] = torrent.metadata.files
if (first === undefined || second === undefined || third === undefined) throw new Error('no files')
const never = new AbortController().signal

function mirrorOf (t: Test, url: string, { fetcher = openFetcher(t), token = null, apiKey = null, metadata = torrent.metadata, ...more }: Partial<WebtorMirrorOptions> & { fetcher?: Fetcher, token?: string | null, apiKey?: string | null, metadata?: Metadata } = {}): Mirror {
  const [mirror] = webtorMirrors({ webtor: new Webtor({ url, token, apiKey }, fetcher), metadata, trackers: [], closing: never, ...more })
  if (mirror === undefined) throw new Error('no mirror')
  return mirror
}

async function ask (mirror: Mirror, file: TorrentFile, signal = never): Promise<MirrorRequest> {
  return await mirror.request({ file, start: 0, end: file.lengthBytes - 1 }, signal)
}

async function verdictOf (asking: Promise<unknown>): Promise<unknown> {
  const error: unknown = await asking.catch((error: unknown) => error)
  return error instanceof MirrorFault ? error.verdict : error
}

function jwt (exp: number): string {
  return ['{"alg":"HS256"}', JSON.stringify({ exp }), 'signature'].map((part) => Buffer.from(part).toString('base64url')).join('.')
}

t.test('the magnet with its trackers is posted to /resource/, and each file is exported once, for any number of connections', async (t) => {
  const { url, requests, posted, counts } = await startWebtor(t, torrent)
  const mirror = mirrorOf(t, url, { trackers: ['udp://t.example:1', 'http://t.example/announce?a=b'] })
  await Promise.all([first, first, first, second, second].map(async (file) => await ask(mirror, file)))
  await ask(mirror, first)
  t.equal(counts.export, 2)
  t.equal(counts.add, 1)
  t.strictSame(requests.filter((request) => request.startsWith('POST')), ['POST /resource/'])
  t.match(parseMagnet(String(posted[0])), { infohash: torrent.metadata.infohash, name: 'Show', trackers: ['udp://t.example:1', 'http://t.example/announce?a=b'] })
  t.ok(requests.includes(`GET /resource/${torrent.metadata.infohash}/export/1`))
})

t.test('an older API, which knows no numbers, is asked for its list; files of one size are told apart by their path', async (t) => {
  const { url, requests } = await startWebtor(t, torrent, { variant: 'older' })
  const mirror = mirrorOf(t, `${url}/`)
  t.match((await ask(mirror, second)).url.pathname, /\/Show\/b\.mkv$/)
  t.match((await ask(mirror, third)).url.pathname, /\/Show\/c\.srt$/)
  t.ok(requests.some((request) => request.endsWith('/list')))
})

t.test('a list of more than a thousand items is read on', async (t) => {
  const many = makeTorrent({ name: 'Many', content: Array.from({ length: 1500 }, (_, i) => [[`${i}.txt`], noise(10, String(i))] as const) })
  const { url, counts } = await startWebtor(t, many, { variant: 'older' })
  const file = many.metadata.files[1400]
  if (file === undefined) throw new Error('no file')
  t.match((await ask(mirrorOf(t, url, { metadata: many.metadata }), file)).url.pathname, /\/Many\/1400\.txt$/)
  t.equal(counts.list, 2)
})

t.test('a file of another size is not the file', async (t) => {
  const { url } = await startWebtor(t, torrent)
  t.match(await verdictOf(ask(mirrorOf(t, url), { ...first, lengthBytes: 39_999 })), { kind: 'not-here', why: /no file "a\.mkv" of 39999 bytes/ })
})

t.test('a magnet that the API is still looking for does not keep us: it gets the .torrent', async (t) => {
  const { url, posted } = await startWebtor(t, torrent, { before: (asked, count) => asked === 'add' && count === 1 ? new Promise(() => {}) : undefined })
  t.ok((await ask(mirrorOf(t, url, { patienceMs: 20 }), first)).url)
  t.equal(String(posted[0]).slice(0, 7), 'magnet:')
  t.ok(posted[1]?.equals(torrent.metadata.torrent))
})

t.test('an API that takes no .torrent is waited for', async (t) => {
  const { promise: found, resolve } = Promise.withResolvers<void>()
  const { url } = await startWebtor(t, torrent, {
    async before (asked, count, response) {
      if (asked !== 'add') return
      if (count === 1) return await found
      response.writeHead(400).end('{"error":"failed to parse magnet"}')
      setTimeout(resolve, 20)
    }
  })
  t.ok((await ask(mirrorOf(t, url, { patienceMs: 20 }), first)).url)
})

t.test('who stops waiting is free at once, and finds the answer later; a torrent that is let go asks no more', async (t) => {
  const { promise: found, resolve } = Promise.withResolvers<void>()
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>()
  const { url, counts } = await startWebtor(t, torrent, { before: async (asked) => { if (asked === 'add') { arrive(); await found } } })
  const closing = new AbortController()
  const mirror = mirrorOf(t, url, { closing: closing.signal })
  const left = new AbortController()
  const asking = ask(mirror, first, left.signal)
  await arrived
  left.abort(new Error('left'))
  await t.rejects(asking, { message: 'left' })
  const again = ask(mirror, first)
  resolve()
  t.ok((await again).url)
  t.equal(counts.add, 1)
  closing.abort(new Error('let go'))
  await t.rejects(ask(mirror, second), { message: 'let go' })
})

t.test('the token and the key go along, and appear in no reason', async (t) => {
  const { url } = await startWebtor(t, torrent, { token: 'right', apiKey: 'key' })
  t.ok((await ask(mirrorOf(t, url, { token: 'right', apiKey: 'key' }), first)).url.searchParams.get('token'))
  const verdict = await verdictOf(ask(mirrorOf(t, url, { token: 'wrong-token', apiKey: 'key' }), first))
  t.match(verdict, { kind: 'not-here', why: /refuses us \(status 403, forbidden token=….*WEBTOR_TOKEN/ })
  t.notMatch(JSON.stringify(verdict), /wrong-token/)
})

t.test('an address that was refused is asked for anew, once for all who were refused', async (t) => {
  const { url, counts } = await startWebtor(t, torrent)
  const mirror = mirrorOf(t, url)
  const old = await ask(mirror, first)
  t.equal(mirror.renew?.(first, old.url), true)
  const fresh = await ask(mirror, first)
  t.not(fresh.url.href, old.url.href)
  t.equal(mirror.renew?.(first, old.url), true)
  t.equal((await ask(mirror, first)).url.href, fresh.url.href, 'the new one stays')
  t.equal(counts.export, 2)
})

t.test('an address is kept no longer than its token lasts', async (t) => {
  const inAnHour = jwt(Math.floor(Date.now() / 1000) + 3600)
  const over = jwt(Math.floor(Date.now() / 1000) - 10)
  for (const [token, exports] of [[inAnHour, 1], [over, 2]] as const) {
    const { url, counts } = await startWebtor(t, torrent, { token })
    let now = 0
    const mirror = mirrorOf(t, url, { token, now: () => now })
    await ask(mirror, first)
    now += 10_000
    await ask(mirror, first)
    t.equal(counts.export, exports)
    now += 3_600_000
    await ask(mirror, first)
    t.equal(counts.export, exports + 1, 'and an hour at most')
  }
})

t.test('an address on the host of the API is the operator\'s, one elsewhere is a stranger\'s; one without a host is of the API', async (t) => {
  for (const [domain, host, isTrusted] of [[undefined, '127.0.0.1', true], ['http://127.0.0.1:1', '127.0.0.1', true], ['', '127.0.0.1', true], ['http://10.0.0.1', '10.0.0.1', false]] as const) {
    const { url } = await startWebtor(t, torrent, domain === undefined ? {} : { domain })
    const request = await ask(mirrorOf(t, url), first)
    t.equal(request.url.hostname, host)
    t.equal(request.isTrusted, isTrusted)
  }
})

t.test('a private torrent is told to nobody', async (t) => {
  t.strictSame(webtorMirrors({ webtor: new Webtor({ url: 'http://webtor.example', token: null, apiKey: null }, openFetcher(t)), metadata: { ...torrent.metadata, isPrivate: true }, trackers: [], closing: never }), [])
})

t.test('while it is busy it is not asked', async (t) => {
  for (const status of [429, 503]) {
    const { url, requests } = await startWebtor(t, torrent, { before: (_asked, _count, response) => { response.writeHead(status, { 'retry-after': '9' }).end('slow down') } })
    const mirror = mirrorOf(t, url)
    t.match(await verdictOf(ask(mirror, first)), { kind: 'failed', retryAfterMs: 9000, why: new RegExp(`status ${status}`) })
    const verdict = await verdictOf(ask(mirror, second))
    t.match(verdict, { kind: 'failed', why: 'it is busy' })
    t.equal(requests.length, 1)
  }
})

t.test('whatever else it answers is a reason, and no crash', async (t) => {
  const table: Array<[what: string, answer: (response: ServerResponse) => void, expected: object]> = [
    ['a page', (response) => { response.writeHead(200, { 'content-type': 'text/html' }).end('<html>hello</html>') }, { kind: 'failed', why: /no JSON/ }],
    ['a page with 404', (response) => { response.writeHead(404).end('<html>') }, { kind: 'not-here', why: 'status 404' }],
    ['nothing found in time', (response) => { response.writeHead(408).end('{"error":"magnet timeout"}') }, { kind: 'failed', why: /no metadata in time/, retryAfterMs: 60_000 }],
    ['its store too slow', (response) => { response.writeHead(504).end('{"error":"deadline exceeded"}') }, { kind: 'failed', why: /no metadata in time/ }],
    ['an error', (response) => { response.writeHead(500).end('{"error":"rpc\\nfailed"}') }, { kind: 'failed', why: 'status 500, rpc failed' }],
    ['a redirect', (response) => { response.writeHead(301, { location: 'https://elsewhere.example/' }).end() }, { kind: 'not-here', why: /it redirects/ }],
    ['another torrent', (response) => { response.end(`{"id":"${'a'.repeat(40)}"}`) }, { kind: 'failed', why: /another torrent/ }],
    ['null', (response) => { response.end('null') }, { kind: 'failed', why: /names no resource/ }],
    ['a list', (response) => { response.end('[1]') }, { kind: 'failed', why: /names no resource/ }],
    ['far too much', (response) => { response.end(Buffer.alloc(5_000_000, ' ')) }, { kind: 'failed', why: /more than/ }],
    ['a reset', (response) => { response.destroy() }, { code: 'SOURCE_FAILED' }]
  ]
  for (const [what, answer, expected] of table) {
    await t.test(what, async (t) => {
      const { url } = await startWebtor(t, torrent, { before: (_asked, _count, response) => { answer(response) } })
      t.match(await verdictOf(ask(mirrorOf(t, url), first)), expected)
    })
  }
  for (const answer of ['{}', '{"exports":{}}', '{"exports":{"download":{}}}', '{"exports":{"download":{"url":""}}}', '{"exports":{"download":{"url":"ftp://x.example/"}}}', '{"exports":{"download":{"url":"http://["}}}']) {
    const { url } = await startWebtor(t, torrent, { before: (asked, _count, response) => { if (asked === 'export') response.end(answer) } })
    t.match(await verdictOf(ask(mirrorOf(t, url), first)), { kind: 'failed', why: 'it exports no address' }, answer)
  }
})

t.test('at RapidAPI the key goes into the headers of that market, and the token nowhere', async (t) => {
  const sent: unknown[] = []
  const fetcher = openFetcher(t)
  fetcher.post = async (_url, _body, { headers }) => {
    sent.push(headers)
    throw new Error('sent')
  }
  await t.rejects(ask(mirrorOf(t, 'https://webtor.p.rapidapi.com/', { fetcher, token: 'token', apiKey: 'key' }), first), { message: 'sent' })
  t.strictSame(sent, [{ 'x-rapidapi-host': 'webtor.p.rapidapi.com', 'x-rapidapi-key': 'key' }])
})
