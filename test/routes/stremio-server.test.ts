import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { createServer } from 'node:http'
import { listenOnLoopback } from '../loopback.ts'
import { flawsOf, settingsShape, spoilt, statisticsShape } from '../stremio-shapes.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'
import type { Test } from 'tap'
import type { TestApp } from '../helper.ts'
import type { MirrorChoices, TestMirror } from '../mirror.ts'
import type { TestTorrent } from '../testnet.ts'

const stremio = 'https://web.stremio.com'

async function setUp (t: Test, env: Record<string, string> = {}, choices: MirrorChoices = {}): Promise<TestApp & { readonly torrent: TestTorrent, readonly mirror: TestMirror, readonly at: string }> {
  const torrent = await makeTorrent({ 'Show.S01E01.mkv': testBytes(150_000, '1'), 'Show.S01E02.mkv': testBytes(120_000, '2'), 'Show.S01E03.mp4': testBytes(100_000, '3') }, { name: 'Show Season 1', trackers: ['http://127.0.0.1:9/secret-key/announce'] })
  const mirror = await startMirror(t, torrent, choices)
  const server = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, ...env })
  return { ...server, torrent, mirror, at: `${server.url}/${torrent.infohash}` }
}

const post = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({ method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(body) })

t.test('what a client asks for at its start has the shape that its parsers demand', async (t) => {
  const { url } = await startApp(t)
  const { status, body } = await jsonFrom(`${url}/settings`)
  t.equal(status, 200)
  t.same(flawsOf(settingsShape, body), [])
  for (const { what, answer } of spoilt(settingsShape, body)) if (flawsOf(settingsShape, answer).length === 0) t.fail(`${what}, and nobody minds`)
  t.equal(body.baseUrl, url)
  t.equal(body.values.cacheSize, 20_000_000_000)
  t.match((await jsonFrom(`${url}/network-info`)).body, { availableInterfaces: [] })
  t.same((await jsonFrom(`${url}/device-info`)).body, { availableHardwareAccelerations: [] })
  for (const path of ['/casting', '/casting/']) t.same((await jsonFrom(`${url}${path}`)).body, [])
  t.equal((await jsonFrom(`${url}/heartbeat`)).status, 200)
  t.same((await jsonFrom(`${url}/stats.json`)).body, {})
  t.match((await jsonFrom(`${url}/stats.json?sys=1`)).body, { sys: { loadavg: [Number], cpus: [{ model: String }] } })
})

t.test('what a client sets stays set after a restart, and what is the operator\'s stays his', async (t) => {
  const { app, url, directory } = await startApp(t)
  t.same((await jsonFrom(`${url}/settings`, post({ proxyStreamsEnabled: true, btMaxConnections: 200, cacheSize: 1, serverVersion: '9', btRequestTimeout: 'x', btHandshakeTimeout: -5 }))).body, { success: true })
  const { body } = await jsonFrom(`${url}/settings`)
  t.match(body.values, { proxyStreamsEnabled: true, btMaxConnections: 200, cacheSize: 20_000_000_000, serverVersion: '4.20.16', btRequestTimeout: 4000, btHandshakeTimeout: 20_000 })
  await app.close()
  const again = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory })
  const { body: after } = await jsonFrom(`${again.url}/settings`)
  t.match(after.values, { proxyStreamsEnabled: true, btMaxConnections: 200 })
  t.same(flawsOf(settingsShape, after), [])
})

