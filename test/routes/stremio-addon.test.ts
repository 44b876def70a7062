import { createServer } from 'node:http'
import addonClient from 'stremio-addon-client'
import linter from 'stremio-addon-linter'
import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { listenOnLoopback } from '../loopback.ts'
import { startMirror } from '../mirror.ts'
import { startUpstream } from '../upstream-addon.ts'
import { freePort, makeTorrent, testBytes, until } from '../testnet.ts'
import type { Test } from 'tap'
import type { TestApp } from '../helper.ts'
import type { TestTorrent } from '../testnet.ts'

const files = {
  'Show.S01E01.1080p.mkv': testBytes(100_000, '1'),
  'Show.S01E02.1080p.mkv': testBytes(90_000, '2'),
  'Show.S01E02.1080p.en.srt': Buffer.from('1\n00:00:01,000 --> 00:00:02,000\nHello\n')
}

/** A server with a season pack of which the first episode is cached. */
async function setUp (t: Test, env: Record<string, string> = {}): Promise<TestApp & { readonly torrent: TestTorrent }> {
  const torrent = await makeTorrent(files, { name: 'Show.S01.1080p' })
  const mirror = await startMirror(t, torrent)
  const server = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, ...env })
  await bytesFrom(`${server.url}/stream/proxy/${torrent.infohash}?fileIndex=0`, { Authorization: `Bearer ${env['API_TOKEN'] ?? ''}` })
  await until('it is stored', async () => await server.app.stored.find(torrent.infohash, 0))
  return { ...server, torrent }
}

t.test('the manifest passes the linter, and is small', async (t) => {
  const { url } = await startApp(t)
  const { body, headers } = await jsonFrom(`${url}/manifest.json`)
  t.same(linter.lintManifest(body), { valid: true, errors: [], warnings: [] })
  t.same(linter.lintCollection([{ transportUrl: `${url}/manifest.json`, transportName: 'http', manifest: body }]), { valid: true, errors: [], warnings: [] })
  t.match(body, { types: ['movie', 'series', 'other'], behaviorHints: { p2p: false, configurable: true } })
  t.ok(JSON.stringify(body).length <= 8192)
  t.equal(headers.get('access-control-allow-origin'), '*')
  t.equal((await fetch(body.logo)).headers.get('cross-origin-resource-policy'), 'cross-origin', 'pages of Stremio show the logo')
})

t.test("Stremio's own client walks from the catalog to the bytes", async (t) => {
  const { url, torrent } = await setUp(t)
  const { addon } = await addonClient.detectFromURL(`${url}/manifest.json`)
  t.ok(addon.isSupported('stream', 'other', `bt:${torrent.infohash}`))
  t.same(addon.manifest.catalogs.map(({ type }) => type), ['movie', 'series', 'other'])

  for (const extra of [undefined, { search: 'show' }, { search: 'SHOW s01', skip: '0' }]) {
    const { metas } = await addon.get('catalog', 'series', 'selfstreme-series', extra)
    t.match(metas, [{ id: `selfstreme:${torrent.infohash}`, type: 'series', name: 'Show' }], JSON.stringify(extra))
  }
  t.same((await addon.get('catalog', 'series', 'selfstreme-series', { search: 'show & others' })).metas, [])
  t.same((await addon.get('catalog', 'movie', 'selfstreme-movie')).metas, [])
  await t.rejects(addon.get('catalog', 'movie', 'nonsense'))
  await t.rejects(addon.get('meta', 'movie', 'tt0032138'))
  t.same((await addon.get('stream', 'movie', 'tt0032138')).streams, [], 'nothing is known of others’ ids')

  for (const [type, id] of [['series', `selfstreme:${torrent.infohash}`], ['other', `bt:${torrent.infohash}`]] as const) {
    const { meta } = await addon.get('meta', type, id)
    t.match(meta, { id, type, name: 'Show', videos: [{ season: 1, episode: 1 }, { season: 1, episode: 2 }] })
    const { streams } = await addon.get('stream', type, meta.videos[1].id)
    t.match(streams, [{
      name: 'Self-Streme\n1080p',
      url: `${url}/stream/${torrent.infohash}/1/Show.S01E02.1080p.mkv?notice=1`,
      subtitles: [{ lang: 'eng' }],
      behaviorHints: { notWebReady: true, bingeGroup: `selfstreme-${torrent.infohash}`, filename: 'Show.S01E02.1080p.mkv', videoSize: 90_000 }
    }])
    t.ok(files['Show.S01E02.1080p.mkv'].equals(await bytesFrom(streams[0].url)))
    const { subtitles } = await addon.get('subtitles', type, meta.videos[1].id, { videoSize: '90000', filename: 'Show.S01E02.1080p.mkv' })
    t.match(subtitles, [{ lang: 'eng' }])
    t.match(String(await bytesFrom(subtitles[0].url)), /^WEBVTT\n[^]*Hello/)
  }
  t.match((await addon.get('stream', 'series', `selfstreme:${torrent.infohash}:0`)).streams, [{ name: '⚡ Self-Streme\n1080p' }], 'what is cached is marked')
  await t.rejects(addon.get('stream', 'series', `selfstreme:${torrent.infohash}:99`), 'no such file')
})

