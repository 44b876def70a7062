// The API with 500 torrents and 200 clients that follow the events, against the same with nobody who follows.
// node benchmarks/api-load.ts [--torrents N] [--clients N] [--rounds N]
//
// In both, ranges of a cached file are asked for 50 times a second, which tells some 200 events a second. A round measures
// lists and a stream of the file with nobody, then with everybody; so whatever else the machine does meets both.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs, promisify } from 'node:util'
import { encode } from '../services/torrent/bencode.ts'
import { median, percentile, printTable, ratio } from './figures.ts'
import { cpuSeconds, end, startService, writeRandom } from './servers.ts'
import type { ClientRequest, IncomingMessage } from 'node:http'

const run = promisify(execFile)
const { values } = parseArgs({
  options: {
    torrents: { type: 'string', default: '500' },
    clients: { type: 'string', default: '200' },
    rounds: { type: 'string', default: '5' }
  }
})
const torrents = Number(values.torrents)
const clients = Number(values.clients)
const rounds = Number(values.rounds)
const LISTS = 100
const ACTIVITY_MS = 20
const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'

interface Measured {
  readonly lists: number[]
  readonly speeds: number[]
  cpuSeconds: number
}

const directory = await mkdtemp(join(tmpdir(), 'self-streme-bench-'))
const cache = join(directory, 'cache')
await mkdir(cache)
await writeRandom(join(cache, `${infohash}.mkv`), 256)
const { origin, child } = await startService(cache, { CACHE_ONLY_MODE: 'true', LOG_LEVEL: 'fatal' })
const agent = new Agent({ keepAlive: true })
try {
  for (let i = 0; i < torrents; i++) {
    const response = await fetch(`${origin}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/x-bittorrent' }, body: new Uint8Array(torrentOf(i)) })
    if (response.status !== 202) throw new Error(`torrent ${i}: ${response.status} ${await response.text()}`)
    await response.arrayBuffer()
  }
  const nobody: Measured = { lists: [], speeds: [], cpuSeconds: 0 }
  const everybody: Measured = { lists: [], speeds: [], cpuSeconds: 0 }
  let events = 0
  const activity = setInterval(() => { get(`/stream/proxy/${infohash}`, { Range: 'bytes=0-1023' }).catch(() => {}) }, ACTIVITY_MS)
  for (let round = 0; round < rounds; round++) {
    await measure(nobody)
    const following = await Promise.all(Array.from({ length: clients }, async () => await follow((count) => { events += count })))
    await measure(everybody)
    for (const client of following) client.destroy()
    await sleep(200)
  }
  clearInterval(activity)
  const row = (name: string, { lists, speeds, cpuSeconds }: Measured): string[] => [
    name,
    `${median(lists).toFixed(1)} ms`, ratio(median(lists), median(nobody.lists)),
    `${percentile(lists, 0.99).toFixed(1)} ms`, ratio(percentile(lists, 0.99), percentile(nobody.lists, 0.99)),
    (median(speeds) / 1e9).toFixed(2), ratio(median(speeds), median(nobody.speeds)),
    ratio(cpuSeconds, nobody.cpuSeconds)
  ]
  printTable(
    `${torrents} torrents, of which a list has 100; ${rounds * LISTS} lists and ${rounds} streams of a cached file each. ${Math.round(events / clients / rounds)} events reached each client in a round.`,
    ['who follows', 'list, median', 'of nobody', 'list, p99', 'of nobody', 'stream, GB/s', 'of nobody', 'CPU of nobody'],
    [row('nobody', nobody), row(`${clients} clients`, everybody)]
  )
} finally {
  agent.destroy()
  await end(child)
  await rm(directory, { recursive: true })
}

async function measure (measured: Measured): Promise<void> {
  const before = await cpuSeconds(child)
  for (let i = 0; i < LISTS; i++) {
    const startedAt = performance.now()
    await get('/api/torrents')
    measured.lists.push(performance.now() - startedAt)
  }
  const { stdout } = await run('curl', ['-sS', '-f', '-o', '/dev/null', '-w', '%{speed_download}', `${origin}/stream/proxy/${infohash}`])
  measured.speeds.push(Number(stdout))
  measured.cpuSeconds += await cpuSeconds(child) - before
}

/** Over one connection, as a page asks; fetch would measure itself. */
async function get (path: string, headers: Record<string, string> = {}): Promise<void> {
  const [response]: IncomingMessage[] = await once(request(origin + path, { agent, headers }).end(), 'response')
  if (response?.statusCode === undefined || response.statusCode >= 300) throw new Error(`${path} answers ${response?.statusCode}`)
  response.resume()
  await once(response, 'end')
}

/** Resolves when it is being told; counts the events. */
async function follow (count: (events: number) => void): Promise<ClientRequest> {
  const asking = request(`${origin}/api/events`, { agent: false }).end()
  const [response]: IncomingMessage[] = await once(asking, 'response')
  if (response?.statusCode !== 200) throw new Error(`events answer ${response?.statusCode}`)
  response.on('error', () => { /* it ends when we want it to */ })
  response.on('data', (chunk: Buffer) => {
    let found = 0
    for (let i = chunk.indexOf('\n\n'); i !== -1; i = chunk.indexOf('\n\n', i + 2)) found++
    count(found)
  })
  return asking
}

/** A `.torrent` of twenty files. */
function torrentOf (number: number): Buffer {
  const files = Array.from({ length: 20 }, (_, i) => new Map<string, number | string[]>([['length', 1_000_000 + i], ['path', [`Season ${number}`, `Episode ${i}.mkv`]]]))
  const pieces = createHash('sha1').update(String(number)).digest()
  const info = new Map<string, string | number | Buffer | Array<Map<string, number | string[]>>>([['files', files], ['name', `Series ${number}`], ['piece length', 32 * 1024 * 1024], ['pieces', pieces]])
  return encode(new Map([['info', info]]))
}
