import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { Refused, WrongBytes, readChecked } from '../../checked-read.ts'
import { fillCache, infohashOf } from '../../many-cached.ts'
import { startMirror } from '../../mirror.ts'
import { isGone, startServer, swarmOf } from '../../server-process.ts'
import { tellFigure } from '../../soak.ts'
import { makeTorrent, startSeeder, temporaryDirectory, testBytes, testWith, until } from '../../testnet.ts'
import type { ServerProcess } from '../../server-process.ts'
import type { TestTorrent } from '../../testnet.ts'

const STREAMS = 50
const placedHash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
/** benchmarks/start.ts times it; here other tests may run beside. */
const START_LIMIT_MS = 20_000
const pieceLength = 65_536
const filmLength = 5_000_000

for (const { signal, cachedFiles } of [{ signal: 'SIGTERM', cachedFiles: 100 }, { signal: 'SIGKILL', cachedFiles: 10_000 }] as const) {
  testWith(t, `${signal} while ${STREAMS} streams run and ${cachedFiles} files are cached -> no wrong byte, no orphan, no stale lock; the next start is soon there, and loses nothing`, async (t) => {
    const directory = await temporaryDirectory(t)
    const cache = join(directory, 'cache')
    await fillCache(cache, cachedFiles)
    const placed = testBytes(30_000_000, 'placed')
    await writeFile(join(cache, `${placedHash}.mp4`), placed)
    const overSwarm = await makeTorrent({ 'swarm.mkv': testBytes(filmLength, `${signal} swarm`) }, { pieceLength })
    const overHttp = await makeTorrent({ 'http.mkv': testBytes(filmLength, `${signal} http`) }, { pieceLength })
    const seeder = await startSeeder(t, overSwarm, { transport: 'tcp', uploadLimit: 2_000_000 })
    const mirror = await startMirror(t, overHttp, { before: async () => { await wait(100) } })
    const films = [overSwarm, overHttp, overSwarm, overHttp, null]
    const env = {
      STATIC_PEERS: seeder.address,
      TORRENT_METADATA_URLS: mirror.metadataUrl,
      HTTP_MIRROR_URLS: mirror.mirrorUrl,
      HTTP_ALLOW_PRIVATE_NETWORKS: 'true',
      SHUTDOWN_GRACE: '1',
      LOG_LEVEL: 'warn'
    }
    const first = await startServer(t, env, directory)
    const swarm = await swarmOf(first)

    const dead = new AbortController()
    let isStopping = false
    let cut = 0
    const wrong: string[] = []
    const begun = new Set<number>()
    const reading = Array.from({ length: STREAMS }, async (_, i) => {
      const torrent = films[i % films.length] ?? null
      const bytes = torrent === null ? placed : bytesOf(torrent)
      const start = torrent === null ? 0 : Math.floor(i / films.length) * 200_000
      // As long as the server lives, somebody reads here.
      while (!dead.signal.aborted) {
        await readChecked(streamOf(first, torrent), bytes, { start, end: bytes.length - 1, signal: dead.signal, onBytes: () => { begun.add(i) } }).catch((error: unknown) => {
          if (error instanceof WrongBytes || (error instanceof Refused && !isStopping)) wrong.push(error.message)
          else cut++
        })
        await wait(100)
      }
    })
    await until('every stream has begun', () => begun.size === STREAMS, 60_000)
    t.equal(cut, 0, 'none was cut until now')
    isStopping = true
    const stoppedAt = performance.now()
    const code = await first.stop(signal)
    const stopMs = Math.round(performance.now() - stoppedAt)
    dead.abort()
    await Promise.all(reading)
    t.same(wrong, [], 'every byte was right')
    if (signal === 'SIGTERM') {
      t.equal(code, 0)
      t.ok(stopMs < 8000, `it has ended after ${stopMs} ms, of which streams have 1 s`)
    }
    t.ok(await isGone(swarm), 'the swarm process is gone')

    const startedAt = performance.now()
    const second = await startServer(t, env, directory)
    const listeningMs = Math.round(performance.now() - startedAt)
    await readChecked(`${second.url}/stream/proxy/${infohashOf(cachedFiles - 1)}`, Buffer.alloc(1_000_000), { start: 0, end: 999_999, signal: AbortSignal.timeout(20_000) })
    const servesMs = Math.round(performance.now() - startedAt)
    tellFigure(t, `${signal} with ${STREAMS} streams`, `gone after ${stopMs} ms; the next start with ${cachedFiles} cached files listens after ${listeningMs} ms, and serves a cached one after ${servesMs} ms`)
    t.ok(servesMs < START_LIMIT_MS, `it serves after ${servesMs} ms`)
    const signalOfTest = AbortSignal.timeout(60_000)
    await readChecked(streamOf(second, null), placed, { start: 0, end: placed.length - 1, signal: signalOfTest })
    for (const torrent of [overSwarm, overHttp]) await readChecked(streamOf(second, torrent), bytesOf(torrent), { start: 0, end: filmLength - 1, signal: signalOfTest })
    await until('both are in the cache', async () => {
      const names = await readdir(cache)
      return [overSwarm, overHttp].every(({ infohash }) => names.some((name) => name.startsWith(infohash)))
    })
    // What is in flight at the end is fetched again, for each place that is read.
    const { uploaded } = await seeder.counts()
    t.ok(uploaded < filmLength + STREAMS * pieceLength, `${uploaded} bytes of ${filmLength} came from the swarm: what was verified is kept`)
    t.equal((await readdir(cache)).length, cachedFiles + 4, 'nothing is gone, and nothing is left over')
    t.equal(await second.stop('SIGTERM'), 0)
  }, 150_000)
}

function bytesOf ({ files }: TestTorrent): Buffer {
  return files[0]?.bytes ?? Buffer.alloc(0)
}

/** null: the placed film. */
function streamOf ({ url }: ServerProcess, torrent: TestTorrent | null): string {
  return `${url}/stream/proxy/${torrent?.infohash ?? placedHash}`
}