t.test('statistics are null, or have every field of the right kind: idle, starting, running, stored, removed', async (t) => {
  const gate = Promise.withResolvers<void>()
  const { url, at, torrent, app } = await setUp(t, {}, { before: async () => { await gate.promise } })
  const all = async (): Promise<unknown[]> => [(await jsonFrom(`${at}/stats.json`)).body, (await jsonFrom(`${at}/1/stats.json`)).body]
  t.same(await all(), [null, null], 'nobody asked for it')

  const playing = bytesFrom(`${at}/1`)
  await until('its metadata is there', () => app.torrents.get(torrent.infohash)?.metadata)
  for (const stats of await all()) t.same(flawsOf(statisticsShape, stats), [], 'while it starts')
  const { body: running } = await jsonFrom(`${at}/1/stats.json`)
  const wrong = spoilt(statisticsShape, running)
  t.ok(wrong.length > 300, `${wrong.length} ways to be wrong`)
  for (const { what, answer } of wrong) if (flawsOf(statisticsShape, answer).length === 0) t.fail(`${what}, and nobody minds`)
  for (const stats of Object.values((await jsonFrom(`${url}/stats.json`)).body)) t.same(flawsOf(statisticsShape, stats), [], 'among all')
  t.match((await jsonFrom(`${at}/1/stats.json`)).body, { streamName: 'Show.S01E02.mkv', streamLen: 120_000, streamProgress: 0, name: 'Show Season 1', swarmPaused: false, files: [{ path: 'Show.S01E01.mkv', offset: 0 }, { length: 120_000, offset: 150_000 }, {}] })
  t.notMatch(JSON.stringify(await all()), /secret-key/, 'the path of a tracker is its user\'s own')
  gate.resolve()
  t.ok((await playing).equals(torrent.files[1]?.bytes ?? Buffer.alloc(0)))
  await until('it is stored', async () => await app.stored.find(torrent.infohash, 1))
  for (const stats of await all()) t.same(flawsOf(statisticsShape, stats), [], 'when it is stored')
  t.match((await jsonFrom(`${at}/1/stats.json`)).body, { streamProgress: 1 })
  t.same(Object.keys((await jsonFrom(`${url}/stats.json`)).body), [torrent.infohash])
  t.same((await jsonFrom(`${at}/99/stats.json`)).body, null, 'a file that there is not')

  t.same((await jsonFrom(`${at}/remove`)).body, {})
  t.equal(app.torrents.get(torrent.infohash), null)
  for (const stats of await all()) t.same(stats === null ? [] : flawsOf(statisticsShape, stats), [], 'when it is removed')
  t.same((await jsonFrom(`${url}/removeAll`)).body, {})
})

t.test('a torrent is begun by its infohash, and the episode that is meant is found', async (t) => {
  const { at, torrent } = await setUp(t)
  const plain = await jsonFrom(`${at}/create`)
  t.equal(plain.status, 200)
  t.same(flawsOf(statisticsShape, plain.body), [])
  t.notOk('guessedFileIdx' in plain.body)
  for (const [guessFileIdx, index] of [[{ season: 1, episode: 2 }, 1], [{ season: 1, episode: 3 }, 2], [{}, 0], [{ season: 4, episode: 1 }, -1]] as const) {
    const { body } = await jsonFrom(`${at}/create`, post({ torrent: { infoHash: torrent.infohash }, peerSearch: { sources: [`dht:${torrent.infohash}`, 'tracker:udp://127.0.0.1:9/announce'], min: 40, max: 200 }, guessFileIdx }, { Origin: stremio }))
    t.same(flawsOf(statisticsShape, body), [])
    t.equal(body.guessedFileIdx, index, JSON.stringify(guessFileIdx))
  }
  t.notOk('guessedFileIdx' in (await jsonFrom(`${at}/create`, post({ guessFileIdx: false }))).body)
  t.equal((await jsonFrom(`${at.replace(/.{40}$/, 'e'.repeat(40))}/create`)).status, 404)
})

