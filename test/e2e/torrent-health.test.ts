import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, startTracker, testBytes, until } from '../testnet.ts'
import type { TestApp } from '../helper.ts'

const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'

interface Source {
  readonly source: string
  readonly outlook: string
}

async function healthOf ({ url }: TestApp, hash: string, query = '') {
  const { status, body } = await jsonFrom(`${url}/api/torrents/${hash}/health${query}`)
  const outlooks = Object.fromEntries(body.data.sources.map(({ source, outlook }: Source) => [source, outlook]))
  return { status, data: body.data, outlooks }
}

t.test('seeds and peers are counted by the tracker, and nothing is started, joined or announced for it', async (t) => {
  const tracker = await startTracker(t)
  const hash = [...Buffer.from(infohash, 'hex')].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
  for (const [i, left] of [0, 0, 1].entries()) await fetch(`${tracker.url}?info_hash=${hash}&peer_id=-XX0001-00000000000${i}&port=${7000 + i}&uploaded=0&downloaded=0&left=${left}&compact=1&event=started`)
  const announced = tracker.events.length
  const server = await startApp(t, { ENABLE_P2P: 'true', TRACKERS: tracker.url, MAX_TORRENTS: '1' })
  await until('the swarm is ready', () => server.app.swarm?.status.state === 'ready')

  const { status, data, outlooks } = await healthOf(server, infohash)
  t.equal(status, 200)
  t.match(data, { infoHash: infohash, peers: 3, seeds: 2, peersFrom: 'trackers', isMetadataKnown: false, estimatedStart: 9, basis: /2 of them seeds; metadata has to come first/ })
  t.match(outlooks, { cache: 'no', mock: 'no', p2p: 'likely', 'http-fallback': 'unknown' })
  t.equal((await healthOf(server, infohash)).data.checkedAt, data.checkedAt, 'the same answer for a while')
  t.equal(server.app.torrents.list().length, 0)
  t.equal(tracker.events.length, announced)
  t.equal((await healthOf(server, infohash.replace('d', 'e'))).data.peers, 0)
})

t.test('nobody can be asked: null, not nought, and within its time', async (t) => {
  const server = await startApp(t, { ENABLE_P2P: 'true' })
  await until('the swarm is ready', () => server.app.swarm?.status.state === 'ready')
  const before = performance.now()
  const { data, outlooks } = await healthOf(server, infohash, `?tr=${encodeURIComponent('http://127.0.0.1:1/announce')}`)
  t.ok(performance.now() - before < 4000)
  t.match(data, { peers: null, seeds: null, peersFrom: null, estimatedStart: null, basis: 'nobody is known to have it' })
  t.match(outlooks, { p2p: 'unknown' })
})

t.test('what is in the cache, a test hash, and what is switched off', async (t) => {
  const server = await startApp(t, { CACHE_ONLY_MODE: 'true' })
  await mkdir(server.directory, { recursive: true })
  await writeFile(join(server.directory, `${infohash}.mp4`), testBytes(1_100_000, 'film'))
  const cached = await healthOf(server, infohash.toUpperCase())
  t.match(cached.data, { peers: null, estimatedStart: 0.1, basis: 'it is in the cache' })
  t.match(cached.outlooks, { cache: 'yes', p2p: 'no', 'http-fallback': 'no' })
  t.match((await healthOf(server, mockHash)).outlooks, { mock: 'yes' })
  t.match(await jsonFrom(`${server.url}/api/torrents/nonexistent/health`), { status: 404, body: { error: 'Torrent not found', infoHash: 'nonexistent' } })
})

t.test('a torrent with web seeds, and how long its start took last', async (t) => {
  const film = testBytes(400_000, 'film')
  const bare = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 65_536 })
  const mirror = await startMirror(t, bare)
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 65_536, webSeeds: [mirror.webSeed] })
  const { metadataUrl } = await startMirror(t, torrent)
  const server = await startApp(t, { TORRENT_METADATA_URLS: metadataUrl })
  const unknown = await healthOf(server, 'e'.repeat(40))
  t.match(unknown.data, { isMetadataKnown: false, estimatedStart: null })
  await fetch(`${server.url}/api/torrents/${torrent.infohash}/subtitles`)
  const response = await fetch(`${server.url}/stream/proxy/${torrent.infohash}`, { headers: { Range: 'bytes=0-9' } })
  t.equal(response.status, 206)
  await response.arrayBuffer()
  const { data, outlooks } = await healthOf(server, torrent.infohash)
  t.match(data, { isMetadataKnown: true, estimatedStart: Number })
  t.match(outlooks, { 'http-fallback': 'likely', p2p: 'no' })
})
