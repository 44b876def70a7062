import { createServer } from 'node:http'
import t from 'tap'
import { jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'
import { listenOnLoopback } from '../loopback.ts'
import type { RequestListener } from 'node:http'
import type { Test } from 'tap'

const film = testBytes(300_000, 'film')
const torrent = await makeTorrent({ 'Film.mp4': film })
const { infohash } = torrent

/** A cache of `.torrent` files whose answers can be changed. */
async function startCache (t: Test, answer: RequestListener): Promise<{ template: string, url: string, requests: string[], say: (listener: RequestListener) => void }> {
  const requests: string[] = []
  const server = createServer((request, response) => {
    requests.push(request.url ?? '')
    answer(request, response)
  })
  const url = await listenOnLoopback(t, server)
  return { template: `${url}/{hash}.torrent`, url, requests, say: (listener) => { answer = listener } }
}

const give: RequestListener = (_request, response) => { response.end(torrent.torrent) }
const miss: RequestListener = (_request, response) => { response.writeHead(404).end() }

async function add (url: string, body: object): Promise<number> {
  return (await jsonFrom(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })).status
}

t.test('the swarm profits from a .torrent that was had over HTTP, at once and without any mirror', async (t) => {
  const cache = await startCache(t, give)
  const { url } = await startApp(t, { ENABLE_P2P: 'true', TORRENT_METADATA_URLS: cache.template, SOURCE_HEDGE_DELAY: '60000', P2P_TIMEOUT: '60000' })
  t.equal(await add(url, { infoHash: infohash }), 202)
  const { data } = await until('it is there', async () => {
    const { body } = await jsonFrom(`${url}/api/torrents/${infohash}`)
    return body.data.status === 'downloading' ? body : null
  })
  t.match(data, { name: 'Film.mp4', files: [{ name: 'Film.mp4', length: film.length }] })
  t.strictSame(cache.requests, [`/${infohash}.torrent`])
})

t.test('all sources of a torrent share one lookup', async (t) => {
  const cache = await startCache(t, (request, response) => { setTimeout(() => { give(request, response) }, 300) })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { ENABLE_P2P: 'true', TORRENT_METADATA_URLS: cache.template, HTTP_MIRROR_URLS: mirror.mirrorUrl, SOURCE_HEDGE_DELAY: '100' })
  const bodies = await Promise.all(Array.from({ length: 5 }, async () => Buffer.from(await (await fetch(`${url}/stream/proxy/${infohash}`)).arrayBuffer())))
  for (const body of bodies) t.ok(film.equals(body))
  t.strictSame(cache.requests, [`/${infohash}.torrent`])
})

t.test('a second request for a torrent that nobody has gets the reason at once; adding it again is asking again', async (t) => {
  const cache = await startCache(t, miss)
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: cache.template, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const host = new URL(cache.url).host
  for (let request = 0; request < 2; request++) {
    const { status, body } = await jsonFrom(`${url}/stream/proxy/${infohash}`)
    t.equal(status, 404)
    t.match(body.reasons, [{ source: 'http-fallback', code: 'METADATA_NOT_FOUND', message: `${host}: status 404` }])
  }
  t.equal(cache.requests.length, 1)
  cache.say(give)
  t.equal(await add(url, { infoHash: infohash }), 202)
  await until('it is cached', async () => (await jsonFrom(`${url}/api/torrents/${infohash}`)).body.data.status === 'cached')
  t.equal(cache.requests.length, 2)
})

t.test('a magnet that comes while a start waits in vain brings a new place to look', async (t) => {
  const cache = await startCache(t, miss)
  const exact = await startCache(t, give)
  const mirror = await startMirror(t, torrent)
  const { app, url } = await startApp(t, { ENABLE_P2P: 'true', TORRENT_METADATA_URLS: cache.template, HTTP_MIRROR_URLS: mirror.mirrorUrl, P2P_TIMEOUT: '60000', SOURCE_HEDGE_DELAY: '50' })
  const response = fetch(`${url}/stream/proxy/${infohash}`)
  await until('the first lookup has failed', () => app.torrents.get(infohash)?.lookupFailure)
  t.equal(await add(url, { magnetUri: `magnet:?xt=urn:btih:${infohash}&xs=${encodeURIComponent(`${exact.url}/film.torrent`)}` }), 202)
  t.ok(film.equals(Buffer.from(await (await response).arrayBuffer())))
  t.strictSame(exact.requests, ['/film.torrent'])
})

t.test('with TORRENT_METADATA_URLS=none, or without HTTP fallback, nobody is asked', async (t) => {
  const cache = await startCache(t, give)
  const none = await startApp(t, { TORRENT_METADATA_URLS: 'none' })
  const { body } = await jsonFrom(`${none.url}/stream/proxy/${infohash}`)
  t.match(body.reasons, [{ code: 'METADATA_NOT_FOUND', message: /TORRENT_METADATA_URLS/ }])
  const off = await startApp(t, { ENABLE_P2P: 'true', P2P_TIMEOUT: '500', ENABLE_HTTP_FALLBACK: 'false', TORRENT_METADATA_URLS: cache.template, WEBTOR_URL: cache.url })
  const answer = await jsonFrom(`${off.url}/stream/proxy/${infohash}`)
  t.strictSame(answer.body.reasons.map(({ code }: { code: string }) => code), ['P2P_TIMEOUT'])
  t.strictSame(cache.requests, [])
})

t.test('what the lookup did not find and peers have brought since is downloaded from mirrors at once', async (t) => {
  const cache = await startCache(t, miss)
  const mirror = await startMirror(t, torrent)
  const { app, url } = await startApp(t, { TORRENT_METADATA_URLS: cache.template, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  t.match(await jsonFrom(`${url}/stream/proxy/${infohash}`), { status: 404, body: { reasons: [{ code: 'METADATA_NOT_FOUND' }] } })
  await app.torrents.get(infohash)?.provide(torrent.metadata)
  t.ok(film.equals(Buffer.from(await (await fetch(`${url}/stream/proxy/${infohash}`)).arrayBuffer())))
})

t.test('a fileIndex that the torrent does not have spoils nobody else\'s start', async (t) => {
  const cache = await startCache(t, (request, response) => { setTimeout(() => { give(request, response) }, 300) })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: cache.template, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const wrong = jsonFrom(`${url}/stream/proxy/${infohash}?fileIndex=7`)
  await until('the first start is under way', () => cache.requests.length === 1)
  t.ok(film.equals(Buffer.from(await (await fetch(`${url}/stream/proxy/${infohash}`)).arrayBuffer())))
  t.match(await wrong, { status: 404, body: { reasons: [{ code: 'FILE_INDEX' }] } })
})
