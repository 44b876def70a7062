import { once } from 'node:events'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { startApp } from '../../helper.ts'
import { amount, seedOf, tellFigure } from '../../soak.ts'
import { startSwitchableMirror } from '../../switchable-mirror.ts'
import { makeTorrent, startSeeder, startTracker, testBytes, testWith, until } from '../../testnet.ts'
import type { IncomingMessage } from 'node:http'
import type { Test } from 'tap'
import type { TestApp } from '../../helper.ts'
import type { SwitchableMirror } from '../../switchable-mirror.ts'
import type { TestSeeder, TestTorrent } from '../../testnet.ts'

const failovers = amount('SOAK_FAILOVERS', 2)
const flaps = amount('SOAK_FLAPS', 10)
const filmBytes = amount('SOAK_FAILOVER_BYTES', 20_000_000)
const STALL_TIMEOUT_MS = 1500
const MB = 1_000_000

const short = { ENABLE_P2P: 'true', SOURCE_HEDGE_DELAY: '500', STALL_TIMEOUT: String(STALL_TIMEOUT_MS), P2P_TIMEOUT: '8000' }

interface Scene {
  readonly film: Buffer
  readonly torrent: TestTorrent
  readonly tracker: string
  readonly mirror: SwitchableMirror
  start (env?: Record<string, string>): Promise<TestApp>
  seed (bytesPerSecond?: number): Promise<TestSeeder>
}

/** A film with a tracker, a mirror that can be switched, and libtorrent seeders that announce to the tracker. */
async function stage (t: Test, name: string, { lengthBytes = filmBytes, pieceLength = 262_144, mirror: choices = {} }: { lengthBytes?: number, pieceLength?: number, mirror?: { bytesPerSecond?: number, isAlive?: boolean } } = {}): Promise<Scene> {
  const film = testBytes(lengthBytes, name)
  const tracker = await startTracker(t)
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength, trackers: [tracker.url] })
  const mirror = await startSwitchableMirror(t, torrent, choices)
  return {
    film,
    torrent,
    tracker: tracker.url,
    mirror,
    start: async (env = {}) => await startApp(t, { ...short, TRACKERS: tracker.url, TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, ...env }),
    seed: async (bytesPerSecond = 0) => {
      const seeder = await startSeeder(t, torrent, { uploadLimit: bytesPerSecond })
      await until('the seeder has announced itself', () => tracker.peersOf(torrent.infohash).length > 0)
      return seeder
    }
  }
}

interface Watched {
  readonly firstSource: string
  /** The longest time between asking for bytes and getting some. */
  readonly longestSilenceMs: number
}

/**
 * Reads the whole file in one response, comparing each byte; `onPosition` is called with what has come so far and how long
 * nothing had, and waited for.
 */
async function watch (url: string, film: Buffer, onPosition: (position: number, silentMs: number) => Promise<void> | void = () => {}): Promise<Watched> {
  const asked = request(url, { agent: false })
  asked.end()
  const [response]: IncomingMessage[] = await once(asked, 'response')
  if (response?.statusCode !== 200) throw new Error(`status ${response?.statusCode}`)
  asked.on('error', () => {})
  if (response.headers['content-length'] !== String(film.length)) throw new Error(`content-length ${response.headers['content-length']}`)
  let position = 0
  let longestSilenceMs = 0
  let askedAt = performance.now()
  for await (const chunk of response) {
    if (!Buffer.isBuffer(chunk)) throw new Error('not bytes')
    const silentMs = performance.now() - askedAt
    longestSilenceMs = Math.max(longestSilenceMs, silentMs)
    if (!chunk.equals(film.subarray(position, position + chunk.length))) throw new Error(`other bytes at ${position}`)
    position += chunk.length
    await onPosition(position, silentMs)
    askedAt = performance.now()
  }
  if (position !== film.length) throw new Error(`the response ended at ${position} of ${film.length}`)
  return { firstSource: String(response.headers['x-stream-source']), longestSilenceMs }
}

/** Calls `then` once when the reader comes by. */
function at (position: number, then: () => Promise<void>): (position: number) => void {
  let isDone = false
  return (now) => {
    if (isDone || now < position) return
    isDone = true
    void then()
  }
}

