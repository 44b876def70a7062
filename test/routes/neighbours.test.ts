import t from 'tap'
import { buildApp } from '../../app.ts'
import { readConfig } from '../../services/config.ts'
import { temporaryDirectory } from '../testnet.ts'

const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'

t.test('each route answers beside its neighbours, and beside the patterns that stay free for Stremio', async (t) => {
  const app = await buildApp({
    config: readConfig({ TORRENT_DOWNLOAD_PATH: await temporaryDirectory(t), MEDIA_PATHS: 'none', ENABLE_P2P: 'false', ENABLE_HTTP_FALLBACK: 'false' })
  })
  t.teardown(async () => { await app.close() })
  const free: Record<string, string> = {
    '/:config/manifest.json': 'manifest with config'
  }
  for (const [url, name] of Object.entries(free)) app.get(url, { config: { access: 'public' } }, async () => ({ name }))
  await app.ready()

  for (const [url, name] of [
    ['/eyJhIjoxfQ/manifest.json', 'manifest with config'],
    ['/stream/manifest.json', 'manifest with config']
  ] as const) t.same((await app.inject(url)).json(), { name }, url)

  for (const [url, status, pattern] of [
    [`/stream/proxy/${infohash}`, 404, { error: 'Stream not found' }],
    ['/stream/proxy/nonexistent123456789', 404, { error: 'Stream not found' }],
    ['/stream/proxy/manifest.json', 404, { error: 'Stream not found' }],
    [`/stream/${infohash}/0/Film.mp4`, 404, { error: 'Stream not found' }],
    [`/stream/${infohash}/0/skip=1.json`, 404, { error: 'Stream not found' }],
    ['/stream/magnet?uri=x', 404, { error: 'Stream not found' }],
    ['/manifest.json', 200, { id: 'community.self-streme' }],
    ['/stream/movie/tt0032138.json', 200, { streams: [] }],
    ['/stream/series/tt0386676:1:1/videoSize=1&filename=a.mkv.json', 200, { streams: [] }],
    ['/stream/movie/0/skip=1.json', 200, { streams: [] }],
    [`/stream/${infohash}/x/skip=1.json`, 200, { streams: [] }],
    ['/meta/movie/tt0032138.json', 404, { error: 'Not found' }],
    [`/${infohash}/0`, 404, { error: 'Stream not found' }],
    [`/${infohash}/-1`, 404, { error: 'Stream not found' }],
    [`/${infohash}/0/Film.mp4`, 404, { error: 'Stream not found' }],
    [`/${infohash}/create`, 404, { error: 'Stream not found' }],
    [`/${infohash.toUpperCase()}/stats.json`, 200, null],
    [`/${infohash}/0/stats.json`, 200, null],
    [`/${infohash}/remove`, 200, {}],
    ['/api/torrents', 200, { success: true, data: [] }],
    [`/api/torrents/${infohash}`, 404, { error: 'Torrent not found', infoHash: infohash }],
    [`/api/torrents/${infohash}/files`, 404, { error: 'Torrent not found' }],
    ['/health', 200, { status: 'ok' }],
    ['/ready', 200, { status: 'ok' }],
    ['/nothing/here/at/all', 404, { error: 'Not found' }],
    [`/${infohash.slice(1)}/0`, 404, { error: 'Not found' }]
  ] as const) {
    const response = await app.inject(url)
    t.equal(response.statusCode, status, url)
    t.match(response.json(), pattern, url)
  }
  for (const url of ['/', '/test-torrent-streaming']) {
    const page = await app.inject(url)
    t.equal(page.statusCode, 200, url)
    t.match(page.headers['content-type'], /^text\/html/, url)
  }
})
