import { once } from 'node:events'
import { connect } from 'node:net'
import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { followEvents } from '../event-client.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'

const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'
const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'

async function add (url: string, infoHash: string): Promise<void> {
  await jsonFrom(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash }) })
}

t.test('a download can be watched from the moment it is added until it is cached and removed', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': testBytes(3_000_000, 'film') })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const events = await followEvents(t, `${url}/api/events`)
  t.match(events.response.headers, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store, no-transform',
    'x-accel-buffering': 'no',
    'x-request-id': String
  })
  t.equal(events.response.headers['content-encoding'], undefined)
  await events.next(({ type }) => type === 'ready')
  await add(url, torrent.infohash)
  for (const type of ['added', 'start', 'started', 'cache']) t.match((await events.next((event) => event.type === type)).data, { infoHash: torrent.infohash, at: /^\d{4}-.*Z$/ }, type)
  const { data } = await events.next(({ type, data }) => type === 'progress' && data.cached)
  const { at, ...shown } = data
  const { body } = await jsonFrom(`${url}/api/torrents`)
  t.same(Object.keys(shown).sort(), Object.keys(body.data[0]).sort(), 'it is an entry of the list')
  t.match(shown, { infoHash: torrent.infohash, name: 'Film.mp4', status: 'cached', progress: 1, streamUrl: `/stream/proxy/${torrent.infohash}` })
  await jsonFrom(`${url}/api/torrents/${torrent.infohash}?deleteFiles=true`, { method: 'DELETE' })
  await events.next(({ type }) => type === 'removed')
  const ids = events.events.map(({ id }) => Number(id.split('-')[1]))
  t.same(ids, [...ids].sort((a, b) => a - b), 'their ids grow')
})

