import t from 'tap'
import { gzipSync } from 'node:zlib'
import { MetadataResolver } from '../../../services/download/metadata-resolver.ts'
import { silent } from '../../../services/log.ts'
import { closed, makeTorrent, noise, openFetcher, serve } from './origin.ts'
import type { RequestListener } from 'node:http'
import type { Test } from 'tap'
import type { MetadataResolverOptions } from '../../../services/download/metadata-resolver.ts'
import type { Metadata } from '../../../services/torrent/metadata.ts'

const { metadata } = makeTorrent({ name: 'film.mp4', content: noise(100_000) })
const other = makeTorrent({ name: 'placeholder.mp4', content: noise(100_000, 'other') }).metadata
const { infohash, torrent } = metadata
const never = new AbortController().signal

/** What each path of the cache answers. */
const cache: Record<string, RequestListener> = {
  '/good': (_request, response) => { response.end(torrent) },
  '/gzip': (_request, response) => { response.end(gzipSync(torrent)) },
  '/missing': (_request, response) => { response.writeHead(404).end(torrent) },
  '/html': (_request, response) => { response.setHeader('content-type', 'application/x-bittorrent').end('<!doctype html><title>Just a moment</title>') },
  '/placeholder': (_request, response) => { response.end(other.torrent) },
  '/half': (_request, response) => { response.end(torrent.subarray(0, torrent.length / 2)) },
  '/empty': (_request, response) => { response.end() },
  '/large': (_request, response) => { response.writeHead(200, { 'content-length': 20_000_000 }).write('d') },
  '/endless': (_request, response) => {
    const write = (): void => { while (response.write(Buffer.alloc(100_000, 'd'))); }
    response.on('drain', write)
    write()
  },
  '/bomb': (_request, response) => { response.end(gzipSync(Buffer.alloc(50_000_000, 'd'))) },
  '/broken-gzip': (_request, response) => { response.end(gzipSync(torrent).subarray(0, 100)) },
  '/hang': () => {},
  '/hang-inside': (_request, response) => { response.write(torrent.subarray(0, 10)) },
  '/reset': (request) => { request.socket.resetAndDestroy() },
  '/redirect': (_request, response) => { response.writeHead(302, { location: '/good' }).end() },
  '/loop': (_request, response) => { response.writeHead(302, { location: '/loop' }).end() }
}
const listener: RequestListener = (request, response) => { cache[request.url ?? '']?.(request, response) }

type Choices = Partial<MetadataResolverOptions> & { readonly exactSources?: readonly string[], readonly signal?: AbortSignal }

/** One lookup by a resolver of its own. */
async function lookup (t: Test, { exactSources = [], signal = never, fetcher = openFetcher(t), ...options }: Choices): Promise<Metadata> {
  const resolver = new MetadataResolver({ templates: [], fetcher, log: silent, ...options })
  return await resolver.resolve({ infohash, exactSources }, signal)
}

t.test('finds the torrent by its infohash in either case', async (t) => {
  const { url, requests } = await serve(t, (_request, response) => { response.end(torrent) })
  const fetcher = openFetcher(t)
  for (const place of ['{hash}', '{HASH}']) {
    const found = await lookup(t, { templates: [`${url.href}${place}.torrent`], fetcher })
    t.equal(found.infohash, infohash)
    t.strictSame(found.torrent, torrent)
  }
  t.strictSame(requests, [`/${infohash}.torrent`, `/${infohash.toUpperCase()}.torrent`])
})

t.test('unpacks gzip that nobody asked for', async (t) => {
  const { url } = await serve(t, listener)
  const found = await lookup(t, { templates: [`${url.href}gzip`] })
  t.strictSame(found.torrent, torrent)
})

t.test('one good cache among all the bad ones is enough', async (t) => {
  const { url, requests } = await serve(t, listener)
  const paths = Object.keys(cache).filter((path) => path !== '/good' && path !== '/gzip' && path !== '/redirect')
  const found = await lookup(t, { templates: [...paths, '/good'].map((path) => new URL(path, url).href) })
  t.strictSame(found.torrent, torrent)
  t.ok(requests.includes('/good'))
})

