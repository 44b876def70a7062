// Many clients that ask for random ranges of one cached file, against @fastify/static and, where it is installed, nginx.
// node benchmarks/random-ranges.ts [--size MB] [--clients N] [--seconds N] [--rounds N]
//
// The clients keep their connections, and each asks again as soon as it has its bytes. They speak HTTP by hand, for a
// client that costs more than the server would be what is measured. Rounds go from server to server in turn.
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { parseArgs } from 'node:util'
import { median, percentile, printTable, ratio } from './figures.ts'
import { MB, cpuSeconds, withContenders } from './servers.ts'

const rangeBytes = 64 * 1024

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '256' },
    clients: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '5' }
  }
})
const sizeMB = Number(values.size)
const clientCount = Number(values.clients)
const rounds = Number(values.rounds)
const roundMs = 1000 * Number(values.seconds)

interface Measured {
  readonly name: string
  readonly requestsPerSecond: number[]
  readonly latencies: number[]
  cpuSeconds: number
}

await withContenders(sizeMB, async (contenders, path) => {
  const results = contenders.map(({ name }): Measured => ({ name, requestsPerSecond: [], latencies: [], cpuSeconds: 0 }))
  for (const { url } of contenders) await compareRange(url, path)
  // One round that does not count: who was asked first would have compiled least.
  for (let round = -1; round < rounds; round++) {
    for (const [i, { child, url }] of contenders.entries()) {
      const cpuBefore = await cpuSeconds(child)
      const latencies = await ask(new URL(url))
      const result = results[i]
      if (round < 0 || result === undefined) continue
      result.cpuSeconds += await cpuSeconds(child) - cpuBefore
      result.requestsPerSecond.push(latencies.length * 1000 / roundMs)
      for (const latency of latencies) result.latencies.push(latency)
    }
  }
  const [ours] = results
  printTable(
    `${clientCount} clients at the same time, each asking for random ranges of 64 KiB of one cached file of ${sizeMB} MB; ${rounds} rounds of ${roundMs / 1000} s.`,
    ['server', 'requests/s, median', 'self-streme is', 'p50', 'p99', 'CPU ms/request'],
    results.map(({ name, requestsPerSecond, latencies, cpuSeconds }) => [
      name,
      median(requestsPerSecond).toFixed(0),
      ratio(median(ours?.requestsPerSecond ?? []), median(requestsPerSecond)),
      `${median(latencies).toFixed(1)} ms`,
      `${percentile(latencies, 0.99).toFixed(1)} ms`,
      (1000 * cpuSeconds / latencies.length).toFixed(3)
    ]))
})

/** How many milliseconds each answer took, of all clients together. */
async function ask (url: URL): Promise<number[]> {
  const latencies: number[] = []
  const sockets = await Promise.all(Array.from({ length: clientCount }, async () => {
    const socket = connect(Number(url.port), url.hostname)
    socket.setNoDelay(true)
    await once(socket, 'connect')
    return socket
  }))
  const deadline = performance.now() + roundMs
  await Promise.all(sockets.map(async socket => {
    const answers = answersOf(socket)
    while (performance.now() < deadline) {
      const start = Math.floor(Math.random() * (sizeMB * MB - rangeBytes))
      const before = performance.now()
      socket.write(`GET ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\nRange: bytes=${start}-${start + rangeBytes - 1}\r\n\r\n`)
      await answers()
      latencies.push(performance.now() - before)
    }
    socket.destroy()
  }))
  return latencies
}

/** Resolves when the next answer has come whole. Throws when it is not the range that was asked for. */
function answersOf (socket: Socket): () => Promise<void> {
  let head = ''
  let missing = 0
  let { promise, resolve, reject } = Promise.withResolvers<void>()
  socket.on('error', error => { reject(error) })
  socket.on('close', () => { reject(new Error('the server closed the connection')) })
  socket.on('data', chunk => {
    let body = chunk.length
    if (missing === 0) {
      head += chunk.toString('latin1')
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) return
      body = head.length - end - 4
      missing = Number(/^content-length: (\d+)/im.exec(head)?.[1])
      if (!head.startsWith('HTTP/1.1 206 ') || missing !== rangeBytes) {
        reject(new Error(`unexpected answer: ${head.slice(0, end)}`))
        return
      }
      head = ''
    }
    missing -= body
    if (missing < 0) reject(new Error('more bytes than asked for'))
    if (missing === 0) resolve()
  })
  return async () => {
    await promise
    const next = Promise.withResolvers<void>()
    next.promise.catch(() => { /* the connection ends after the last answer */ });
    ({ promise, resolve, reject } = next)
  }
}

async function compareRange (url: string, path: string): Promise<void> {
  const start = MB - 123
  const response = await fetch(url, { headers: { range: `bytes=${start}-${start + rangeBytes - 1}` } })
  const expected = Buffer.alloc(rangeBytes)
  const file = await open(path)
  await file.read(expected, 0, rangeBytes, start)
  await file.close()
  if (!expected.equals(Buffer.from(await response.arrayBuffer()))) throw new Error(`${url} sends other bytes than the file's`)
}
