import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parseExposition } from '../exposition.ts'
import { bytesFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'
import type { Family } from '../exposition.ts'

const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'
const nobodys = '9f'.repeat(20)

async function scrape (url: string): Promise<Map<string, Family>> {
  const response = await fetch(`${url}/metrics`)
  if (response.headers.get('content-type') !== 'text/plain; version=0.0.4; charset=utf-8') throw new Error(`content type ${response.headers.get('content-type')}`)
  if (response.headers.get('cache-control') !== 'no-store') throw new Error('it may be kept')
  return parseExposition(await response.text())
}

/** The value of the sample with these labels; null: there is none. */
function valueOf (families: Map<string, Family>, name: string, labels: Record<string, string> = {}): number | null {
  const family = families.get(name) ?? families.get(name.replace(/_(?:count|sum|bucket)$/, ''))
  const sample = family?.samples.find((each) => each.name === name && Object.entries(labels).every(([label, text]) => each.labels[label] === text))
  return sample?.value ?? null
}

t.test('a strict reader understands all of it, and refuses what is wrong', async (t) => {
  const { url } = await startApp(t, { ENABLE_P2P: 'true' })
  const families = await scrape(url)
  t.ok(families.size > 30, `${families.size} metrics`)
  for (const wrong of ['a 1\n', '# HELP a b\n# TYPE a gauge\na 1', '# HELP a b\n# TYPE a gauge\na 1\na 2\n', '# HELP a b\n# TYPE a counter\na 1\n', '# HELP a_total b\n# TYPE a_total counter\na_total -1\n', '# HELP a b\n# TYPE a gauge\na{b="c} 1\n', '# HELP a b\n# TYPE a gauge\nb 1\n', '# TYPE a gauge\na 1\n', '# HELP h x\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n']) {
    t.throws(() => parseExposition(wrong), wrong)
  }
})

t.test('an idle server tells zeros for what may come, and what it is', async (t) => {
  const { url } = await startApp(t)
  const families = await scrape(url)
  for (const source of ['cache', 'mock', 'http-fallback']) {
    t.equal(valueOf(families, 'self_streme_streams_open', { source }), 0)
    t.equal(valueOf(families, 'self_streme_stream_bytes_total', { source }), 0)
  }
  t.equal(valueOf(families, 'self_streme_cache_limit_bytes'), 20_000_000_000)
  t.equal(valueOf(families, 'self_streme_ready', { status: 'ok' }), 1)
  t.equal(valueOf(families, 'self_streme_ready', { status: 'unavailable' }), 0)
  t.equal(valueOf(families, 'self_streme_info', { version: '0.1.0', node: process.versions.node }), 1)
  t.ok((valueOf(families, 'process_resident_memory_bytes') ?? 0) > 10_000_000)
  t.ok((valueOf(families, 'process_open_fds') ?? 1) > 0)
  t.notOk([...families.keys()].some((name) => name.startsWith('self_streme_swarm')), 'P2P is off')
})

t.test('streams are counted by the source that served them, and failures by their reason', async (t) => {
  const torrent = await makeTorrent({ 'film.mp4': testBytes(2_000_000, 'metrics') })
  const mirror = await startMirror(t, torrent)
  const { url, directory } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, SOURCE_HEDGE_DELAY: '50' })
  const placed = 'b'.repeat(40)
  await writeFile(join(directory, `${placed}.mp4`), testBytes(1_500_000, 'placed'))

  await bytesFrom(`${url}/stream/proxy/${mockHash}`, { Range: 'bytes=0-999' })
  await bytesFrom(`${url}/stream/proxy/${placed}`)
  t.ok((await bytesFrom(`${url}/stream/proxy/${torrent.infohash}`)).equals(testBytes(2_000_000, 'metrics')))
  t.equal((await fetch(`${url}/stream/proxy/${nobodys}`)).status, 404)

  const families = await until('all of them have ended', async () => {
    const found = await scrape(url)
    return valueOf(found, 'self_streme_responses_total', { outcome: 'complete' }) === 3 ? found : null
  })
  const expected: Array<[name: string, labels: Record<string, string>, value: number]> = [
    ['self_streme_starts_total', { source: 'mock' }, 1],
    ['self_streme_starts_total', { source: 'cache' }, 1],
    ['self_streme_starts_total', { source: 'http-fallback' }, 1],
    ['self_streme_starts_failed_total', {}, 1],
    ['self_streme_refusals_total', { source: 'http-fallback', code: 'METADATA_NOT_FOUND' }, 1],
    ['self_streme_stream_bytes_total', { source: 'mock' }, 1000],
    ['self_streme_stream_bytes_total', { source: 'cache' }, 1_500_000],
    ['self_streme_stream_bytes_total', { source: 'http-fallback' }, 2_000_000],
    ['self_streme_streams_open', { source: 'http-fallback' }, 0],
    ['self_streme_cache_requests_total', { result: 'hit' }, 1],
    ['self_streme_cache_requests_total', { result: 'miss' }, 2],
    ['self_streme_first_byte_seconds_count', { source: 'http-fallback' }, 1],
    ['self_streme_pieces_verified_total', {}, Math.ceil(2_000_000 / 16_384)],
    ['self_streme_pieces_rejected_total', {}, 0]
  ]
  for (const [name, labels, value] of expected) t.equal(valueOf(families, name, labels), value, `${name} ${JSON.stringify(labels)}`)
  const host = new URL(mirror.webSeed).host
  t.ok((valueOf(families, 'self_streme_mirror_speed_bytes_per_second', { mirror: host }) ?? 0) > 0)
  t.ok((valueOf(families, 'self_streme_cache_bytes') ?? 0) >= 2_000_000)
})