t.test('a torrent is begun by a .torrent: its hex digits, or its URL, never a file', async (t) => {
  const { url, torrent, mirror } = await setUp(t, { TORRENT_METADATA_URLS: 'none' })
  const blob = torrent.torrent.toString('hex')
  const { status, body } = await jsonFrom(`${url}/create`, post({ blob, guessFileIdx: { season: 1, episode: 2 } }))
  t.equal(status, 200)
  t.same(flawsOf(statisticsShape, body), [])
  t.match(body, { infoHash: torrent.infohash, guessedFileIdx: 1, streamName: 'Show.S01E02.mkv' })
  const { body: stats } = await jsonFrom(`${url}/${torrent.infohash}/1/stats.json`)
  t.same(flawsOf(statisticsShape, stats), [])
  t.match(stats, { streamName: 'Show.S01E02.mkv', swarmPaused: true, files: [{}, {}, {}] }, 'and its statistics are there before it plays')
  t.ok((await bytesFrom(`${url}/${torrent.infohash}/${body.guessedFileIdx}`)).equals(torrent.files[1]?.bytes ?? Buffer.alloc(0)))
  const from = mirror.metadataUrl.replace('{hash}', torrent.infohash)
  t.match((await jsonFrom(`${url}/create`, post({ from }))).body, { infoHash: torrent.infohash })
  for (const wrong of [{}, { blob: 'zz' }, { blob: 'abc' }, { blob: 'abcd' }, { from: '/etc/passwd' }, { from: 'file:///etc/passwd' }, { from: `${mirror.webSeed}nothing` }, { from: 'magnet:?x' }]) {
    t.equal((await jsonFrom(`${url}/create`, post(wrong))).status, 400, JSON.stringify(wrong))
  }
  t.equal((await jsonFrom(`${url}/create`, post({ blob: '0'.repeat(3_200_000) }))).status, 413)
})

t.test('a file is had by its index, by -1, and by its name, with ranges and a HEAD', async (t) => {
  const { at, torrent, app } = await setUp(t)
  const [first, second, third] = torrent.files.map(({ bytes }) => bytes)
  if (first === undefined || second === undefined || third === undefined) throw new Error('three files')
  for (const [path, bytes] of [['0', first], ['-1', first], ['1/any%20name.mkv', second], ['Show.S01E03.mp4', third], [`${encodeURIComponent(torrent.metadata.name)}/Show.S01E03.mp4`, third], ['-1?f=S01E02', second], ['-1?f=%2Fs01e03%2Fi', third]] as const) {
    t.ok((await bytesFrom(`${at}/${path}`)).equals(bytes), path)
  }
  const head = await fetch(`${at}/1?tr=${encodeURIComponent('tracker:udp://127.0.0.1:9/announce')}&tr=dht%3A${torrent.infohash}`, { method: 'HEAD', headers: { Origin: 'https://anybody.example' } })
  t.equal(head.status, 200)
  t.match(Object.fromEntries(head.headers), { 'content-length': '120000', 'content-type': 'video/x-matroska', 'accept-ranges': 'bytes', 'access-control-allow-origin': '*' })
  const part = await fetch(`${at}/1`, { headers: { Range: 'bytes=100-199' } })
  t.equal(part.status, 206)
  t.equal(part.headers.get('content-range'), 'bytes 100-199/120000')
  t.ok(Buffer.from(await part.arrayBuffer()).equals(second.subarray(100, 200)))
  const reference = await fetch(`${at.replace(/\/[^/]*$/, '')}/stream/proxy/${torrent.infohash}?fileIndex=1`, { method: 'HEAD' })
  t.equal(head.headers.get('etag'), reference.headers.get('etag'), 'as /stream/proxy has it')

  t.match((await fetch(`${at}/1?download=1`)).headers.get('content-disposition'), /^attachment/)
  t.equal((await fetch(`${at}/1?subtitles=${encodeURIComponent('http://host/a.srt')}`)).headers.get('captioninfo.sec'), 'http://host/a.srt')
  t.equal((await fetch(`${at}/1?subtitles=${encodeURIComponent('javascript:x')}`)).headers.get('captioninfo.sec'), null)
  const external = await fetch(`${at}/1?external=1`, { redirect: 'manual' })
  t.equal(external.status, 307)
  t.equal(external.headers.get('location'), `/${torrent.infohash}/Show.S01E02.mkv`)
  for (const wrong of ['99', 'nothing.mkv', '-2']) t.match(await jsonFrom(`${at}/${wrong}`), { status: 404, body: { reasons: [{ code: 'FILE_INDEX' }] } }, wrong)
  t.ok(app.torrents.list().length <= 1)
})