t.test('a cache that hangs delays nobody, and is let go', async (t) => {
  const asked = Promise.withResolvers<void>()
  const hanging = await serve(t, (request, response) => {
    listener(request, response)
    if (hanging.requests.length === 2) asked.resolve()
  })
  const { url } = await serve(t, (_request, response) => { void asked.promise.then(() => response.end(torrent)) })
  const templates = [`${hanging.url.href}hang`, `${hanging.url.href}hang-inside`, `${url.href}good`]
  const found = await lookup(t, { templates, timeoutMs: 60_000 })
  t.equal(found.infohash, infohash)
  await closed(hanging.sockets)
})

t.test('says what each cache answered when none has it', async (t) => {
  const { url } = await serve(t, listener)
  const fetcher = openFetcher(t)
  const table: Array<[path: string, outcome: RegExp]> = [
    ['/missing', /status 404/],
    ['/html', /not a torrent/],
    ['/placeholder', /.+/],
    ['/half', /.+/],
    ['/empty', /not a torrent/],
    ['/large', /larger than 10485760 bytes/],
    ['/endless', /larger than 10485760 bytes/],
    ['/bomb', /oversized gzip/],
    ['/broken-gzip', /gzip/],
    ['/hang', /no answer within 200 ms/],
    ['/hang-inside', /no answer within 200 ms/],
    ['/reset', /.+/],
    ['/redirect', /not a public address/],
    ['/loop', /not a public address/]
  ]
  for (const [path, outcome] of table) {
    const timeoutMs = path.startsWith('/hang') ? 200 : 30_000
    const error = await lookup(t, { templates: [new URL(path, url).href], fetcher, timeoutMs }).catch((error: unknown) => error)
    t.match(error, { code: 'METADATA_NOT_FOUND', isTemporary: true, message: outcome }, path)
    t.match(error, { message: url.host })
  }
})

t.test('secrets of a template are in no message and no log line', async (t) => {
  const { url } = await serve(t, (_request, response) => { response.writeHead(403).end() })
  const lines: string[] = []
  const write = (fields: object, message: string): void => { lines.push(JSON.stringify(fields) + message) }
  const error = await lookup(t, {
    templates: [`http://me:s3cret@${url.host}/t/s3cret/{hash}?token=s3cret`], log: { debug: write, info: write, warn: write, error: write }
  }).catch((error: unknown) => error)
  t.match(error, { code: 'METADATA_NOT_FOUND', message: new RegExp(`${url.host}: status 403`) })
  t.notMatch(String(error), /s3cret/)
  t.ok(lines.length > 0)
  t.notMatch(lines.join(), /s3cret/)
})

t.test('a source that a magnet names is asked too, but not on this machine', async (t) => {
  const { url, requests } = await serve(t, listener)
  await t.rejects(lookup(t, { templates: [], exactSources: [`${url.href}good`] }), { code: 'METADATA_NOT_FOUND', message: /not a public address/ })
  t.strictSame(requests, [])
  const fetcher = openFetcher(t, { allowPrivateNetworks: true })
  const found = await lookup(t, { templates: [], exactSources: ['nonsense', `${url.href}good`], fetcher })
  t.equal(found.infohash, infohash)
})

t.test('says so when no cache is configured', async (t) => {
  await t.rejects(lookup(t, { templates: [] }), { code: 'METADATA_NOT_FOUND', message: /TORRENT_METADATA_URLS/ })
})

t.test('ends at once when nobody waits any more, and leaves no socket', async (t) => {
  const stop = new AbortController()
  const { url, sockets } = await serve(t, () => { stop.abort(new Error('gone')) })
  await t.rejects(lookup(t, { templates: [`${url.href}a`, `${url.href}b`], signal: stop.signal }), { message: 'gone' })
  await closed(sockets)
  await t.rejects(lookup(t, { templates: [url.href], signal: stop.signal }), { message: 'gone' })
})

