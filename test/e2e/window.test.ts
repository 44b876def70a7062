import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'

const MB = 1_000_000

/** Bytes of all files below, by st_size, as a panel counts. */
function bytesBelow (directory: string): number {
  let bytes = 0
  for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) bytes += statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0
  }
  return bytes
}

/** Looks at the directory every 20 ms until the test is over. */
function watch (t: Test, directory: string): { readonly mostBytes: number } {
  const seen = { mostBytes: 0 }
  const look = () => {
    // A file that goes away between two looks into one directory is no finding.
    try { seen.mostBytes = Math.max(seen.mostBytes, bytesBelow(directory)) } catch {}
  }
  const timer = setInterval(look, 20)
  t.teardown(() => { clearInterval(timer) })
  return seen
}

const edgesBelow = (directory: string, infohash: string) => readdirSync(join(directory, '.self-streme', 'partial', infohash, 'edges'))

for (const accounting of ['apparent', 'allocated']) {
  t.test(`a film of 60 MB plays to its end in a cache of 16 MB (${accounting}), seeks work, and the disk never holds more`, async (t) => {
    const film = testBytes(60 * MB, 'film')
    const torrent = await makeTorrent({ 'Film.mp4': film, 'Film.srt': testBytes(50_000, 'srt') }, { pieceLength: 262_144 })
    const mirror = await startMirror(t, torrent)
    const { app, url, directory } = await startApp(t, {
      TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, CACHE_MAX_DISK_MB: '16', CACHE_MIN_FREE_MB: '0', CACHE_ACCOUNTING: accounting
    })
    const seen = watch(t, directory)
    const address = `${url}/stream/proxy/${torrent.infohash}`

    const response = await fetch(address)
    t.equal(response.status, 200)
    t.match(Object.fromEntries(response.headers), { 'x-stream-source': 'http-fallback', 'x-stream-verified': 'true', etag: `"${torrent.infohash}-0"`, 'content-length': `${film.length}` })
    t.ok(film.equals(Buffer.from(await response.arrayBuffer())))
    const asked = mirror.requests.length

    for (const start of [0, film.length - 100_000, 20 * MB, 19 * MB, 40 * MB, 5]) {
      const end = Math.min(film.length - 1, start + 3 * MB)
      t.ok(film.subarray(start, end + 1).equals(await bytesFrom(address, { Range: `bytes=${start}-${end}` })), `from ${start}`)
    }
    t.ok(mirror.requests.length > asked, 'what was dropped is fetched again')

    await Promise.all([0, 30 * MB, 50 * MB].map(async (start) => {
      t.ok(film.subarray(start, start + 8 * MB).equals(await bytesFrom(address, { Range: `bytes=${start}-${start + 8 * MB - 1}` })), `three at a time, from ${start}`)
    }))
    t.ok(testBytes(50_000, 'srt').equals(await bytesFrom(`${address}?fileIndex=1`)), 'a small neighbour')
    t.ok(seen.mostBytes <= 16 * MB, `${seen.mostBytes} bytes at most`)
    t.ok(seen.mostBytes > 2 * MB)

    const { body } = await jsonFrom(`${url}/api/torrents/${torrent.infohash}`)
    t.not(body.data.status, 'cached')
    await until('nothing of the window is left', () => edgesBelow(directory, torrent.infohash).length <= 1)
    t.equal(readdirSync(directory).some((name) => name.includes('Film.mp4')), false, 'it is not promoted')
    await app.close()
  })
}

t.test('a player that leaves in the middle takes its window with it', async (t) => {
  const film = testBytes(20 * MB, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 65_536 })
  const mirror = await startMirror(t, torrent)
  const { app, url, directory } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, CACHE_MAX_DISK_MB: '8', CACHE_MIN_FREE_MB: '0', CACHE_ACCOUNTING: 'apparent' })
  for (let i = 0; i < 5; i++) {
    const leaves = new AbortController()
    const response = await fetch(`${url}/stream/proxy/${torrent.infohash}`, { headers: { Range: `bytes=${i * 3 * MB}-` }, signal: leaves.signal })
    const reader = response.body?.getReader()
    await reader?.read()
    leaves.abort()
    await reader?.read().catch(() => {})
  }
  await until('nothing is left', () => edgesBelow(directory, torrent.infohash).length === 0)
  const store = app.torrents.get(torrent.infohash)?.store
  t.match(store?.counters(), { waiters: 0, seats: 0, piecesInMemory: 0 })
  t.equal(store?.verifiedCount, 0)
  await pause(300)
  const asked = mirror.requests.length
  await pause(300)
  t.equal(mirror.requests.length, asked, 'nothing is fetched for nobody')
})

t.test('more players than there is room for: the last gets 503 and comes back', async (t) => {
  const film = testBytes(20 * MB, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 1 << 20 })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, CACHE_MAX_DISK_MB: '5', CACHE_MIN_FREE_MB: '0', CACHE_ACCOUNTING: 'apparent' })
  const address = `${url}/stream/proxy/${torrent.infohash}`
  const leave = new AbortController()
  const players = []
  for (const start of [0, 8 * MB]) {
    const response = await fetch(address, { headers: { Range: `bytes=${start}-` }, signal: leave.signal })
    t.equal(response.status, 206)
    players.push(response)
  }
  const refused = await fetch(address, { headers: { Range: 'bytes=15000000-' } })
  t.equal(refused.status, 503)
  t.ok(Number(refused.headers.get('retry-after')) > 0)
  t.match(await refused.json(), { reasons: [{ source: 'http-fallback', code: 'NO_ROOM' }] })
  leave.abort()
  await until('there is room again', async () => {
    const again = await fetch(address, { headers: { Range: 'bytes=15000000-15999999' } })
    const bytes = Buffer.from(await again.arrayBuffer())
    return again.status === 206 && bytes.equals(film.subarray(15 * MB, 16 * MB))
  })
})