t.test('pages of Stremio and of this machine may call, others may not, and nobody is told twice', async (t) => {
  const { url } = await startApp(t, { ALLOWED_ORIGINS: 'https://my.example' })
  for (const origin of [stremio, 'https://app.strem.io', 'https://stremio.com', 'https://stremio.github.io', 'https://www.gstatic.com', 'http://localhost:3000', 'http://127.0.0.1:8080', 'https://my.example']) {
    const answer = await fetch(`${url}/settings`, { headers: { Origin: origin } })
    t.equal(answer.headers.get('access-control-allow-origin'), origin)
    t.equal((await fetch(`${url}/settings`, post({}, { Origin: origin }))).status, 200, `${origin} may set`)
    const preflight = await fetch(`${url}/settings`, { method: 'OPTIONS', headers: { Origin: origin, 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'content-type', 'Access-Control-Request-Private-Network': 'true' } })
    t.equal(preflight.status, 204)
    t.match(Object.fromEntries(preflight.headers), { 'access-control-allow-origin': origin, 'access-control-allow-private-network': 'true', 'access-control-allow-methods': /POST/, 'access-control-allow-headers': /Content-Type/ })
  }
  for (const origin of ['https://evil.example', 'https://web.stremio.com.evil.example', 'https://evilstremio.com', 'https://evil.github.io', 'http://web.stremio.com', 'null', 'http://localhost.evil.example']) {
    t.equal((await fetch(`${url}/settings`, { headers: { Origin: origin } })).headers.get('access-control-allow-origin'), null)
    t.equal((await fetch(`${url}/settings`, post({}, { Origin: origin }))).status, 403, `${origin} may not set`)
    t.equal((await fetch(`${url}/removeAll`, { headers: { Origin: origin } })).ok, false, `${origin} may not remove`)
    const preflight = await fetch(`${url}/settings`, { method: 'OPTIONS', headers: { Origin: origin, 'Access-Control-Request-Method': 'POST' } })
    t.equal(preflight.headers.get('access-control-allow-origin'), null)
  }
  t.equal((await fetch(`${url}/api/torrents`, { headers: { Origin: stremio } })).headers.get('access-control-allow-origin'), null, 'the rest of the API is not for them')
})

t.test('an image on any page does not remove what plays', async (t) => {
  const { url } = await startApp(t)
  const image = { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'no-cors', 'Sec-Fetch-Dest': 'image' }
  t.equal((await fetch(`${url}/removeAll`, { headers: image })).status, 403)
  t.equal((await fetch(`${url}/removeAll`, { headers: { ...image, Referer: 'https://evil.example/' } })).status, 403)
  t.equal((await fetch(`${url}/removeAll`, { headers: { ...image, Referer: `${stremio}/` } })).status, 200)
  // Of an address without https browsers say less.
  t.equal((await fetch(`${url}/removeAll`, { headers: { Referer: 'http://evil.example/' } })).status, 403)
  t.equal((await fetch(`${url}/removeAll`, { headers: { 'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64)' } })).status, 403, 'a page that keeps its address to itself')
  t.equal((await fetch(`${url}/removeAll`, { headers: { 'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64)', Referer: `${url}/` } })).status, 200)
  t.equal((await fetch(`${url}/removeAll`, { headers: { 'User-Agent': 'Mozilla/5.0', 'Sec-Fetch-Site': 'none' } })).status, 200, 'typed in')
  t.equal((await fetch(`${url}/removeAll`, { headers: { 'User-Agent': 'okhttp/4.12' } })).status, 200, 'an app')
})

t.test('strangers see nothing of the machine, and change nothing', async (t) => {
  const { url } = await startApp(t, { API_TOKEN: 'a-token-of-some-length' })
  t.equal((await jsonFrom(`${url}/settings`)).status, 200)
  t.same((await jsonFrom(`${url}/network-info`)).body, { availableInterfaces: [] })
  for (const path of ['/stats.json', '/removeAll', `/${'e'.repeat(40)}/remove`]) t.equal((await jsonFrom(`${url}${path}`)).status, 401, path)
  t.equal((await jsonFrom(`${url}/settings`, post({}))).status, 401)
  t.equal((await jsonFrom(`${url}/create`, post({ from: 'http://127.0.0.1/a.torrent' }))).status, 401)
})

