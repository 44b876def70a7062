import t from 'tap'
import { gzipSync } from 'node:zlib'
import { lookupTorrent } from '../../../services/download/torrent-lookup.ts'
import { silent } from '../../../services/log.ts'
import { closed, makeTorrent, noise, openFetcher, serve } from './origin.ts'
import type { RequestListener } from 'node:http'

const { metadata } = makeTorrent({ name: 'film.mp4', content: noise(100_000) })
const other = makeTorrent({ name: 'placeholder.mp4', content: noise(100_000, 'other') }).metadata
const { infohash, torrent } = metadata
const { signal } = new AbortController()

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

t.test('finds the torrent by its infohash in either case', async (t) => {
  const { url, requests } = await serve(t, (_request, response) => { response.end(torrent) })
  const fetcher = openFetcher(t)
  for (const place of ['{hash}', '{HASH}']) {
    const found = await lookupTorrent({ infohash, templates: [`${url.href}${place}.torrent`], fetcher, signal, log: silent })
    t.equal(found.infohash, infohash)
    t.strictSame(found.torrent, torrent)
  }
  t.strictSame(requests, [`/${infohash}.torrent`, `/${infohash.toUpperCase()}.torrent`])
})

t.test('unpacks gzip that nobody asked for', async (t) => {
  const { url } = await serve(t, listener)
  const found = await lookupTorrent({ infohash, templates: [`${url.href}gzip`], fetcher: openFetcher(t), signal, log: silent })
  t.strictSame(found.torrent, torrent)
})

t.test('one good cache among all the bad ones is enough', async (t) => {
  const { url, requests } = await serve(t, listener)
  const paths = Object.keys(cache).filter((path) => path !== '/good' && path !== '/gzip' && path !== '/redirect')
  const found = await lookupTorrent({ infohash, templates: [...paths, '/good'].map((path) => new URL(path, url).href), fetcher: openFetcher(t), signal, log: silent })
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
  const found = await lookupTorrent({ infohash, templates, fetcher: openFetcher(t), signal, log: silent, timeoutMs: 60_000 })
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
    ['/hang', /no \.torrent within 200 ms/],
    ['/hang-inside', /no \.torrent within 200 ms/],
    ['/reset', /.+/],
    ['/redirect', /not a public address/],
    ['/loop', /not a public address/]
  ]
  for (const [path, outcome] of table) {
    const timeoutMs = path.startsWith('/hang') ? 200 : 30_000
    const error = await lookupTorrent({ infohash, templates: [new URL(path, url).href], fetcher, signal, log: silent, timeoutMs }).catch((error: unknown) => error)
    t.match(error, { code: 'METADATA_NOT_FOUND', isTemporary: true, message: outcome }, path)
    t.match(error, { message: url.host })
  }
})

t.test('secrets of a template are in no message and no log line', async (t) => {
  const { url } = await serve(t, (_request, response) => { response.writeHead(403).end() })
  const lines: string[] = []
  const write = (fields: object, message: string): void => { lines.push(JSON.stringify(fields) + message) }
  const error = await lookupTorrent({
    infohash, templates: [`http://me:s3cret@${url.host}/t/s3cret/{hash}?token=s3cret`], fetcher: openFetcher(t), signal, log: { debug: write, info: write, warn: write, error: write }
  }).catch((error: unknown) => error)
  t.match(error, { code: 'METADATA_NOT_FOUND', message: new RegExp(`${url.host}: status 403`) })
  t.notMatch(String(error), /s3cret/)
  t.ok(lines.length > 0)
  t.notMatch(lines.join(), /s3cret/)
})

t.test('a source that a magnet names is asked too, but not on this machine', async (t) => {
  const { url, requests } = await serve(t, listener)
  await t.rejects(lookupTorrent({ infohash, templates: [], exactSources: [`${url.href}good`], fetcher: openFetcher(t), signal, log: silent }), { code: 'METADATA_NOT_FOUND', message: /not a public address/ })
  t.strictSame(requests, [])
  const fetcher = openFetcher(t, { allowPrivateNetworks: true })
  const found = await lookupTorrent({ infohash, templates: [], exactSources: ['nonsense', `${url.href}good`], fetcher, signal, log: silent })
  t.equal(found.infohash, infohash)
})

t.test('says so when no cache is configured', async (t) => {
  await t.rejects(lookupTorrent({ infohash, templates: [], fetcher: openFetcher(t), signal, log: silent }), { code: 'METADATA_NOT_FOUND', message: /TORRENT_METADATA_URLS/ })
})

t.test('ends at once when nobody waits any more, and leaves no socket', async (t) => {
  const stop = new AbortController()
  const { url, sockets } = await serve(t, () => { stop.abort(new Error('gone')) })
  await t.rejects(lookupTorrent({ infohash, templates: [`${url.href}a`, `${url.href}b`], fetcher: openFetcher(t), signal: stop.signal, log: silent }), { message: 'gone' })
  await closed(sockets)
  await t.rejects(lookupTorrent({ infohash, templates: [url.href], fetcher: openFetcher(t), signal: stop.signal, log: silent }), { message: 'gone' })
})