t.test('asks the Internet Archive which item has the torrent, and gets it from there', async (t) => {
  const { url, requests } = await serve(t, (request, response) => {
    if (request.url?.startsWith('/advancedsearch.php') === true) {
      response.setHeader('content-type', 'application/json').end(JSON.stringify({
        responseHeader: { status: 0 },
        response: { numFound: 4, start: 0, docs: [{ identifier: 'older-copy' }, { identifier: '../../etc/passwd' }, { identifier: 5 }, { title: 'no identifier' }, { identifier: 'The_Film-1968.hd' }] }
      }))
    } else if (request.url === '/download/The_Film-1968.hd/The_Film-1968.hd_archive.torrent') response.end(torrent)
    else response.writeHead(404).end()
  })
  const template = `${url.href}advancedsearch.php?q=btih:{hash}&fl[]=identifier&rows=3&output=json`
  t.strictSame((await lookup(t, { templates: [template] })).torrent, torrent)
  t.strictSame(requests.sort(), [
    `/advancedsearch.php?q=btih:${infohash}&fl[]=identifier&rows=3&output=json`,
    '/download/The_Film-1968.hd/The_Film-1968.hd_archive.torrent', '/download/older-copy/older-copy_archive.torrent'
  ])
})

t.test('an archive without the torrent, or with an answer that is none, says so', async (t) => {
  const answers: Array<[answer: string, outcome: RegExp]> = [
    ['{"response":{"numFound":0,"start":0,"docs":[]}}', /no item has this torrent/],
    ['{"response":{"docs":[{"identifier":"gone"}]}}', /status 404/],
    ['<!doctype html>', /no JSON/],
    ['{"error":"[USER_ERROR] bad query"}', /no result of a search/],
    ['{"response":null}', /no result of a search/],
    ['[]', /no result of a search/],
    ['null', /no result of a search/],
    ['"response"', /no result of a search/],
    [`"${'x'.repeat(1_100_000)}"`, /larger than 1048576 bytes/]
  ]
  for (const [answer, message] of answers) {
    const { url } = await serve(t, (request, response) => {
      if (request.url?.startsWith('/advancedsearch.php') === true) response.end(answer)
      else response.writeHead(404).end()
    })
    await t.rejects(lookup(t, { templates: [`${url.href}advancedsearch.php?q=btih:{hash}`] }), { code: 'METADATA_NOT_FOUND', message }, answer.slice(0, 60))
  }
})

t.test('a WebTor is asked for what it keeps, with its token and key, which reach nobody else', async (t) => {
  const seen: string[] = []
  const { url, requests } = await serve(t, (request, response) => {
    seen.push(`${request.headers['x-token']} ${request.headers['x-api-key']}`)
    if (request.url?.startsWith('/api/') === true) response.end(torrent)
    else response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"not found"}')
  })
  const bystander = await serve(t, (request, response) => {
    seen.push(`${request.headers['x-token']} ${request.headers['x-api-key']}`)
    setTimeout(() => { response.end() }, 50)
  })
  const lines: string[] = []
  const write = (fields: object, message: string): void => { lines.push(JSON.stringify(fields) + message) }
  const log = { debug: write, info: write, warn: write, error: write }
  for (const base of [`${url.href}api`, `${url.href}api/`]) {
    const found = await lookup(t, { templates: [bystander.url.href], webtor: { url: base, token: 's3cret-token', apiKey: 's3cret-key' }, log })
    t.strictSame(found.torrent, torrent)
  }
  t.strictSame(requests, Array(2).fill(`/api/resource/${infohash}.torrent`))
  const error = await lookup(t, { webtor: { url: url.href, token: 's3cret-token', apiKey: null }, log }).catch((error: unknown) => error)
  t.match(error, { code: 'METADATA_NOT_FOUND', message: `no .torrent to be had (${url.host}: status 404)` })
  t.strictSame(new Set(seen), new Set(['s3cret-token s3cret-key', 'undefined undefined', 's3cret-token undefined']))
  t.notMatch(lines.join(), /s3cret/)
})

/** A cache whose answers can be changed, its resolver, and a clock that somebody turns. */
async function remembering (t: Test): Promise<{ ask: (hash?: string) => Promise<unknown>, say: (listener: RequestListener) => void, pass: (ms: number) => void, resolver: MetadataResolver, requests: string[], host: string }> {
  let now = 0
  let answer: RequestListener = (_request, response) => { response.writeHead(404).end() }
  const { url, requests } = await serve(t, (request, response) => { answer(request, response) })
  const resolver = new MetadataResolver({ templates: [`${url.href}{hash}`], fetcher: openFetcher(t), log: silent, now: () => now, timeoutMs: 500 })
  return {
    ask: async (hash = infohash) => await resolver.resolve({ infohash: hash }, never).catch((error: unknown) => error),
    say: (listener) => { answer = listener },
    pass: (ms) => { now += ms },
    resolver,
    requests,
    host: url.host
  }
}