testWith(t, `the only seeder is killed at 10, 50 and 90 % of the body, ${failovers} times each: the same response ends whole from HTTP`, async (t) => {
  let longest = 0
  for (const part of [0.1, 0.5, 0.9]) {
    for (let i = 0; i < failovers; i++) {
      // A mirror that is there only once the seeder is gone: else it helps before.
      const scene = await stage(t, `kill ${part} ${i}`, { mirror: { isAlive: false } })
      const seeder = await scene.seed(filmBytes / 2)
      const { app, url } = await scene.start()
      const { firstSource, longestSilenceMs } = await watch(`${url}/stream/proxy/${scene.torrent.infohash}`, scene.film, at(part * scene.film.length, async () => {
        scene.mirror.setAlive(true)
        await seeder.stop()
      }))
      t.equal(firstSource, 'p2p')
      // What the swarm had brought before it died need not come once more: near the end that may be all.
      if (part < 0.9) t.ok(scene.mirror.sentBytes() > 0)
      longest = Math.max(longest, longestSilenceMs)
      await app.close()
    }
  }
  tellFigure(t, 'failovers from the swarm to HTTP', `${3 * failovers} of ${filmBytes / MB} MB, all whole and equal; longest silence ${Math.round(longest)} ms (STALL_TIMEOUT ${STALL_TIMEOUT_MS} ms)`)
  t.ok(longest <= STALL_TIMEOUT_MS + 2000, `${Math.round(longest)} ms`)
}, 60_000 + 90_000 * failovers)

testWith(t, 'the mirror dies in the middle of the body: peers take over', async (t) => {
  // So slow that the film is not there yet when the peer is.
  const scene = await stage(t, 'mirror dies', { mirror: { bytesPerSecond: filmBytes / 40 } })
  const { app, url } = await scene.start()
  let isDead = false
  let longestMs = 0
  const kill = at(scene.film.length / 10, async () => {
    await scene.seed()
    await until('the peer is there', () => app.torrents.get(scene.torrent.infohash)?.peersConnected === 1)
    scene.mirror.setAlive(false)
    isDead = true
  })
  const { firstSource } = await watch(`${url}/stream/proxy/${scene.torrent.infohash}`, scene.film, (position, silentMs) => {
    if (isDead) longestMs = Math.max(longestMs, silentMs)
    kill(position)
  })
  t.equal(firstSource, 'http-fallback')
  const { last } = app.history.of(scene.torrent.infohash)
  t.same(last?.outcome, 'complete')
  tellFigure(t, 'failover from HTTP to the swarm', `longest silence ${Math.round(longestMs)} ms, ${last?.changes} changes, ${scene.mirror.sentBytes()} of ${scene.film.length} bytes from the mirror`)
  t.ok(scene.mirror.sentBytes() < 0.9 * scene.film.length, `${scene.mirror.sentBytes()} bytes`)
  t.ok(longestMs <= STALL_TIMEOUT_MS + 2000, `${Math.round(longestMs)} ms`)
})

testWith(t, `both flap ${flaps} times at random during one response: it ends whole`, async (t) => {
  const numbers = testBytes(4 * flaps, `flaps ${seedOf(t)}`)
  const scene = await stage(t, 'flap', { mirror: { bytesPerSecond: 3 * MB } })
  let seeder: TestSeeder | null = await scene.seed(3 * MB)
  const { app, url } = await scene.start()
  const over = new AbortController()
  const flapping = (async () => {
    for (let i = 0; i < flaps && !over.signal.aborted; i++) {
      await pause(200 + numbers.readUInt16BE(4 * i) % 600)
      const isMirrorsTurn = numbers.readUInt16BE(4 * i + 2) % 2 === 0
      if (isMirrorsTurn) {
        scene.mirror.setAlive(false)
        await pause(300)
        scene.mirror.setAlive(true)
      } else {
        await seeder?.stop()
        seeder = null
        await pause(300)
        seeder = await scene.seed(3 * MB)
      }
    }
  })()
  const { longestSilenceMs } = await watch(`${url}/stream/proxy/${scene.torrent.infohash}`, scene.film)
  over.abort()
  await flapping
  const { last } = app.history.of(scene.torrent.infohash)
  t.equal(last?.outcome, 'complete')
  tellFigure(t, 'flapping', `${flaps} flaps, ${last?.changes} changes of source, longest silence ${Math.round(longestSilenceMs)} ms`)
}, 60_000 + 10_000 * flaps)

