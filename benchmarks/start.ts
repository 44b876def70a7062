// How long a start takes, from the command to the line that it listens and to the first byte of a cached file: with an
// empty cache and with 10,000 files in it, after a stop and after kill -9.
// node benchmarks/start.ts [--files N] [--rounds N]
//
// Rounds go from case to case in turn, so that whatever else the machine does meets all of them.
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fillCache } from '../test/many-cached.ts'
import { median, printTable, ratio } from './figures.ts'
import { end, startService, writeRandom } from './servers.ts'

const { values } = parseArgs({ options: { files: { type: 'string', default: '10000' }, rounds: { type: 'string', default: '7' } } })
const files = Number(values.files)
const rounds = Number(values.rounds)
const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'

const directory = await mkdtemp(join(tmpdir(), 'self-streme-bench-'))
try {
  const cases = [
    { what: 'an empty cache', files: 0, signal: 'SIGTERM' },
    { what: `${files.toLocaleString('en')} files, after a stop`, files, signal: 'SIGTERM' },
    { what: `${files.toLocaleString('en')} files, after kill -9`, files, signal: 'SIGKILL' }
  ] as const
  const results = []
  for (const [i, { what, files, signal }] of cases.entries()) {
    const cache = join(directory, String(i))
    await mkdir(cache)
    await fillCache(cache, files)
    await writeRandom(join(cache, `${infohash}.mp4`), 1)
    results.push({ what, cache, signal, listening: [] as number[], firstByte: [] as number[] })
  }
  for (let round = 0; round <= rounds; round++) {
    for (const { cache, signal, listening, firstByte } of results) {
      const startedAt = performance.now()
      const { child, origin } = await startService(cache, { LOG_LEVEL: 'fatal', TRACKERS: 'none', DHT_BOOTSTRAP: 'none', STUN_SERVERS: 'none' })
      const listeningMs = performance.now() - startedAt
      const response = await fetch(`${origin}/stream/proxy/${infohash}`)
      if (response.headers.get('x-stream-source') !== 'cache') throw new Error(`served by ${response.headers.get('x-stream-source')}`)
      const firstByteMs = performance.now() - startedAt
      await response.arrayBuffer()
      // The first time the disk and the folders are read for everybody.
      if (round > 0) {
        listening.push(listeningMs)
        firstByte.push(firstByteMs)
      }
      if (signal === 'SIGKILL') {
        child.kill(signal)
        await once(child, 'exit')
      } else {
        await end(child)
      }
    }
  }
  const [empty] = results
  printTable(
    `A start with its swarm: median of ${rounds} rounds, after one that counts for nothing.`,
    ['with', 'listens after', 'of an empty one', 'slowest', 'a cached byte after', 'slowest'],
    results.map(({ what, listening, firstByte }) => [
      what,
      `${Math.round(median(listening))} ms`,
      ratio(median(listening), median(empty?.listening ?? [])),
      `${Math.round(Math.max(...listening))} ms`,
      `${Math.round(median(firstByte))} ms`,
      `${Math.round(Math.max(...firstByte))} ms`
    ])
  )
} finally {
  await rm(directory, { recursive: true, force: true })
}