t.test('a mirror that lies and one that stalls can be seen, and only mirrors of the operator are named', async (t) => {
  const { app, url } = await startApp(t, { HTTP_MIRROR_URLS: 'http://nas.example:8080/secret-path/{hash}', WEBTOR_URL: 'http://webtor.example/key' })
  for (let i = 0; i < 150; i++) app.mirrorScores.of(`seed${i}.example`).lies = 1
  app.mirrorScores.of('seed3.example').bytesPerSecond = 7
  app.mirrorScores.of('nas.example:8080').failures = 4
  app.mirrorScores.wrongPieces = 9
  const stream = app.history.begin(nobodys, null, { start: 0, end: 99 })
  stream.engaged('p2p', 0)
  stream.waited('p2p', 3000)
  stream.waited(null, 700)
  stream.waited('p2p', 100)
  stream.lost('p2p', 0, 'STALLED', 'nothing came')
  const families = await scrape(url)
  t.same(families.get('self_streme_mirror_lies')?.samples.map(({ labels, value }) => [labels['mirror'], value]), [['nas.example:8080', 0], ['webtor.example', 0], ['others', 150]])
  t.equal(valueOf(families, 'self_streme_mirror_failures', { mirror: 'nas.example:8080' }), 4)
  t.equal(valueOf(families, 'self_streme_mirror_speed_bytes_per_second', { mirror: 'others' }), 7)
  t.equal(valueOf(families, 'self_streme_pieces_rejected_total', { source: 'http-fallback' }), 9)
  t.equal(valueOf(families, 'self_streme_streams_open', { source: 'p2p' }), 1)
  t.equal(valueOf(families, 'self_streme_stall_seconds_sum', { cause: 'p2p' }), 3)
  t.equal(valueOf(families, 'self_streme_stall_seconds_count', { cause: 'change' }), 1)
  t.equal(valueOf(families, 'self_streme_source_losses_total', { source: 'p2p', code: 'STALLED' }), 1)
})

t.test('nothing in it tells what is watched, or by whom', async (t) => {
  const { url } = await startApp(t, { SOURCE_HEDGE_DELAY: '50', API_TOKEN: 'top-secret' })
  await fetch(`${url}/stream/proxy/${nobodys}`)
  t.equal((await fetch(`${url}/metrics`)).status, 401)
  const text = await (await fetch(`${url}/metrics`, { headers: { Authorization: 'Bearer top-secret' } })).text()
  t.match(text, /self_streme_info/)
  t.notMatch(text, /[0-9a-f]{40}|127\.0\.0\.1|top-secret/)
})

t.test('the swarm is in it: its state, its peers, the kind of NAT', async (t) => {
  const { app, url } = await startApp(t, { ENABLE_P2P: 'true' })
  await app.swarm?.ready(AbortSignal.timeout(20_000))
  const families = await scrape(url)
  t.equal(valueOf(families, 'self_streme_swarm_state', { state: 'ready' }), 1)
  t.equal(valueOf(families, 'self_streme_swarm_peers', { state: 'connected' }), 0)
  t.equal(families.get('self_streme_nat')?.samples.length, 7)
  t.equal(families.get('self_streme_nat')?.samples.reduce((sum, { value }) => sum + value, 0), 1, 'one verdict')
})

t.test('a disk that does not answer leaves its figures out, and the rest is there', async (t) => {
  const { app, url } = await startApp(t)
  app.budget.totals = async () => { throw new Error('EIO') }
  const families = await scrape(url)
  t.equal(valueOf(families, 'self_streme_cache_bytes'), null)
  t.equal(valueOf(families, 'self_streme_torrents_running'), 0)
})

t.test('the Grafana dashboard asks for metrics that there are', async (t) => {
  const names = await namesOnDashboard(t)
  const { url } = await startApp(t, { ENABLE_P2P: 'true' })
  const families = await scrape(url)
  t.ok(names.size > 15, `${names.size} metrics on it`)
  for (const name of names) t.ok(families.has(name) || families.get(name.replace(/_(?:bucket|sum|count)$/, ''))?.type === 'histogram', name)
})

async function namesOnDashboard (t: Test): Promise<Set<string>> {
  const dashboard = JSON.parse(await readFile(new URL('../../deploy/grafana-dashboard.json', import.meta.url), 'utf8'))
  t.match(dashboard, { title: 'Self-Streme', panels: Array })
  const names = new Set<string>()
  for (const { targets = [], title } of dashboard.panels) {
    t.ok(title)
    for (const { expr } of targets) for (const [name] of String(expr).matchAll(/\b(?:self_streme|process|nodejs)_[a-z0-9_]+/g)) names.add(name)
  }
  return names
}