t.test('every event is as the description says, that of the network too', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': testBytes(3_000_000, 'film') })
  const mirror = await startMirror(t, torrent)
  const { url, app } = await startApp(t, { ENABLE_P2P: 'true', P2P_TIMEOUT: '1000', TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const spec = (await jsonFrom(`${url}/openapi.json`)).body
  const fresh = await followEvents(t, `${url}/api/events`)
  const { id } = await fresh.next(({ type }) => type === 'ready')
  const lost = await followEvents(t, `${url}/api/events?lastEventId=nonsense`)
  // What the swarm has told before anybody could follow comes, too.
  const events = await followEvents(t, `${url}/api/events?lastEventId=${id.replace(/\d+$/, '0')}`)
  await events.next(({ type }) => type === 'network')
  await add(url, torrent.infohash)
  await events.next(({ type, data }) => type === 'progress' && data.cached)
  await jsonFrom(`${url}/api/cache/${torrent.infohash}/pin`, { method: 'POST' })
  await jsonFrom(`${url}/api/cache/${torrent.infohash}/pin`, { method: 'DELETE' })
  await jsonFrom(`${url}/api/torrents/${torrent.infohash}?deleteFiles=true`, { method: 'DELETE' })
  await bytesFrom(`${url}/stream/proxy/${infohash}`)
  app.history.begin(infohash, null, { start: 0, end: 9 }).lost('p2p', 3, 'STALLED', 'no peer')
  app.history.begin(infohash, null, { start: 0, end: 9 }).waited(null, 1000)
  await events.next(({ type }) => type === 'stall')
  const ajv = new Ajv2020({ strict: false })
  const seen = [...fresh.events, ...events.events, ...lost.events]
  for (const { type, data } of seen) {
    const schema = spec.components.schemas.Events.properties[type]
    t.ok(schema, type)
    const check = ajv.compile(schema)
    t.ok(check(data), `${type}: ${ajv.errorsText(check.errors)}`)
  }
  t.same([...new Set(seen.map(({ type }) => type))].sort(), Object.keys(spec.components.schemas.Events.properties).sort(), 'each was seen')
})

t.test('a response tells which source serves it, and how it ended', async (t) => {
  const { url } = await startApp(t)
  const events = await followEvents(t, `${url}/api/torrents/${mockHash}/events`)
  const other = await followEvents(t, `${url}/api/torrents/${infohash}/events`)
  await bytesFrom(`${url}/stream/proxy/${mockHash}`)
  t.match((await events.next(({ type }) => type === 'started')).data, { source: 'mock' })
  t.match((await events.next(({ type }) => type === 'source')).data, { source: 'mock', position: 0 })
  t.match((await events.next(({ type }) => type === 'end')).data, { outcome: 'complete', deliveredBytes: 2_097_152 })
  t.same(other.events.map(({ type }) => type), ['ready'], 'who follows another torrent hears nothing of it')
  t.equal((await jsonFrom(`${url}/api/torrents/nonsense/events`)).status, 404)
})

t.test('who was cut off gets what it missed, and who asked for a list what came after that', async (t) => {
  const { url } = await startApp(t)
  const first = await followEvents(t, `${url}/api/events`)
  await add(url, infohash)
  const { id } = await first.next(({ type }) => type === 'added')
  const { lastEventId } = (await jsonFrom(`${url}/api/torrents`)).body
  first.close()
  await bytesFrom(`${url}/stream/proxy/${mockHash}`)
  for (const [name, address, headers] of [
    ['by header', `${url}/api/events`, { 'Last-Event-ID': id }],
    ['by query', `${url}/api/events?lastEventId=${lastEventId}`, {}],
    ['a header counts more than the address that it was opened with', `${url}/api/events?lastEventId=nonsense`, { 'Last-Event-ID': id }]
  ] as const) {
    const events = await followEvents(t, address, headers)
    t.match((await events.next(({ type }) => type === 'started')).data, { infoHash: mockHash }, name)
    t.notOk(events.events.some(({ type }) => type === 'reset' || type === 'ready' || type === 'added'), name)
    events.close()
  }
  const lost = await followEvents(t, `${url}/api/events`, { 'Last-Event-ID': '00000000-7' })
  await lost.next(({ type }) => type === 'reset')
  t.match(await jsonFrom(`${url}/api/events?lastEventId=${'x'.repeat(41)}`), { status: 400, body: { details: [{ field: 'lastEventId' }] } })
})

t.test('a client that does not read is cut off and its memory given back, while another hears everything', async (t) => {
  const { app, url } = await startApp(t)
  const quick = await followEvents(t, `${url}/api/events`)
  const slow = connect(Number(new URL(url).port), '127.0.0.1')
  t.teardown(() => { slow.destroy() })
  slow.on('error', () => {})
  slow.write('GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n')
  await once(slow, 'readable')
  await until('both follow', () => app.live.size === 2)
  const text = 'x'.repeat(60_000)
  let n = 0
  await until('it is dropped', async () => {
    // No faster than the other one reads.
    app.live.publish({ type: 'test', infohash: null, data: { n: ++n, text } })
    await quick.next(({ data }) => data.n === n)
    return app.live.dropped === 1
  })
  t.equal(app.live.size, 1)
  t.ok(n < 400, `dropped after ${n} events of 60 kB`)
  t.equal(quick.events.filter(({ type }) => type === 'test').length, n)
})

t.test('so many may follow, the next one is told to come back later', async (t) => {
  const { app, url } = await startApp(t)
  const idle = { bufferedBytes: 0, write () {}, end () {}, destroy () {} }
  while (app.live.follow({ ...idle }, { infohash: null, lastEventId: null }) !== null);
  const { status, headers, body } = await jsonFrom(`${url}/api/events`)
  t.equal(status, 503)
  t.match(body, { error: 'Service unavailable', message: /too many clients follow/, requestId: String })
  t.ok(Number(headers.get('retry-after')) > 0)
})

t.test('a client that leaves is forgotten, and the server stops at once while others follow', async (t) => {
  const { app, url } = await startApp(t)
  const first = await followEvents(t, `${url}/api/events`)
  const second = await followEvents(t, `${url}/api/events`)
  first.close()
  await until('it is forgotten', () => app.live.size === 1)
  const startedAt = performance.now()
  await app.close()
  await second.ended
  t.ok(performance.now() - startedAt < 2000)
  t.equal(app.live.size, 0)
})