t.test('who does not have a torrent is not asked again for ten minutes', async (t) => {
  const misses: RequestListener[] = [
    (_request, response) => { response.writeHead(404).end() },
    (_request, response) => { response.end('<!doctype html>') },
    (_request, response) => { response.end(other.torrent) },
    (_request, response) => { response.end(torrent.subarray(0, 50)) }
  ]
  for (const miss of misses) {
    const { ask, say, pass, requests, host } = await remembering(t)
    say(miss)
    t.match(await ask(), { code: 'METADATA_NOT_FOUND' })
    pass(12_000)
    t.match(await ask(), { code: 'METADATA_NOT_FOUND', message: new RegExp(`${host}: .*, 12 s ago`) })
    pass(587_999)
    await ask()
    t.equal(requests.length, 1)
    await ask('a'.repeat(40))
    t.equal(requests.length, 2, 'for another torrent it is')
    pass(1)
    say((_request, response) => { response.end(torrent) })
    t.match(await ask(), { infohash })
    t.equal(requests.length, 3)
  }
})

t.test('who was in trouble is asked again after half a minute', async (t) => {
  const troubles: RequestListener[] = [
    (_request, response) => { response.writeHead(500).end() },
    (_request, response) => { response.writeHead(403).end('<title>Just a moment</title>') },
    (_request, response) => { response.writeHead(503).end() },
    (request) => { request.socket.resetAndDestroy() },
    () => {}
  ]
  for (const trouble of troubles) {
    const { ask, say, pass, requests } = await remembering(t)
    say(trouble)
    await ask()
    pass(29_999)
    t.match(await ask(), { code: 'METADATA_NOT_FOUND' })
    t.equal(requests.length, 1)
    pass(1)
    say((_request, response) => { response.end(torrent) })
    t.match(await ask(), { infohash })
  }
})

t.test('who says when to come back is left alone till then, whatever is wanted', async (t) => {
  const { ask, say, pass, requests, resolver } = await remembering(t)
  say((_request, response) => { response.writeHead(429, { 'retry-after': '100' }).end() })
  t.match(await ask(), { code: 'METADATA_NOT_FOUND', message: /status 429, busy for 100 s/ })
  pass(99_999)
  await ask()
  await ask('a'.repeat(40))
  resolver.forget(infohash)
  await ask()
  t.equal(requests.length, 1)
  pass(1)
  say((_request, response) => { response.end(torrent) })
  t.match(await ask(), { infohash })
})

t.test('what is forgotten is asked again', async (t) => {
  const { ask, resolver, requests } = await remembering(t)
  await ask()
  await ask('a'.repeat(40))
  resolver.forget(infohash)
  await ask()
  await ask('a'.repeat(40))
  t.equal(requests.length, 3)
})

t.test('a new way is asked while the others are known to have nothing; a lookup that was cut short taught nothing', async (t) => {
  const { url, requests } = await serve(t, listener)
  const resolver = new MetadataResolver({ templates: [`${url.href}missing`, `${url.href}hang`], fetcher: openFetcher(t, { allowPrivateNetworks: true }), log: silent, timeoutMs: 300 })
  const cut = new AbortController()
  setTimeout(() => { cut.abort(new Error('gone')) }, 50)
  await t.rejects(resolver.resolve({ infohash }, cut.signal), { message: 'gone' })
  await t.rejects(resolver.resolve({ infohash }, never), { code: 'METADATA_NOT_FOUND' })
  t.strictSame(requests.filter((path) => path === '/hang').length, 2)
  t.equal((await resolver.resolve({ infohash, exactSources: [`${url.href}good`] }, never)).infohash, infohash)
  t.strictSame(requests.slice(-1), ['/good'])
})

t.test('tells its steps, and who answered', async (t) => {
  const { url } = await serve(t, listener)
  const lines: unknown[] = []
  const write = (fields: object, message: string): void => { lines.push([message, fields]) }
  await lookup(t, { templates: [`${url.href}good`], log: { debug: write, info: write, warn: write, error: write } })
  t.strictSame(lines, [
    ['[Hybrid] Step 1: Downloading .torrent file...', { infohash, from: [url.host] }],
    [`[Hybrid] Downloaded .torrent (${torrent.length} bytes)`, { infohash, from: url.host }]
  ])
})
