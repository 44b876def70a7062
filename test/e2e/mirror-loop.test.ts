import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer, request as httpRequest } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, temporaryDirectory, testBytes } from '../testnet.ts'
import type { Test } from 'tap'

/** Self-Stremes that have each other as mirrors. */

interface Door {
  readonly url: string
  /** `Via` of each request that came to it. */
  readonly requests: Array<string | undefined>
  /** Where it leads: a server that is not there yet when the door is made. */
  open (url: string): void
}

/** A forwarder that stands before a server, for the servers need each other's address before they start. */
async function makeDoor (t: Test): Promise<Door> {
  const requests: Array<string | undefined> = []
  let target = ''
  const server = createServer((request, response) => {
    requests.push(request.headers.via)
    const onward = httpRequest(`${target}${request.url ?? ''}`, { headers: request.headers, agent: false }, (reply) => {
      response.writeHead(reply.statusCode ?? 502, reply.headers)
      reply.on('error', () => { response.destroy() }).pipe(response)
    })
    onward.on('error', () => { response.destroy() })
    response.on('close', () => { onward.destroy() })
    onward.end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  const url = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
  return { url, requests, open: (url) => { target = url } }
}

function templateOf ({ url }: Door): string {
  return `${url}/stream/proxy/{hash}?fileIndex={index}`
}

const strict = { HTTP_ALLOW_PRIVATE_NETWORKS: 'false', SOURCE_HEDGE_DELAY: '0' }

t.test('two servers that have each other as mirrors and nothing else answer 404 soon, after few requests', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': testBytes(2_000_000, 'nobody has it') }, { pieceLength: 65_536 })
  const cache = await startMirror(t, torrent)
  const [doorA, doorB] = [await makeDoor(t), await makeDoor(t)]
  const a = await startApp(t, { ...strict, TORRENT_METADATA_URLS: cache.metadataUrl, HTTP_MIRROR_URLS: templateOf(doorB) })
  const b = await startApp(t, { ...strict, TORRENT_METADATA_URLS: cache.metadataUrl, HTTP_MIRROR_URLS: templateOf(doorA) })
  doorA.open(a.url)
  doorB.open(b.url)

  const startedAt = performance.now()
  const { status, body } = await jsonFrom(`${a.url}/stream/proxy/${torrent.infohash}`)
  const tookMs = performance.now() - startedAt
  t.equal(status, 404)
  t.match(body, { error: 'Stream not found', reasons: [{ source: 'http-fallback', code: 'HTTP_MIRRORS_FAILED' }] })
  t.ok(tookMs < 10_000, `${Math.round(tookMs)} ms`)
  t.ok(doorB.requests.length >= 1 && doorB.requests.length <= 20, `${doorB.requests.length} requests from A to B`)
  t.ok(doorA.requests.length >= 1 && doorA.requests.length <= 20, `${doorA.requests.length} requests from B to A`)
  t.ok(doorB.requests.every((via) => /^1\.1 self-streme-[0-9a-f]{8}/.test(via ?? '')))
  t.ok(doorA.requests.some((via) => /^1\.1 self-streme-[0-9a-f]{8}, 1\.1 self-streme-[0-9a-f]{8}$/.test(via ?? '')))

  a.app.sources.forgetFailures(torrent.infohash)
  const looped = await jsonFrom(`${a.url}/stream/proxy/${torrent.infohash}`, { headers: { Via: doorA.requests[0] ?? '' } })
  t.equal(looped.status, 404)
  t.match(looped.body, { reasons: [{ source: 'http-fallback', code: 'HTTP_LOOP', message: /servers have each other as mirrors/, isTemporary: false }] })
})

t.test('both asked at the same time end, too', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': testBytes(500_000, 'nor this') })
  const cache = await startMirror(t, torrent)
  const [doorA, doorB] = [await makeDoor(t), await makeDoor(t)]
  const env = { ...strict, TORRENT_METADATA_URLS: cache.metadataUrl, START_TIMEOUT: '4000' }
  const a = await startApp(t, { ...env, HTTP_MIRROR_URLS: templateOf(doorB) })
  const b = await startApp(t, { ...env, HTTP_MIRROR_URLS: templateOf(doorA) })
  doorA.open(a.url)
  doorB.open(b.url)
  const answers = await Promise.all([a, b].map(async ({ url }) => await jsonFrom(`${url}/stream/proxy/${torrent.infohash}`)))
  t.strictSame(answers.map(({ status }) => status), [404, 404])
  t.ok(doorA.requests.length + doorB.requests.length <= 40, `${doorA.requests.length} and ${doorB.requests.length} requests`)
})

t.test('a server that has the other as a mirror plays what that one has in its cache', async (t) => {
  const film = testBytes(3_000_123, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 65_536 })
  const cache = await startMirror(t, torrent)
  const [doorA, doorB] = [await makeDoor(t), await makeDoor(t)]
  const directory = join(await temporaryDirectory(t), 'cache')
  await mkdir(join(directory, '.self-streme', 'torrents'), { recursive: true })
  await writeFile(join(directory, '.self-streme', 'torrents', `${torrent.infohash}.torrent`), torrent.torrent)
  await writeFile(join(directory, `${torrent.infohash}-Film.mp4`), film)
  const a = await startApp(t, { ...strict, TORRENT_METADATA_URLS: cache.metadataUrl, HTTP_MIRROR_URLS: templateOf(doorB) })
  const b = await startApp(t, { ...strict, TORRENT_METADATA_URLS: cache.metadataUrl, HTTP_MIRROR_URLS: templateOf(doorA), TORRENT_DOWNLOAD_PATH: directory })
  doorA.open(a.url)
  doorB.open(b.url)
  t.ok(film.equals(await bytesFrom(`${a.url}/stream/proxy/${torrent.infohash}`)))
  t.strictSame(doorA.requests, [])
})

t.test('what only one of the two can download plays from the other', async (t) => {
  const film = testBytes(3_000_123, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 65_536 })
  const mirror = await startMirror(t, torrent)
  const [doorA, doorB] = [await makeDoor(t), await makeDoor(t)]
  const a = await startApp(t, { ...strict, TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: templateOf(doorB) })
  const b = await startApp(t, { ...strict, TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: `${templateOf(doorA)},${mirror.mirrorUrl}` })
  doorA.open(a.url)
  doorB.open(b.url)
  t.ok(film.equals(await bytesFrom(`${a.url}/stream/proxy/${torrent.infohash}`)))
})