t.test('files of the same name, or named like an index or a route, are told apart by the redirect to a name', async (t) => {
  const torrent = await makeTorrent({ 'Season 1/01.mkv': testBytes(9000, '1'), 'Season 2/01.mkv': testBytes(8000, '2'), 7: testBytes(7000, '3'), remove: testBytes(6000, '4'), 'ünï %2F #?.mkv': testBytes(5000, '5') }, { name: 'Show' })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  for (const [index, { bytes, path }] of torrent.files.entries()) {
    const answer = await fetch(`${url}/${torrent.infohash}/${index}?external=1&download=1`, { redirect: 'manual' })
    t.equal(answer.status, 307)
    const named = await fetch(new URL(answer.headers.get('location') ?? '', url))
    t.ok(Buffer.from(await named.arrayBuffer()).equals(bytes), `${path}: ${answer.headers.get('location')}`)
    t.match(named.headers.get('content-disposition'), /^attachment/)
  }
  for (const wrong of ['..%2F..%2Fetc%2Fpasswd', '%2e%2e%2fetc', 'Season 3/01.mkv', '0x1', '1e0', '%00', '%F0%9F%92%A9']) t.equal((await fetch(`${url}/${torrent.infohash}/${wrong}`)).status, 404, wrong)
})

t.test('behind a path of a proxy the redirect to a name stays there', async (t) => {
  const { url, torrent } = await setUp(t, { BASE_URL: 'https://films.example/streme' })
  const answer = await fetch(`${url}/${torrent.infohash}/1?external=1`, { redirect: 'manual' })
  t.equal(answer.headers.get('location'), `/streme/${torrent.infohash}/Show.S01E02.mkv`)
})

t.test('a .torrent of very many files does not hold the server up', async (t) => {
  const { url } = await startApp(t)
  const count = 45_000
  const list = Array.from({ length: count }, (_, i) => { const name = i.toString(36).padStart(4, '0') + '.ts'; return `d6:lengthi1e4:pathl${name.length}:${name}ee` }).join('')
  const blob = Buffer.from(`d4:infod5:filesl${list}e4:name1:x12:piece lengthi65536e6:pieces20:${'x'.repeat(20)}ee`, 'latin1')
  const startedAt = performance.now()
  const { status, body } = await jsonFrom(`${url}/create`, post({ blob: blob.toString('hex'), guessFileIdx: { season: 1, episode: 2 }, fileMustInclude: ['/^(0+)+$/', '/([a-z0-9]+)+!/'] }))
  t.match([status, body.guessedFileIdx], [200, -1])
  t.ok(performance.now() - startedAt < 5000, `${(performance.now() - startedAt).toFixed(0)} ms`)
})

t.test('statistics of a torrent that starts, and of which nothing is known but its infohash, have every field, too', async (t) => {
  const silent = await listenOnLoopback(t, createServer(() => {}))
  const { url, app } = await startApp(t, { TORRENT_METADATA_URLS: `${silent}/{hash}.torrent`, HTTP_MIRROR_URLS: `${silent}/{hash}/{index}` })
  const infohash = 'e'.repeat(40)
  const gone = new AbortController()
  const playing = fetch(`${url}/${infohash}/0?tr=${encodeURIComponent('tracker:udp://127.0.0.1:9/key/announce')}`, { signal: gone.signal }).catch(() => {})
  await until('it has begun', () => app.torrents.get(infohash))
  for (const path of [`/${infohash}/stats.json`, `/${infohash}/0/stats.json`, `/${infohash}/-1/stats.json`]) {
    const { body } = await jsonFrom(`${url}${path}`)
    t.same(flawsOf(statisticsShape, body), [], path)
    t.match(body, { infoHash: infohash, files: [] })
  }
  for (const stats of Object.values((await jsonFrom(`${url}/stats.json`)).body)) t.same(flawsOf(statisticsShape, stats), [], 'among all')
  gone.abort()
  await playing
})
