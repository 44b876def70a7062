// How /health answers while 1,000 paused and 200 active players of 5 Mbit/s stream a cached film, against a server with
// nobody, and what memory that takes.
// node benchmarks/load.ts [--idle N] [--active N] [--seconds N] [--rounds N]
//
// Two servers run, one with the players and one without, and are asked in turn; so whatever else the machine does meets
// both. The players have a process of their own, and check each byte.
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startLoad } from '../test/load-clients.ts'
import { median, percentile, printTable, ratio } from './figures.ts'
import { cpuSeconds, end, startService, writeRandom } from './servers.ts'

const { values } = parseArgs({
  options: {
    idle: { type: 'string', default: '1000' },
    active: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '20' },
    players: { type: 'string' },
    file: { type: 'string', default: '' }
  }
})
const idle = Number(values.idle)
const active = Number(values.active)
const seconds = Number(values.seconds)
const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const ASK_MS = 20

// This file is also the process with the players.
if (values.players === undefined) await measure()
else await play(values.players, values.file)

async function play (url: string, file: string): Promise<void> {
  const load = await startLoad({ url, content: await readFile(file), idle, active, bytesPerSecond: 625_000 })
  process.send?.('begun')
  await once(process, 'message')
  process.send?.({ errors: load.errors, share: load.worstShare(), receivedBytes: load.receivedBytes() })
  load.stop()
  process.disconnect()
}

async function measure (): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'self-streme-bench-'))
  const ended: ChildProcess[] = []
  try {
    const servers = []
    for (const name of ['nobody', 'players']) {
      const cache = join(directory, name)
      await mkdir(cache)
      await writeRandom(join(cache, `${infohash}.mkv`), 256)
      const { child, origin } = await startService(cache, { LOG_LEVEL: 'fatal', TRACKERS: 'none', DHT_BOOTSTRAP: 'none', STUN_SERVERS: 'none', STREAM_ACCESS: 'open' })
      ended.push(child)
      servers.push({ child, origin, answers: [] as number[], memoryMb: [] as number[], agent: new Agent({ keepAlive: true }), cpu: 0 })
    }
    const [alone, loaded] = servers
    if (alone === undefined || loaded === undefined) throw new Error('two servers')
    const before = await residentMb(loaded.child)
    const players = fork(fileURLToPath(import.meta.url), ['--players', `${loaded.origin}/stream/proxy/${infohash}`, '--file', join(directory, 'players', `${infohash}.mkv`), '--idle', String(idle), '--active', String(active)])
    ended.push(players)
    await once(players, 'message')
    for (const server of servers) server.cpu = await cpuSeconds(server.child)
    for (const until = performance.now() + seconds * 1000; performance.now() < until; await sleep(ASK_MS)) {
      for (const { origin, agent, answers } of servers) {
        const startedAt = performance.now()
        const [response]: IncomingMessage[] = await once(request(`${origin}/health`, { agent }).end(), 'response')
        if (response?.statusCode !== 200) throw new Error(`/health answers ${response?.statusCode}`)
        response.resume()
        await once(response, 'end')
        answers.push(performance.now() - startedAt)
      }
      for (const { child, memoryMb } of servers) memoryMb.push(await residentMb(child))
    }
    for (const server of servers) server.cpu = await cpuSeconds(server.child) - server.cpu
    players.send('end')
    const [told]: unknown[] = await once(players, 'message')
    if (typeof told !== 'object' || told === null || !('errors' in told) || !Array.isArray(told.errors) || !('share' in told) || !('receivedBytes' in told)) throw new Error('the players said nothing')
    printTable(
      `${idle} paused and ${active} active players of 5 Mbit/s for ${seconds} s: ${told.errors.length} errors, ${Math.round(Number(told.receivedBytes) / 1e6 / seconds)} MB/s to all, the slowest player had ${Math.round(Number(told.share) * 100)} % of its rate. The server had ${before} MB before.`,
      ['streams', '/health, median', 'p99', 'of nobody', 'slowest', 'memory at most', 'CPU'],
      [['nobody', alone], [`${idle + active}`, loaded]].map(([name, server]) => typeof server === 'string' || server === undefined || typeof name !== 'string'
        ? []
        : [
            name,
            `${median(server.answers).toFixed(1)} ms`,
            `${percentile(server.answers, 0.99).toFixed(1)} ms`,
            ratio(percentile(server.answers, 0.99), percentile(alone.answers, 0.99)),
            `${Math.max(...server.answers).toFixed(1)} ms`,
            `${Math.max(...server.memoryMb)} MB`,
            `${Math.round(server.cpu / seconds * 100)} %`
          ])
    )
    for (const error of told.errors.slice(0, 5)) console.log(`- ${String(error)}`)
    if (told.errors.length > 0) process.exitCode = 1
    for (const { agent } of servers) agent.destroy()
  } finally {
    await Promise.all(ended.map(async (child) => { await end(child) }))
    await rm(directory, { recursive: true })
  }
}

async function residentMb ({ pid }: ChildProcess): Promise<number> {
  const [, kilobytes = '0'] = /^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
  return Math.round(Number(kilobytes) / 1000)
}
