// One stream of a cached file, against @fastify/static and, where it is installed, nginx: the same file, the same run.
// node benchmarks/cached-stream.ts [--size MB] [--rounds N]
//
// Each server is a process of its own, and curl is the client of all. A round asks each once, in turn, so that whatever
// else the machine does meets all of them; only the ratios tell.
import { execFile } from 'node:child_process'
import { parseArgs, promisify } from 'node:util'
import { median, printTable, ratio } from './figures.ts'
import { MB, cpuSeconds, withContenders } from './servers.ts'

const run = promisify(execFile)
const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '512' },
    rounds: { type: 'string', default: '7' }
  }
})
const sizeMB = Number(values.size)
const rounds = Number(values.rounds)

await withContenders(sizeMB, async contenders => {
  const speeds = new Map(contenders.map(({ name }) => [name, [] as number[]]))
  const firstBytes = new Map(contenders.map(({ name }) => [name, [] as number[]]))
  const cpuBefore = await Promise.all(contenders.map(async ({ child }) => await cpuSeconds(child)))
  for (let round = 0; round < rounds; round++) {
    for (const { name, url } of contenders) {
      firstBytes.get(name)?.push(1000 * await curl(url, '%{time_starttransfer}', '0-0'))
      speeds.get(name)?.push(await curl(url, '%{speed_download}'))
    }
  }
  const cpuAfter = await Promise.all(contenders.map(async ({ child }) => await cpuSeconds(child)))
  const results = contenders.map(({ name }, i) => ({
    name,
    cpuSecondsPerGB: ((cpuAfter[i] ?? NaN) - (cpuBefore[i] ?? NaN)) * 1e9 / (rounds * sizeMB * MB),
    bytesPerSecond: median(speeds.get(name) ?? []),
    best: Math.max(...speeds.get(name) ?? []),
    firstByteMs: median(firstBytes.get(name) ?? [])
  }))
  const [ours] = results
  printTable(
    `${sizeMB} MB of a cached file in one stream, median of ${rounds} rounds.`,
    ['server', 'median GB/s', 'self-streme is', 'best GB/s', 'self-streme is', 'CPU s/GB', 'first byte'],
    results.map(({ name, bytesPerSecond, best, cpuSecondsPerGB, firstByteMs }) => [
      name,
      (bytesPerSecond / 1e9).toFixed(2),
      ratio(ours?.bytesPerSecond, bytesPerSecond),
      (best / 1e9).toFixed(2),
      ratio(ours?.best, best),
      cpuSecondsPerGB.toFixed(2),
      `${firstByteMs.toFixed(1)} ms`
    ]))
})

/** What curl's `--write-out` says of a download to nowhere. */
async function curl (url: string, figure: string, range?: string): Promise<number> {
  const { stdout } = await run('curl', ['-sS', '-f', '-o', '/dev/null', '-w', figure, ...range === undefined ? [] : ['-r', range], url])
  return Number(stdout)
}