t.test('a magnet that nobody knew before is looked for, and has a stream even where its files are not known', async (t) => {
  const torrent = await makeTorrent(files, { name: 'Show.S01.1080p' })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  t.match((await jsonFrom(`${url}/meta/other/bt:${torrent.infohash}.json`)).body, { meta: { name: 'Show', videos: [{}, {}] } })
  const unknown = 'e'.repeat(40)
  const { body, headers } = await jsonFrom(`${url}/stream/other/bt:${unknown}.json`)
  t.match(body, { streams: [{ url: `${url}/stream/proxy/${unknown}?notice=1` }] })
  t.equal(headers.get('cache-control'), 'no-store')
})

t.test('what is here is shown to the owner and by secret paths, and to nobody else', async (t) => {
  const { url, app, torrent } = await setUp(t, { API_TOKEN: 'a-token-of-some-length', STREAM_ACCESS: 'signed' })
  const made = await app.access.secretPaths.create('the TV')
  for (const [base, isIn] of [[url, false], [`${url}/t/${made?.secret}`, true]] as const) {
    t.equal((await jsonFrom(`${base}/manifest.json`)).body.catalogs.length, isIn ? 3 : 0)
    t.equal((await jsonFrom(`${base}/catalog/series/selfstreme-series.json`)).body.metas.length, isIn ? 1 : 0)
    t.equal((await jsonFrom(`${base}/stream/series/selfstreme:${torrent.infohash}:0.json`)).status, isIn ? 200 : 401)
  }
  const { body } = await jsonFrom(`${url}/t/${made?.secret}/stream/series/selfstreme:${torrent.infohash}:0.json`)
  t.ok(body.streams[0].url.startsWith(`${url}/t/${made?.secret}/stream/`), 'streams are by the same way')
  t.ok(files['Show.S01E01.1080p.mkv'].equals(await bytesFrom(body.streams[0].url)))
  const { body: signed } = await jsonFrom(`${url}/stream/series/selfstreme:${torrent.infohash}:0.json`, { headers: { Authorization: 'Bearer a-token-of-some-length' } })
  t.match(signed.streams[0].url, /[?&]sig=/)
  t.ok(files['Show.S01E01.1080p.mkv'].equals(await bytesFrom(signed.streams[0].url)))
})

t.test('the torrents of other addons play from here, and two servers that ask each other end', async (t) => {
  const torrent = await makeTorrent({ 'Film.2008.mp4': testBytes(100_000, 'film') })
  const mirror = await startMirror(t, torrent)
  const other = await startUpstream(t, { streams: [{ name: 'Other', infoHash: torrent.infohash, fileIdx: 0, behaviorHints: { filename: 'Film.2008.mp4' } }, { ytId: 'abc' }] })
  const port = await freePort()
  const { app } = await startApp(t, {
    TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, UPSTREAM_ADDONS: `${other.url},http://127.0.0.1:${port}/manifest.json`
  })
  // Its own upstream: by a second way in.
  const again = createServer((request, response) => { app.server.emit('request', request, response) })
  await new Promise<void>((resolve) => { again.listen(port, '127.0.0.1', resolve) })
  t.teardown(() => { again.close() })
  const url = `http://127.0.0.1:${port}`
  const { body: manifest } = await jsonFrom(`${url}/manifest.json`)
  t.same(linter.lintManifest(manifest), { valid: true, errors: [], warnings: [] })
  const { addon } = await addonClient.detectFromURL(`${url}/manifest.json`)
  t.ok(addon.isSupported('stream', 'movie', 'tt1254207'))
  const { streams } = await addon.get('stream', 'movie', 'tt1254207')
  t.match(streams, [{ name: 'Other', url: `${url}/stream/${torrent.infohash}/0/Film.2008.mp4?notice=1` }, { ytId: 'abc' }])
  t.equal(streams.length, 2)
  t.ok(torrent.files[0]?.bytes.equals(await bytesFrom(streams[0].url)))
  await until('it is stored', async () => await app.stored.find(torrent.infohash, 0))
  t.match((await addon.get('stream', 'movie', 'tt1254207')).streams, [{ name: '⚡ Other' }, {}])
})

