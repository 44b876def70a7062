// One stream of a cached file through the chain of sources, which goes on from another source when one breaks, against
// the file alone, both sent by the same code. node benchmarks/splice.ts [--size MB] [--rounds N]
//
// Both are routes of one server, in a process of its own, with curl as the client. A round asks each once, in turn, and
// who is first changes, so that whatever else the machine does meets both.
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import Fastify from 'fastify'
import { sendBody } from '../routes/send-body.ts'
import { openDiskFile } from '../services/cache/disk-file.ts'
import { EventBus } from '../services/events.ts'
import { planResponse } from '../services/http/plan-response.ts'
import { streamBody } from '../services/http/body.ts'
import { silent } from '../services/log.ts'
import { SourceChain } from '../services/source-chain.ts'
import { StreamHistory } from '../services/stream-history.ts'
import { median, printTable, ratio } from './figures.ts'
import { MB, cpuSeconds, end, portOf, writeRandom } from './servers.ts'
import type { SourceFile } from '../services/source.ts'

const run = promisify(execFile)
const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '512' },
    rounds: { type: 'string', default: '21' },
    serve: { type: 'string' }
  }
})
const sizeMB = Number(values.size)
const rounds = Number(values.rounds)
const routes = ['chain', 'file'] as const

if (values.serve === undefined) await measure()
else await serve(values.serve)

async function measure (): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'self-streme-bench-'))
  const path = join(directory, 'movie.mkv')
  await writeRandom(path, sizeMB)
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), '--serve', path], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const origin = `http://127.0.0.1:${await portOf(child)}`
    const speeds = { chain: [] as number[], file: [] as number[] }
    const cpu = { chain: 0, file: 0 }
    // Two rounds that do not count: what has not run often is not compiled yet.
    for (let round = -2; round < rounds; round++) {
      for (const route of round % 2 === 0 ? routes : routes.toReversed()) {
        const before = await cpuSeconds(child)
        const { stdout } = await run('curl', ['-sS', '-f', '-o', '/dev/null', '-w', '%{speed_download} %{size_download}', `${origin}/${route}`])
        const [speed = NaN, size] = stdout.split(' ').map(Number)
        if (size !== sizeMB * MB) throw new Error(`${route} sent ${size} bytes`)
        if (round < 0) continue
        speeds[route].push(speed)
        cpu[route] += await cpuSeconds(child) - before
      }
    }
    printTable(
      `${sizeMB} MB of a cached file in one stream, through the chain of sources and without it; median of ${rounds} rounds.`,
      ['read through', 'median GB/s', 'of the file', 'best GB/s', 'of the file', 'CPU s/GB', 'of the file'],
      routes.map((route) => [
        route,
        (median(speeds[route]) / 1e9).toFixed(2),
        ratio(median(speeds[route].map((speed, round) => speed / (speeds.file[round] ?? NaN))), 1),
        (Math.max(...speeds[route]) / 1e9).toFixed(2),
        ratio(Math.max(...speeds[route]), Math.max(...speeds.file)),
        (cpu[route] * 1e9 / (rounds * sizeMB * MB)).toFixed(3),
        ratio(cpu[route], cpu.file)
      ]))
  } finally {
    await end(child)
    await rm(directory, { recursive: true })
  }
}

async function serve (path: string): Promise<void> {
  const cached = async (): Promise<SourceFile> => await openDiskFile({ path, source: 'cache', isVerified: true })
  const history = new StreamHistory(new EventBus(silent))
  const chain = new SourceChain({ hedgeDelayMs: 3000, startTimeoutMs: 60_000, lingerMs: 60_000, silenceMs: 12_000, responseStallLimitMs: 90_000, history, log: silent })
  chain.add({ name: 'cache', priority: 10, open: cached })
  const request = { infohash: 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c', fileIndex: null, trackers: [], head: { start: 0 } }
  const app = Fastify()
  for (const route of routes) {
    app.get(`/${route}`, async (_, reply) => {
      const left = new AbortController()
      reply.raw.once('close', () => { left.abort() })
      const { signal } = left
      const file = route === 'file' ? await cached() : (await chain.open(request, signal)).file
      const plan = planResponse({
        method: 'GET',
        headers: {},
        representation: { lengthBytes: file.lengthBytes, etag: file.etag, lastModified: file.lastModified, contentType: 'video/x-matroska', fileName: file.name, isDownload: false, cacheControl: 'no-cache' }
      })
      if (plan.body === null) throw new Error('the file is empty')
      reply.code(plan.status).headers(plan.headers)
      await sendBody(reply, streamBody(plan.body, (range) => file.read(range, signal)), signal)
    })
  }
  await app.listen({ host: '127.0.0.1', port: 0 })
  const address = app.server.address()
  console.log(`Server listening on port ${typeof address === 'object' ? address?.port : ''}`)
  await once(process, 'SIGTERM')
  process.exit()
}
