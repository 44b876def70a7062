import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'
import type { Test } from 'tap'
import type { MirrorChoices } from '../mirror.ts'

const first = testBytes(3_000_000, 'first')
const second = testBytes(12_000_000, 'second')
const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const MiB = 1 << 20

async function serve (t: Test, env: Record<string, string> = {}, choices: MirrorChoices = {}) {
  const torrent = await makeTorrent({ 'Show.S01E01.mkv': first, 'Show.S01E02.mkv': second, 'Show.S01E03.mkv': second.subarray(0, 100_000) }, { name: 'Show', pieceLength: 65_536 })
  const mirror = await startMirror(t, torrent, choices)
  const server = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, LINGER: '0', ...env })
  const preload = `${server.url}/api/torrents/${torrent.infohash}/preload`
  return {
    ...server,
    torrent,
    mirror,
    preload,
    stream: (index: number) => `${server.url}/stream/proxy/${torrent.infohash}?fileIndex=${index}`,
    post: async (body: object) => await jsonFrom(preload, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }),
    ended: async () => await until('the preload has ended', async () => {
      const { body } = await jsonFrom(preload)
      const [latest] = body.data.slice(-1)
      return latest?.endedAt === null || latest === undefined ? null : latest
    }),
    /** The ranges that were asked of this file. */
    asked: (index: number) => mirror.requests.filter((request) => request.startsWith(`/by-index/${torrent.infohash}/${index} `)).map((request) => {
      const [, start, end] = /bytes=(\d+)-(\d+)/.exec(request) ?? []
      return [Number(start), Number(end)] as const
    })
  }
}

t.test('the head and tail of the next episode are here before anybody asks for it, and little else', async (t) => {
  const { post, ended, asked, stream, mirror } = await serve(t)
  const { status, body } = await post({ fileIndex: 1 })
  t.equal(status, 202)
  t.match(body, { success: true, data: { fileIndex: 1, range: null, state: /waiting|running/, endedAt: null } })
  const preload = await ended()
  t.match(preload, { state: 'done', reason: null, fileIndex: 1 })
  t.equal(preload.loaded, preload.wanted)
  t.ok(preload.wanted >= 4 * MiB && preload.wanted < 4 * MiB + 4 * 65_536)
  t.notOk(asked(1).some(([start, end]) => start > 3 * MiB && end < second.length - 3 * MiB), 'nothing of the middle')

  const before = mirror.requests.length
  const head = await fetch(stream(1), { headers: { Range: `bytes=0-${2 * MiB - 1}` } })
  t.ok(second.subarray(0, 2 * MiB).equals(Buffer.from(await head.arrayBuffer())))
  const tail = await fetch(stream(1), { headers: { Range: `bytes=-${2 * MiB}` } })
  t.ok(second.subarray(-2 * MiB).equals(Buffer.from(await tail.arrayBuffer())))
  t.notOk(mirror.requests.slice(before).some((request) => / bytes=0-/.test(request)), 'the head did not come a second time')
  t.match((await post({ fileIndex: 1 })).body, { data: { state: /waiting|running/ } })
  t.match(await ended(), { state: 'done' })
})

t.test('a range, the default file, and what is here already', async (t) => {
  const { post, ended, stream, asked } = await serve(t)
  await post({ fileIndex: 1, range: { start: 5_000_000, end: 5_000_000 } })
  t.match(await ended(), { state: 'done', range: { start: 5_000_000, end: 5_000_000 }, wanted: 65_536, loaded: 65_536 })
  await post({})
  t.match(await ended(), { state: 'done', fileIndex: 1, range: null }, 'the largest video')
  await bytesFrom(stream(2))
  await until('it is in the cache', async () => (await fetch(stream(2), { method: 'HEAD' })).headers.get('x-stream-source') === 'cache')
  const before = asked(2).length
  await post({ fileIndex: 2 })
  t.match(await ended(), { state: 'done', reason: 'it is in the cache already' })
  t.equal(asked(2).length, before)
})