t.test('of a season pack of which nothing is known when it is listed, the episode plays all the same; so does that of the next in its place', async (t) => {
  const pack = async (mark: string) => await makeTorrent({ 'Show.S01E01.mkv': testBytes(90_000, `${mark}1`), 'Show.S01E02.mkv': testBytes(70_000, `${mark}2`) }, { name: `Show.S01.${mark}` })
  const [first, second] = [await pack('a'), await pack('b')]
  const mirror = await startMirror(t, first)
  const other = await startUpstream(t, { streams: [{ name: 'x', infoHash: 'e'.repeat(40) }, { name: 'x', infoHash: first.infohash }, { name: 'y', infoHash: second.infohash, behaviorHints: { bingeGroup: 'y', filename: 'Show.S01E02.mkv' } }] })
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, UPSTREAM_ADDONS: other.url, START_TIMEOUT: '3000' })
  const { body: { streams } } = await jsonFrom(`${url}/stream/series/tt0386676:1:2.json`)
  const urlOf = (infohash: string): URL => new URL(streams.find((stream: { url: string }) => stream.url.includes(`/${infohash}?`)).url)
  t.equal(urlOf(second.infohash).searchParams.get('fileName'), 'Show.S01E02.mkv')
  const head = await fetch(urlOf(first.infohash), { method: 'HEAD' })
  t.equal(head.headers.get('content-length'), '70000')
  t.ok(first.files[1]?.bytes.equals(await bytesFrom(urlOf(first.infohash).href)))
  const hash = async (videoUrl: string): Promise<unknown> => (await jsonFrom(`${url}/opensubHash?videoUrl=${encodeURIComponent(videoUrl)}`)).body
  t.same(await hash(urlOf(first.infohash).href), await hash(`${url}/${first.infohash}/1`), 'its subtitles are looked for, not those of the largest')
  const dead = urlOf('e'.repeat(40))
  t.equal(dead.searchParams.get('alt'), first.infohash)
  t.ok(first.files[1]?.bytes.equals(await bytesFrom(dead.href)), 'the next in its place')
  const missing = await fetch(urlOf(first.infohash).href.replace('episode=1:2', 'episode=1:9').replace(/&alt=.*$/, ''))
  t.equal(missing.headers.get('x-stream-notice'), 'no-such-file')
})

/** What the protocol demands of the answers (stremio-addon-sdk, docs/api/responses); the linter knows manifests only. */
function checkMeta (t: Test, { id, type, name, videos = [], behaviorHints }: { id: unknown, type: string, name: unknown, videos?: Array<{ id: string, title: string, released: string, season: number, episode: number }>, behaviorHints?: { defaultVideoId: string } }): void {
  t.ok(typeof id === 'string' && typeof name === 'string' && name !== '' && ['movie', 'series', 'other'].includes(type))
  for (const video of videos) t.ok(typeof video.title === 'string' && !Number.isNaN(Date.parse(video.released)) && Number.isInteger(video.season) && Number.isInteger(video.episode), JSON.stringify(video))
  t.equal(new Set(videos.map((video) => video.id)).size, videos.length, 'each video once')
  if (behaviorHints !== undefined && videos.length > 0) t.ok(videos.some((video) => video.id === behaviorHints.defaultVideoId))
}

function checkStream (t: Test, { url, name, description, subtitles = [], behaviorHints, ...rest }: Record<string, unknown> & { subtitles?: unknown[], behaviorHints?: Record<string, unknown> }): void {
  t.ok(typeof url === 'string' && URL.canParse(url) && typeof name === 'string' && typeof description === 'string')
  t.same(['infoHash', 'ytId', 'externalUrl', 'fileIdx'].filter((kind) => kind in rest), [], 'one kind of source')
  t.equal(behaviorHints?.['notWebReady'], true, 'http is for no https page')
  t.match(behaviorHints, { bingeGroup: String, filename: String, videoSize: Number })
  for (const subtitle of subtitles) t.match(subtitle, { id: String, url: /^http/, lang: String })
}