testWith(t, 'a swarm at 40 % and a mirror at 80 % of what a player takes: it plays without a pause, and hardly a byte comes twice', async (t) => {
  const player = 2 * MB
  const scene = await stage(t, 'too slow', { lengthBytes: 40 * MB, mirror: { bytesPerSecond: 0.8 * player } })
  const seeder = await scene.seed(0.4 * player)
  const { app, url } = await scene.start({ SOURCE_HEDGE_DELAY: '3000' })
  let playingSince: number | null = null
  let stalledMs = 0
  const { firstSource } = await watch(`${url}/stream/proxy/${scene.torrent.infohash}`, scene.film, async (position) => {
    const now = performance.now()
    // A player begins with five seconds in its buffer.
    if (playingSince === null) {
      if (position < 5 * player) return
      playingSince = now
    }
    const playedTo = (now - playingSince) / 1000 * player
    if (playedTo > position) {
      stalledMs += (playedTo - position) / player * 1000
      playingSince += (playedTo - position) / player * 1000
    }
    // It keeps ten seconds in hand, and takes no more.
    const tooEarlyMs = (position - 10 * player - playedTo) / player * 1000
    if (tooEarlyMs > 0) await pause(tooEarlyMs)
  })
  t.equal(firstSource, 'p2p')
  const { uploaded } = await seeder.counts()
  const { last } = app.history.of(scene.torrent.infohash)
  const twice = (uploaded + scene.mirror.sentBytes()) / scene.film.length - 1
  tellFigure(t, 'two slow sources together', `${Math.round(stalledMs)} ms of pauses, ${Math.round(uploaded / MB)} MB from the swarm, ${Math.round(scene.mirror.sentBytes() / MB)} MB from the mirror, ${(twice * 100).toFixed(1)} % twice, ${last?.changes} changes`)
  t.equal(Math.round(stalledMs), 0)
  t.ok(twice < 0.15, `${(twice * 100).toFixed(1)} % came twice`)
})

testWith(t, 'a piece of 32 MiB at 1 MB/s is slow, and no stall: the source never changes', async (t) => {
  const scene = await stage(t, 'large pieces', { lengthBytes: 1 << 25, pieceLength: 1 << 25, mirror: { isAlive: false } })
  await scene.seed(1 * MB)
  const { app, url } = await scene.start({ STALL_TIMEOUT: '4000', P2P_TIMEOUT: '20000' })
  const { firstSource } = await watch(`${url}/stream/proxy/${scene.torrent.infohash}`, scene.film)
  t.equal(firstSource, 'p2p')
  t.equal(app.history.of(scene.torrent.infohash).last?.changes, 0)
})

testWith(t, 'no peer, and a mirror: the first byte comes when the hedge is over, or at once when everybody says that nobody is there', async (t) => {
  const first = async (env: Record<string, string>): Promise<number> => {
    const scene = await stage(t, `hedge ${JSON.stringify(env)}`, { lengthBytes: 1 * MB })
    const { app, url } = await scene.start(env)
    const since = performance.now()
    const response = await fetch(`${url}/stream/proxy/${scene.torrent.infohash}`, { headers: { Range: 'bytes=0-99' } })
    const elapsedMs = performance.now() - since
    t.equal(response.headers.get('x-stream-source'), 'http-fallback')
    await response.arrayBuffer()
    await app.close()
    return elapsedMs
  }
  const silent = createServer()
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => { silent.close() })
  const address = silent.address()
  const hedged = await first({ SOURCE_HEDGE_DELAY: '3000', TRACKERS: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/announce` })
  const barren = await first({ SOURCE_HEDGE_DELAY: '30000', P2P_TIMEOUT: '30000' })
  const strict = await first({ SOURCE_HEDGE_DELAY: '0', P2P_TIMEOUT: '5000' })
  tellFigure(t, 'first byte without a peer', `hedge of 3 s: ${Math.round(hedged)} ms; a tracker that knows nobody: ${Math.round(barren)} ms; strict order with P2P_TIMEOUT 5 s: ${Math.round(strict)} ms`)
  t.ok(hedged >= 2900 && hedged < 6000, `${hedged}`)
  t.ok(barren < 10_000, `${barren}`)
  t.ok(strict >= 4900 && strict < 9000, `${strict}`)
})
