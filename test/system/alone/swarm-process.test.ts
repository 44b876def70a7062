import { setTimeout as wait } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { join } from 'node:path'
import t from 'tap'
import { readChecked } from '../../checked-read.ts'
import { startApp } from '../../helper.ts'
import { startMirror } from '../../mirror.ts'
import { isAlive } from '../../server-process.ts'
import { seededRandom } from '../../services/pieces/torrent.ts'
import { amount, seedOf, tellFigure } from '../../soak.ts'
import { makeTorrent, startSeeder, testBytes, testWith, until } from '../../testnet.ts'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Test } from 'tap'
import type { TestMirror } from '../../mirror.ts'
import type { TestTorrent } from '../../testnet.ts'

const rounds = amount('SOAK_SWARM_DEATHS', 1)
const filmBytes = amount('SOAK_SWARM_BYTES', 12_000_000)
const STALL_TIMEOUT_MS = 1500
/** A swarm's process that does not answer is killed after 20 to 25 s, and comes back. */
const LONGEST_DEAFNESS_MS = 30_000

interface Blow {
  readonly name: string
  /** What is done to the swarm's process in the middle of the body. */
  readonly strike: (pid: number) => void
  /** Of the seeder, and of each connection to the mirror: no source is done before the process has died. */
  readonly bytesPerSecond: number
  /** Without a mirror the client waits until the process is there again. */
  readonly longestSilenceMs: number
}

const kill: Blow = { name: 'killed', strike: (pid) => { process.kill(pid, 'SIGKILL') }, bytesPerSecond: 3_000_000, longestSilenceMs: 12_000 }
const stop: Blow = { name: 'stopped', strike: (pid) => { process.kill(pid, 'SIGSTOP') }, bytesPerSecond: 3_000_000, longestSilenceMs: LONGEST_DEAFNESS_MS + 5_000 }
// Before it dies it is busy with its garbage for as long as the machine takes.
const leakHeap: Blow = { name: 'made to leak in its heap', strike: (pid) => { process.kill(pid, 'SIGUSR2') }, bytesPerSecond: 3_000_000, longestSilenceMs: 25_000 }
const leakBuffers: Blow = { name: 'made to leak outside its heap', strike: (pid) => { process.kill(pid, 'SIGWINCH') }, bytesPerSecond: 600_000, longestSilenceMs: 12_000 }

// The processes inherit them. Little memory: so its limits are soon reached.
process.env['NODE_OPTIONS'] = `${process.env['NODE_OPTIONS'] ?? ''} --import ${pathToFileURL(join(import.meta.dirname, '../../leak-on-signal.ts')).href}`
process.env['SERVER_MEMORY'] = '384'

for (const blows of [[kill, leakHeap], [stop, leakBuffers]]) {
  const names = blows.map(({ name }) => name).join(', or ')
  testWith(t, `the swarm's process is ${names} in the middle of a response: it goes on, with a mirror within the stall timeout, without one after the restart`, async (t) => {
    const random = seededRandom(seedOf(t))
    for (let i = 0; i < rounds; i++) {
      await Promise.all(blows.flatMap((blow) => [true, false].map(async (hasMirror) => { await strikeOnce(t, blow, { hasMirror, position: part(random), seed: i }) })))
    }
  }, 100_000 * rounds)
}

/** Plays the film from a libtorrent seeder, and does this to the swarm's process when the reader comes by `position`. */
async function strikeOnce (t: Test, { name: deed, strike, bytesPerSecond, longestSilenceMs }: Blow, { hasMirror, position, seed }: { hasMirror: boolean, position: number, seed: number }): Promise<void> {
  const film = testBytes(filmBytes, `${deed} ${seed}`)
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 131_072 })
  const { address } = await startSeeder(t, torrent, { uploadLimit: bytesPerSecond })
  const mirror = hasMirror ? await startSlowMirror(t, torrent, bytesPerSecond) : null
  const { app, url } = await startApp(t, {
    ENABLE_P2P: 'true',
    STATIC_PEERS: address,
    STALL_TIMEOUT: String(STALL_TIMEOUT_MS),
    SOURCE_HEDGE_DELAY: '5000',
    ...mirror === null ? { ENABLE_HTTP_FALLBACK: 'false' } : { HTTP_MIRROR_URLS: mirror.mirrorUrl, TORRENT_METADATA_URLS: mirror.metadataUrl }
  })
  const { swarm } = app
  if (swarm === null) throw new Error('no swarm')
  const first = await until('the swarm is there', () => swarm.status.state === 'ready' ? swarm.pid : null)
  let received = 0
  let struckAt = 0
  let lastAt = performance.now()
  let longestMs = 0
  await readChecked(`${url}/stream/proxy/${torrent.infohash}`, film, {
    start: 0,
    end: film.length - 1,
    signal: AbortSignal.timeout(90_000),
    onBytes: (count) => {
      const now = performance.now()
      // Before that, it is the start that one waits for.
      if (struckAt > 0) longestMs = Math.max(longestMs, now - lastAt)
      lastAt = now
      received += count
      if (struckAt > 0 || received < position) return
      struckAt = now
      strike(first)
    }
  })
  t.ok(struckAt > 0, 'it was done in the middle of the body')
  // With a mirror the rest may come before anybody notices.
  if (!hasMirror) t.not(swarm.pid, first, 'and the process died in the middle of it')
  t.equal(received, film.length, `${deed}, ${hasMirror ? 'with' : 'without'} a mirror: every byte came, and was right`)
  t.ok(longestMs <= (hasMirror ? STALL_TIMEOUT_MS + 2000 : longestSilenceMs), `the longest silence was ${Math.round(longestMs)} ms`)
  await until('the process is gone', async () => !await isAlive(first), LONGEST_DEAFNESS_MS)
  await until('another one is ready', () => swarm.pid !== null && swarm.pid !== first && swarm.status.state === 'ready', LONGEST_DEAFNESS_MS)
  tellFigure(t, `swarm process ${deed}, ${hasMirror ? 'with' : 'without'} a mirror`, `${(film.length / 1e6)} MB equal; longest silence ${Math.round(longestMs)} ms; a new process is ready ${Math.round(performance.now() - struckAt)} ms after the blow`)
  await app.close()
}

async function startSlowMirror (t: Test, torrent: TestTorrent, bytesPerSecond: number): Promise<TestMirror> {
  const bytes = torrent.files[0]?.bytes ?? Buffer.alloc(0)
  return await startMirror(t, torrent, {
    before: async (request: IncomingMessage, response: ServerResponse) => {
      const [, start = '0', end = ''] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
      const last = end === '' ? bytes.length - 1 : Number(end)
      response.writeHead(206, { 'Content-Length': last - Number(start) + 1, 'Content-Range': `bytes ${start}-${last}/${bytes.length}` })
      for (let position = Number(start); position <= last && !response.destroyed; position += 65_536) {
        response.write(bytes.subarray(position, Math.min(position + 65_536, last + 1)))
        await wait(65_536_000 / bytesPerSecond)
      }
      response.end()
    }
  })
}

/** Somewhere between a tenth and a third of the film. */
function part (random: (below: number) => number): number {
  return Math.floor(filmBytes / 10) + random(Math.floor(filmBytes * 0.23))
}