t.test("Stremio's own client walks through a season pack, a film, music, and what another addon has, to the bytes of each", async (t) => {
  const made = [
    { torrent: await makeTorrent(files, { name: 'Show.S01.1080p' }), type: 'series', bytes: files['Show.S01E01.1080p.mkv'] },
    { torrent: await makeTorrent({ 'Film.2008.1080p.mp4': testBytes(80_000, 'f'), 'Film.2008.1080p.en.srt': files['Show.S01E02.1080p.en.srt'], 'Extras/Making of.mp4': testBytes(9000, 'x') }, { name: 'Film.2008.1080p' }), type: 'movie', bytes: testBytes(80_000, 'f') },
    { torrent: await makeTorrent({ '01 - One.flac': testBytes(50_000, 'a'), '02 - Two.flac': testBytes(60_000, 'b') }, { name: 'An Album' }), type: 'other', bytes: testBytes(60_000, 'b') }
  ]
  const elsewhere = await makeTorrent({ 'Wrapped.2020.mkv': testBytes(70_000, 'w') })
  const mirrors = await Promise.all([...made.map(({ torrent }) => torrent), elsewhere].map(async (torrent) => await startMirror(t, torrent)))
  const other = await startUpstream(t, {
    streams: [{ name: 'Other', title: 'Wrapped 2020', infoHash: elsewhere.infohash, fileIdx: 0, behaviorHints: { filename: 'Wrapped.2020.mkv', videoSize: 70_000, bingeGroup: 'other|1080p' } }],
    subtitles: [{ id: '1', url: 'https://subtitles.example/1.srt', lang: 'eng' }]
  })
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirrors.map(({ metadataUrl }) => metadataUrl).join(), HTTP_MIRROR_URLS: mirrors.map(({ mirrorUrl }) => mirrorUrl).join(), UPSTREAM_ADDONS: other.url })
  for (const { torrent } of made) await fetch(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash: torrent.infohash }) })
  await until('all are known', async () => (await jsonFrom(`${url}/api/torrents`)).body.data.every(({ files }: { files: unknown }) => files !== null))
  const { addon } = await addonClient.detectFromURL(`${url}/manifest.json`)
  t.same(linter.lintManifest(addon.manifest), { valid: true, errors: [], warnings: [] })

  for (const { torrent, type, bytes } of made) {
    const { metas } = await addon.get('catalog', type, `selfstreme-${type}`)
    t.same(metas.map(({ id }: { id: string }) => id), [`selfstreme:${torrent.infohash}`], type)
    t.ok(addon.isSupported('meta', type, metas[0].id))
    const { meta } = await addon.get('meta', type, metas[0].id)
    checkMeta(t, meta)
    t.equal(meta.type, type)
    const video = meta.behaviorHints?.defaultVideoId ?? meta.videos?.[0]?.id ?? meta.id
    t.ok(addon.isSupported('stream', type, video))
    const { streams } = await addon.get('stream', type, video)
    for (const stream of streams) checkStream(t, stream)
    t.ok(bytes.equals(await bytesFrom(streams[0].url)), `${type}: ${streams[0].url}`)
    const { subtitles } = await addon.get('subtitles', type, video, { videoSize: String(bytes.length) })
    for (const subtitle of subtitles) t.match(subtitle, { id: String, url: /^http/, lang: String })
    if (type === 'movie') t.match(subtitles, [{ lang: 'eng' }])
  }

  const kept = async (path: string): Promise<string | null> => (await fetch(`${url}/${path}`)).headers.get('cache-control')
  for (const path of ['manifest.json', 'catalog/movie/selfstreme-movie.json', `meta/movie/selfstreme:${made[1]?.torrent.infohash}.json`, `stream/movie/selfstreme:${made[1]?.torrent.infohash}:0.json`, `subtitles/movie/selfstreme:${made[1]?.torrent.infohash}:0.json`, 'stream/movie/tt1254207.json', 'subtitles/movie/tt1254207.json']) {
    t.match(await kept(path), /^private, max-age=\d+/, path)
  }
  for (const path of ['meta/movie/tt1254207.json', 'catalog/movie/nonsense.json']) t.equal(await kept(path), 'no-store', path)

  t.ok(addon.isSupported('stream', 'movie', 'tt1254207') && addon.isSupported('subtitles', 'movie', 'tt1254207') && !addon.isSupported('subtitles', 'movie', 'kitsu:1'))
  const { streams } = await addon.get('stream', 'movie', 'tt1254207')
  t.match(streams, [{ name: 'Other', title: 'Wrapped 2020', behaviorHints: { bingeGroup: 'other|1080p', filename: 'Wrapped.2020.mkv', videoSize: 70_000 } }])
  t.ok(elsewhere.files[0]?.bytes.equals(await bytesFrom(streams[0].url)))
  t.match((await addon.get('subtitles', 'movie', 'tt1254207', { filename: 'Wrapped.2020.mkv' })).subtitles, [{ id: '1', lang: 'eng' }])
})

t.test('the manifest is there in time, and claims all that it may have, where another addon hangs', async (t) => {
  const hanging = await listenOnLoopback(t, createServer(() => {}))
  const other = await startUpstream(t)
  const { url } = await startApp(t, { UPSTREAM_ADDONS: `${hanging}/manifest.json,${other.url}` })
  const startedAt = performance.now()
  const { body, headers } = await jsonFrom(`${url}/manifest.json`)
  t.ok(performance.now() - startedAt < 6000)
  t.equal(headers.get('cache-control'), 'no-store')
  t.same(linter.lintManifest(body), { valid: true, errors: [], warnings: [] })
  t.same(body.resources.slice(2), [{ name: 'stream', types: ['movie', 'series', 'other', 'anime'] }, { name: 'subtitles', types: ['movie', 'series', 'other'], idPrefixes: ['selfstreme:', 'bt:', 'tt'] }])
})
