import t from 'tap'
import { mapBounded } from '../../services/map-bounded.ts'
import { jsonFrom, startApp } from '../helper.ts'
import { lies, startLyingMirror, wrongPiece } from '../lying-mirror.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes } from '../testnet.ts'
import type { Lie } from '../lying-mirror.ts'

const PIECE = 65_536
const START_TIMEOUT_MS = 6000
/** Fifty pieces. The address guard is on: the mirrors are the operator's, what they redirect to is not. */
const film = testBytes(50 * PIECE, 'film')
const env = { HTTP_ALLOW_PRIVATE_NETWORKS: 'false', START_TIMEOUT: String(START_TIMEOUT_MS), RESPONSE_STALL_LIMIT: '4000', STALL_TIMEOUT: '2000' }

/** Reads a response to its end, if only a cut one, and the longest time in which nothing came. */
async function play (url: string, range: string): Promise<{ bytes: Buffer, silenceMs: number }> {
  let last = performance.now()
  let silenceMs = 0
  const chunks: Buffer[] = []
  const response = await fetch(url, { headers: { Range: range } })
  try {
    for await (const chunk of response.body ?? []) {
      silenceMs = Math.max(silenceMs, performance.now() - last)
      last = performance.now()
      chunks.push(Buffer.from(chunk))
    }
  } catch { /* too few bytes say so */ }
  return { bytes: Buffer.concat(chunks), silenceMs }
}

/** Several at a time: each has an app and mirrors of its own, and most of the time waits. */
async function forEachLie<T> (atATime: number, task: (lie: Lie) => Promise<T>): Promise<Array<[name: string, result: T]>> {
  return await mapBounded(Object.entries(lies), atATime, async ([name, lie]): Promise<[string, T]> => [name, await task(lie)])
}

t.test('beside one honest mirror each liar leaves the stream whole', { timeout: 60_000 }, async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: PIECE })
  const honest = await startMirror(t, torrent)
  const results = await forEachLie(4, async (lie) => {
    const liar = await startLyingMirror(t, torrent, lie)
    const { url } = await startApp(t, { ...env, TORRENT_METADATA_URLS: honest.metadataUrl, HTTP_MIRROR_URLS: `${liar.mirrorUrl},${honest.mirrorUrl}` })
    const whole = await play(`${url}/stream/proxy/${torrent.infohash}`, 'bytes=0-')
    return { ...whole, requests: liar.requests() }
  })
  for (const [name, { bytes, silenceMs, requests }] of results) {
    t.ok(film.equals(bytes), `${name}: longest silence ${Math.round(silenceMs)} ms, ${requests} requests to the liar`)
    t.ok(requests > 0, 'it was asked')
    t.ok(silenceMs < 4000, 'no longer than a player waits')
  }
})

t.test('and so it does where a player seeks to', { timeout: 60_000 }, async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: PIECE })
  const honest = await startMirror(t, torrent)
  const start = 40 * PIECE + 17
  const results = await forEachLie(4, async (lie) => {
    const liar = await startLyingMirror(t, torrent, lie)
    const { url } = await startApp(t, { ...env, TORRENT_METADATA_URLS: honest.metadataUrl, HTTP_MIRROR_URLS: `${liar.mirrorUrl},${honest.mirrorUrl}` })
    return await play(`${url}/stream/proxy/${torrent.infohash}`, `bytes=${start}-`)
  })
  for (const [name, { bytes, silenceMs }] of results) {
    t.ok(film.subarray(start).equals(bytes), `${name}: longest silence ${Math.round(silenceMs)} ms`)
    t.ok(silenceMs < 4000, 'no longer than a player waits')
  }
})

t.test('alone each plays, or there is a clear reason within the deadline', { timeout: 60_000 }, async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: PIECE })
  const honest = await startMirror(t, torrent)
  const results = await forEachLie(12, async (lie) => {
    const liar = await startLyingMirror(t, torrent, lie)
    const { url } = await startApp(t, { ...env, TORRENT_METADATA_URLS: honest.metadataUrl, HTTP_MIRROR_URLS: liar.mirrorUrl })
    const stream = `${url}/stream/proxy/${torrent.infohash}`
    if (lie.alone === 'plays') return { bytes: (await play(stream, 'bytes=0-')).bytes, host: '' }
    const good = lie.alone === 'stops' ? (await play(stream, `bytes=0-${5 * PIECE - 1}`)).bytes : null
    const since = performance.now()
    const { status, body } = await jsonFrom(stream, { headers: { Range: `bytes=${lie.alone === 'stops' ? wrongPiece * PIECE : 0}-` } })
    return { good, status, body, elapsedMs: performance.now() - since, host: new URL(liar.mirrorUrl).host }
  })
  for (const [name, result] of results) {
    if (result.bytes !== undefined) {
      t.ok(film.equals(result.bytes), `${name}: plays`)
      continue
    }
    if (result.good !== null) t.ok(film.subarray(0, 5 * PIECE).equals(result.good), `${name}: what is right plays`)
    const [reason] = result.body.reasons ?? []
    t.equal(result.status, 404, `${name}: ${reason?.code} ${reason?.message} after ${Math.round(result.elapsedMs)} ms`)
    t.equal(reason?.source, 'http-fallback')
    t.ok(reason?.code === 'HTTP_MIRRORS_FAILED' ? reason.message.includes(result.host) : reason?.code === 'START_TIMEOUT', 'it names the mirror')
    t.ok(result.elapsedMs < START_TIMEOUT_MS + 2000)
  }
})