t.test('what cannot be preloaded says why', async (t) => {
  const { url, post, ended, preload } = await serve(t)
  await post({ fileIndex: 9 })
  t.match(await ended(), { state: 'failed', reason: /files 0 to 2/ })
  for (const body of [{ range: { start: 5, end: 4 } }, { range: { start: 0, end: 256_000_000 } }, { range: { start: -1, end: 4 } }, { what: 'all' }, { fileIndex: 'x' }]) {
    t.match(await post(body), { status: 400, body: { error: 'Bad request' } }, JSON.stringify(body))
  }
  t.match(await jsonFrom(`${url}/api/torrents/nonexistent/preload`, { method: 'POST' }), { status: 404, body: { error: 'Torrent not found' } })
  t.equal((await fetch(preload, { method: 'POST' })).status, 202, 'no body is the default')
  const alone = await startApp(t)
  await fetch(`${alone.url}/api/torrents/${infohash}/preload`, { method: 'POST' })
  await until('it has failed', async () => (await jsonFrom(`${alone.url}/api/torrents/${infohash}/preload`)).body.data[0].state === 'failed')
  t.match((await jsonFrom(`${alone.url}/api/torrents/${infohash}/preload`)).body.data, [{ state: 'failed', reason: /http-fallback/ }])
})

t.test('a preload that is cancelled asks for nothing more, and a bounded number waits', async (t) => {
  const gate = Promise.withResolvers<undefined>()
  t.teardown(() => { gate.resolve(undefined) })
  const { post, preload, ended } = await serve(t, { MAX_TORRENTS: '1' }, { before: async () => { await gate.promise } })
  for (let i = 0; i < 32; i++) t.equal((await post({ range: { start: i, end: i } })).status, 202)
  const { status, body } = await post({ range: { start: 99, end: 99 } })
  t.equal(status, 503)
  t.match(body, { message: /too many preloads/ })
  t.match((await jsonFrom(preload, { method: 'DELETE' })).body, { success: true, data: { cancelled: 32 } })
  t.match(await ended(), { state: 'cancelled' })
  await until('all have ended', async () => (await jsonFrom(preload)).body.data.every(({ state, endedAt }: { state: string, endedAt: string | null }) => state === 'cancelled' && endedAt !== null))
  t.match((await jsonFrom(preload, { method: 'DELETE' })).body, { data: { cancelled: 0 } })
})

t.test('deleting the torrent ends its preloads, too', async (t) => {
  const gate = Promise.withResolvers<undefined>()
  t.teardown(() => { gate.resolve(undefined) })
  const { post, url, torrent, ended } = await serve(t, {}, { before: async () => { await gate.promise } })
  await fetch(`${url}/api/torrents/${torrent.infohash}/subtitles`)
  await post({ fileIndex: 1 })
  t.equal((await fetch(`${url}/api/torrents/${torrent.infohash}`, { method: 'DELETE' })).status, 200)
  t.match(await ended(), { state: 'cancelled' })
})

t.test('a file that does not fit into the cache is not preloaded', async (t) => {
  const { post, ended } = await serve(t, { CACHE_MAX_DISK_MB: '5' })
  await post({ fileIndex: 1 })
  t.match(await ended(), { state: 'failed', reason: /does not fit/ })
})

t.test('when an episode was read to 90 % the next one is preloaded by itself, once', async (t) => {
  const { stream, preload, asked } = await serve(t)
  const count = async (): Promise<number> => (await jsonFrom(preload)).body.data.length
  await bytesFrom(stream(0), { Range: 'bytes=0-999999' })
  await bytesFrom(stream(0), { Range: 'bytes=-50000' })
  t.equal(await count(), 0, 'who looks at the index at the end has not watched it')
  await bytesFrom(stream(0), { Range: 'bytes=1000000-2799999' })
  await until('the next one is preloaded', async () => (await jsonFrom(preload)).body.data[0]?.state === 'done')
  t.match((await jsonFrom(preload)).body.data, [{ fileIndex: 1, range: null }])
  t.ok(asked(1).length > 0)
  await bytesFrom(stream(0), { Range: 'bytes=1000000-2999999' })
  t.equal(await count(), 1)
  t.notOk(asked(2).some(([start]) => start >= 65_536), 'the one after is not, but for the piece that reaches into it')
})

t.test('in cache-only mode nothing is preloaded by itself', async (t) => {
  const { directory, stream, torrent } = await serve(t)
  await bytesFrom(stream(0))
  await until('it is in the cache', async () => (await fetch(stream(0), { method: 'HEAD' })).headers.get('x-stream-source') === 'cache')
  const only = await startApp(t, { CACHE_READ_ONLY: 'true', CACHE_ONLY_MODE: 'true', TORRENT_DOWNLOAD_PATH: directory })
  t.equal((await bytesFrom(`${only.url}/stream/proxy/${torrent.infohash}?fileIndex=0`)).length, first.length)
  t.same((await jsonFrom(`${only.url}/api/torrents/${torrent.infohash}/preload`)).body.data, [])
})
