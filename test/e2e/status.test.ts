import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'

const unknown = 'c'.repeat(40)

t.test('of what nobody ever asked for, the status says so, and asks nobody', async (t) => {
  const { app, url } = await startApp(t)
  const { status, headers, body } = await jsonFrom(`${url}/stream/status/${unknown}`)
  t.equal(status, 200)
  t.equal(headers.get('cache-control'), 'no-store')
  t.match(body, { infoHash: unknown, state: 'unknown', sources: [], responses: [], lastResponse: null, lastStart: null })
  t.strictSame(app.torrents.list(), [])
  t.match(await jsonFrom(`${url}/stream/status/nonsense`), { status: 404, body: { reasons: [{ code: 'INFOHASH_INVALID' }] } })
})

t.test('a dead torrent is a 404 with every reason once; the second request has it at once, with the time to come back, until it is added again', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': testBytes(300_000, 'film') })
  let isHere = false
  const mirror = await startMirror(t, torrent, { before (_request, response) { if (!isHere) response.writeHead(500).end() } })
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const first = await jsonFrom(`${url}/stream/proxy/${torrent.infohash}`)
  t.match(first, { status: 404, body: { reasons: [{ source: 'http-fallback', code: 'HTTP_MIRRORS_FAILED', retryInMs: Number }] } })
  const asked = mirror.requests.length
  const second = await jsonFrom(`${url}/stream/proxy/${torrent.infohash}`)
  t.match(second, { status: 404, body: { reasons: [{ source: 'http-fallback', code: 'HTTP_MIRRORS_FAILED' }] } })
  t.ok(Number(second.headers.get('retry-after')) > 0 && Number(second.headers.get('retry-after')) <= 15)
  t.equal(mirror.requests.length, asked, 'nobody was asked')
  const { body } = await jsonFrom(`${url}/stream/status/${torrent.infohash}`)
  t.match(body, { state: 'failed', reason: /http-fallback: no mirror can deliver: .*status 500/, retryAfterSeconds: Number, lastStart: { source: null, refusals: [{ code: 'HTTP_MIRRORS_FAILED' }] } })

  isHere = true
  await jsonFrom(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash: torrent.infohash }) })
  t.equal((await bytesFrom(`${url}/stream/proxy/${torrent.infohash}`)).length, 300_000)
})

t.test('while a client waits the status says for what; afterwards it has the story of the response', async (t) => {
  const film = testBytes(2_000_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 65_536 })
  const { promise: stuck, resolve: goOn } = Promise.withResolvers<void>()
  let served = 0
  const mirror = await startMirror(t, torrent, { async before () { if (++served > 1) await stuck } })
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const status = async (): Promise<unknown> => (await jsonFrom(`${url}/stream/status/${torrent.infohash}`)).body
  const reading = bytesFrom(`${url}/stream/proxy/${torrent.infohash}`)
  await until('the client waits', async () => JSON.stringify(await status()).includes('"state":"waiting"'))
  t.match(await status(), {
    state: 'waiting',
    name: 'Film.mp4',
    reason: /a client has waited for \d+\.\d s \(http-fallback: /,
    sources: [{ source: 'http-fallback', isHopeful: true }],
    responses: [{ outcome: 'running', segments: [{ source: 'http-fallback', fromByte: 0, toByte: null }] }]
  })
  goOn()
  t.ok(film.equals(await reading))
  await until('the response is complete', async () => JSON.stringify(await status()).includes('"state":"cached"'))
  t.match(await status(), { state: 'cached', lastResponse: { outcome: 'complete', deliveredBytes: 2_000_000, stallSeconds: { 'http-fallback': Number } }, lastStart: { source: 'http-fallback' } })
})

t.test('while metadata is missing the status says who did not have it', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': testBytes(300_000, 'film') })
  const mirror = await startMirror(t, torrent, { before (_request, response) { response.writeHead(404).end() } })
  const { url } = await startApp(t, { ENABLE_P2P: 'true', TORRENT_METADATA_URLS: `${mirror.mirrorUrl}.torrent` })
  const client = new AbortController()
  t.teardown(() => { client.abort() })
  fetch(`${url}/stream/proxy/${torrent.infohash}`, { signal: client.signal }).catch(() => {})
  const { state, reason } = await until('the lookup has failed', async () => {
    const { body } = await jsonFrom(`${url}/stream/status/${torrent.infohash}`)
    return /404.*p2p: /.test(body.reason) ? body : null
  })
  t.equal(state, 'starting')
  t.match(reason, /^(?:waiting for metadata|asking the sources) for \d+\.\d s \(metadata: no \.torrent to be had .*404.*; p2p: 0 peers known/)
})

t.test('of a mirror that sent wrong bytes the status says so, while another one delivers', async (t) => {
  const film = testBytes(1_000_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 32_768 })
  const liar = await startMirror(t, torrent, { tamper: (bytes) => Buffer.from(bytes.map((byte) => byte ^ 1)) })
  const honest = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: honest.metadataUrl, HTTP_MIRROR_URLS: `${liar.mirrorUrl},${honest.mirrorUrl}` })
  t.ok(film.equals(await bytesFrom(`${url}/stream/proxy/${torrent.infohash}`)))
  const { body } = await jsonFrom(`${url}/stream/status/${torrent.infohash}`)
  t.match(body.sources[0].message, /it sent wrong bytes for piece \d+/)
})

t.test('what is deleted is forgotten: asked for again, it is looked for again', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': testBytes(300_000, 'film') })
  let isHere = false
  const mirror = await startMirror(t, torrent, { before (_request, response) { if (!isHere) response.writeHead(500).end() } })
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  t.match(await jsonFrom(`${url}/stream/proxy/${torrent.infohash}`), { status: 404, body: { reasons: [{ code: 'HTTP_MIRRORS_FAILED' }] } })
  isHere = true
  t.equal((await jsonFrom(`${url}/api/torrents/${torrent.infohash}`, { method: 'DELETE' })).status, 200)
  t.equal((await bytesFrom(`${url}/stream/proxy/${torrent.infohash}`)).length, 300_000)
})

t.test('what was streamed and leaves nothing behind is not unknown afterwards', async (t) => {
  const { url } = await startApp(t)
  const mock = '39730aa7c09b864432bc8c878c20c933059241fd'
  t.match((await jsonFrom(`${url}/stream/status/${mock}`)).body, { state: 'unknown' })
  await bytesFrom(`${url}/stream/proxy/${mock}`)
  t.match((await jsonFrom(`${url}/stream/status/${mock}`)).body, { state: 'idle', reason: 'nobody asks for it', lastStart: { source: 'mock' } })
})
