import { readdir } from 'node:fs/promises'
import { request } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { readChecked } from '../../checked-read.ts'
import { bytesFrom, startApp } from '../../helper.ts'
import type { TestApp } from '../../helper.ts'
import { startMirror } from '../../mirror.ts'
import { seededRandom } from '../../services/pieces/torrent.ts'
import type { Random } from '../../services/pieces/torrent.ts'
import { amount, seedOf, tellFigure } from '../../soak.ts'
import { makeTorrent, testBytes, until } from '../../testnet.ts'
import type { TestTorrent } from '../../testnet.ts'
import type { EventEmitter } from 'node:events'
import type { Test } from 'tap'

const aborts = amount('SOAK_ABORTS', 1000)
/** Viewers that are there at a time: a browser's player opens six, and there are several browsers. */
const atOnce = 25
const pieceLength = 16_384

/** Everything that a viewer who left could leave behind. */
interface Gauge {
  readonly listeners: number
  readonly demands: number
  readonly wantedRanges: number
  readonly waiters: number
  readonly timers: number
  readonly files: number
}

async function gauge ({ app }: TestApp, infohash: string): Promise<Gauge> {
  const torrent = app.torrents.get(infohash)
  const fillers = torrent?.fillers ?? []
  const emitters = [torrent, torrent?.store, ...fillers.map(({ demand }) => demand), app.swarm].filter((emitter) => emitter != null)
  return {
    listeners: emitters.reduce((sum, emitter) => sum + listenersOf(emitter), 0),
    demands: fillers.reduce((sum, { demand }) => sum + demand.size, 0),
    wantedRanges: fillers.reduce((sum, { demand }) => sum + demand.ranges().length, 0),
    waiters: torrent?.store?.counters().waiters ?? 0,
    timers: process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length,
    files: (await readdir('/proc/self/fd')).length
  }
}

/** The gauge before the storm, with room for the clocks and connections of the sources themselves, which come and go. */
async function quiet (server: TestApp, infohash: string): Promise<Gauge> {
  const { timers, files, ...others } = await gauge(server, infohash)
  return { ...others, timers: timers + 5, files: files + 5 }
}

function listenersOf (emitter: Pick<EventEmitter, 'eventNames' | 'listenerCount'>): number {
  return emitter.eventNames().reduce((sum, name) => sum + emitter.listenerCount(name), 0)
}

/** Opens `aborts` ranges at random places and leaves each at a random moment: before an answer, at its head, in its body. */
async function storm (url: string, lengthBytes: number, random: Random): Promise<void> {
  let left = aborts
  await Promise.all(Array.from({ length: atOnce }, async () => {
    while (left-- > 0) {
      const asked = request(url, { headers: { Range: `bytes=${random(lengthBytes)}-` }, agent: false })
      asked.on('error', () => {})
      asked.on('response', (response) => { response.on('error', () => {}).resume() })
      const closed = new Promise<void>(resolve => { asked.once('close', () => { resolve() }) })
      asked.end()
      await Promise.race([closed, wait(random(25))])
      asked.destroy()
      await closed
    }
  }))
}

/** After the storm everything is as before it, within a second. */
async function calm (t: Test, server: TestApp, infohash: string, before: Gauge): Promise<void> {
  const startedAt = performance.now()
  let now = await gauge(server, infohash)
  const isCalm = (): boolean => Object.entries(before).every(([name, value]) => Object.entries(now).some(([key, found]) => key === name && found <= value))
  // Nothing tells when a count is down, so it is looked at.
  await until('all is as before', async () => {
    now = await gauge(server, infohash)
    return isCalm()
  }, 1000).catch(() => {})
  t.ok(isCalm(), `within ${Math.round(performance.now() - startedAt)} ms all is as before: ${JSON.stringify(before)}, now ${JSON.stringify(now)}`)
}

/** Reads a cached file over and over while the storm goes on; gives the bytes that were read and the longest wait between two chunks. */
function playMeanwhile (url: string, bytes: Buffer): () => Promise<{ compared: number, longestWaitMs: number }> {
  const stop = { isOver: false }
  let compared = 0
  let longestWaitMs = 0
  const playing = (async () => {
    while (!stop.isOver) {
      let lastAt = performance.now()
      await readChecked(url, bytes, {
        start: 0,
        end: bytes.length - 1,
        signal: AbortSignal.timeout(30_000),
        onBytes: (count) => {
          compared += count
          longestWaitMs = Math.max(longestWaitMs, performance.now() - lastAt)
          lastAt = performance.now()
        }
      })
    }
  })()
  return async () => {
    stop.isOver = true
    await playing
    return { compared, longestWaitMs }
  }
}

/** A torrent whose file is in the cache already. */
async function cachedTorrent (): Promise<TestTorrent> {
  return await makeTorrent({ 'cached.mkv': testBytes(3_000_000, 'cached') }, { pieceLength })
}

