import { once } from 'node:events'
import { request } from 'node:http'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { bytesFrom, jsonFrom } from '../helper.ts'
import { startServer } from '../server-process.ts'
import { amount, tellFigure } from '../soak.ts'
import { testBytes, until } from '../testnet.ts'
import type { IncomingMessage } from 'node:http'

const TORRENTS = 500
const CLIENTS = 200
const LISTS = amount('SOAK_LISTS', 60)
const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'

// benchmarks/api-load.ts measures the same; this fails only where something is wrong altogether.
t.test('500 torrents and 200 who follow: lists and streams stay usable, and nobody who reads is dropped', { timeout: 120_000 }, async (t) => {
  const server = await startServer(t, { CACHE_ONLY_MODE: 'true', LOG_LEVEL: 'fatal' })
  const film = testBytes(30_000_000, 'film')
  await writeFile(join(server.directory, `${infohash}-film.mp4`), film)
  for (let i = 0; i < TORRENTS; i++) {
    const body = JSON.stringify({ infoHash: i.toString(16).padStart(40, '0'), name: `film ${i}` })
    await jsonFrom(`${server.url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
  }
  const measure = async (): Promise<{ listMs: number, streamMs: number }> => {
    const times = []
    for (let i = 0; i < LISTS; i++) {
      const startedAt = performance.now()
      t.equal((await jsonFrom(`${server.url}/api/torrents`)).body.total, TORRENTS + 1)
      times.push(performance.now() - startedAt)
    }
    const startedAt = performance.now()
    t.ok(film.equals(await bytesFrom(`${server.url}/stream/proxy/${infohash}`)))
    const streamMs = performance.now() - startedAt
    return { listMs: times.sort((a, b) => a - b)[Math.floor(LISTS * 0.99)] ?? NaN, streamMs }
  }
  await until('the film is found', async () => (await jsonFrom(`${server.url}/api/torrents`)).body.total === TORRENTS + 1)
  const alone = await measure()

  let [ends, bytes] = [0, 0]
  for (let i = 0; i < CLIENTS; i++) {
    const asking = request(`${server.url}/api/events`, { agent: false }).end()
    t.teardown(() => { asking.destroy() })
    const [response]: IncomingMessage[] = await once(asking, 'response')
    t.equal(response?.statusCode, 200)
    response?.on('error', () => {})
    response?.on('close', () => { ends++ })
    response?.on('data', (chunk: Buffer) => { bytes += chunk.length })
  }
  const activity = setInterval(() => { bytesFrom(`${server.url}/stream/proxy/${infohash}`, { Range: 'bytes=0-99' }).catch(() => {}) }, 20)
  t.teardown(() => { clearInterval(activity) })
  const followed = await measure()
  tellFigure(t, 'API load: list p99', `${alone.listMs.toFixed(0)} ms alone, ${followed.listMs.toFixed(0)} ms with ${CLIENTS} who follow`)
  tellFigure(t, 'API load: a cached stream of 30 MB', `${alone.streamMs.toFixed(0)} ms alone, ${followed.streamMs.toFixed(0)} ms with ${CLIENTS} who follow`)
  t.ok(bytes > CLIENTS * 1000, `${bytes} bytes of events came`)
  t.equal(ends, 0, 'nobody was dropped')
  t.ok(followed.listMs < 20 * alone.listMs + 1000)
  t.ok(followed.streamMs < 20 * alone.streamMs + 1000)
})