t.test(`${aborts} ranges that are opened and left on a torrent without peers -> nothing stays behind`, { timeout: 100_000 + aborts * 20 }, async (t) => {
  const random = seededRandom(seedOf(t))
  const cached = await cachedTorrent()
  const mirror = await startMirror(t, cached)
  const server = await startApp(t, { ENABLE_P2P: 'true', HTTP_MIRROR_URLS: mirror.mirrorUrl, TORRENT_METADATA_URLS: mirror.metadataUrl, SOURCE_HEDGE_DELAY: '200' })
  const cachedUrl = `${server.url}/stream/proxy/${cached.infohash}`
  const cachedBytes = cached.files[0]?.bytes ?? Buffer.alloc(0)
  t.ok(cachedBytes.equals(await bytesFrom(cachedUrl)), 'a file is cached')
  await until('it is stored', () => server.app.stored.list().length > 0)
  const unknown = testBytes(20, 'nobody has it').toString('hex')
  const url = `${server.url}/stream/proxy/${unknown}`
  await leaveAtOnce(url, 0)
  await until('the torrent has begun', () => server.app.torrents.get(unknown)?.fillers.length)
  await wait(1000)
  const before = await quiet(server, unknown)
  const stop = playMeanwhile(cachedUrl, cachedBytes)
  const startedAt = performance.now()
  await storm(url, 1_000_000, random)
  const ms = performance.now() - startedAt
  const { compared, longestWaitMs } = await stop()
  await calm(t, server, unknown, before)
  tellFigure(t, 'aborts, no peers', `${aborts} in ${Math.round(ms)} ms; a cached stream meanwhile: ${Math.round(compared / ms / 1000)} MB/s, longest wait ${Math.round(longestWaitMs)} ms`)
  // Both ends of a thousand connections are in this process: what is slow here is not only the server.
  t.ok(compared >= cachedBytes.length && longestWaitMs < 10_000, `a cached stream went on meanwhile, and waited ${Math.round(longestWaitMs)} ms at most`)
})

t.test(`${aborts} ranges that are opened and left on a half-filled file -> nothing stays behind, and the rest still comes`, { timeout: 100_000 + aborts * 20 }, async (t) => {
  const random = seededRandom(seedOf(t))
  const torrent = await makeTorrent({ 'film.mkv': testBytes(4_000_000, 'half') }, { pieceLength })
  const bytes = torrent.files[0]?.bytes ?? Buffer.alloc(0)
  const gate = Promise.withResolvers<void>()
  const half = bytes.length / 2
  // The mirror has the second half only once the gate is open: until then it says nothing where that begins.
  const mirror = await startMirror(t, torrent, {
    before: async (request, response) => {
      const [, start = '0', end = bytes.length - 1] = /^bytes=(\d+)-(\d+)?/.exec(request.headers.range ?? '') ?? []
      if (Number(end) < half) return
      response.writeHead(206, { 'Content-Length': Number(end) - Number(start) + 1, 'Content-Range': `bytes ${start}-${end}/${bytes.length}` })
      if (Number(start) < half) response.write(bytes.subarray(Number(start), half))
      else response.flushHeaders()
      await gate.promise
      response.end(bytes.subarray(Math.max(Number(start), half), Number(end) + 1))
    }
  })
  const server = await startApp(t, { ENABLE_P2P: 'true', HTTP_MIRROR_URLS: mirror.mirrorUrl, TORRENT_METADATA_URLS: mirror.metadataUrl, SOURCE_HEDGE_DELAY: '50', STALL_TIMEOUT: '60000' })
  const url = `${server.url}/stream/proxy/${torrent.infohash}`
  await readChecked(url, bytes, { start: 0, end: half / 2, signal: AbortSignal.timeout(20_000) })
  await leaveAtOnce(url, bytes.length - 1)
  await wait(1000)
  const before = await quiet(server, torrent.infohash)
  t.ok((server.app.torrents.get(torrent.infohash)?.store?.verifiedBytesOf(0) ?? 0) < bytes.length, 'not all of it is there')
  await storm(url, bytes.length, random)
  await calm(t, server, torrent.infohash, before)
  gate.resolve()
  await readChecked(url, bytes, { start: 0, end: bytes.length - 1, signal: AbortSignal.timeout(60_000) })
  t.pass('the whole file came afterwards, every byte right')
})

t.test('a torrent that only viewers who left have asked for is let go after LINGER', async (t) => {
  const server = await startApp(t, { ENABLE_P2P: 'true', LINGER: '0' })
  const unknown = testBytes(20, 'let go').toString('hex')
  const url = `${server.url}/stream/proxy/${unknown}`
  await storm(url, 1_000_000, seededRandom(seedOf(t)))
  await until('it is let go', () => server.app.torrents.list().length === 0, 5000)
  t.same(server.app.torrents.list(), [], 'no torrent runs any more')
})

/** One viewer before the storm: a start lives on for LINGER, so that a retry finds it running. One may, not each. */
async function leaveAtOnce (url: string, start: number): Promise<void> {
  const asked = request(url, { headers: { Range: `bytes=${start}-` }, agent: false })
  asked.on('error', () => {})
  asked.end()
  await wait(300)
  asked.destroy()
}
