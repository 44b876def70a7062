// Playing from a swarm of one libtorrent seeder on loopback with an empty cache, beside WebTorrent's own server and
// libtorrent's sequential download. node benchmarks/p2p.ts [--size MB] [--rounds N] [--directory PATH] [--only CASE]
//
// Each measurement has a process of its own, started with an empty directory and ready before it is told of the torrent;
// it has ended before the next one begins. Rounds go from player to player, so that whatever else the machine does meets all.
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { Agent, get } from 'node:http'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { median, percentile, printTable, ratio } from './figures.ts'
import { makeTorrent, players, startSeeder, startSelfStreme, startTracker } from './p2p-players.ts'
import type { Player, SeededTorrent, Transport } from './p2p-players.ts'
import { MB, end, writeRandom } from './servers.ts'

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '256' },
    rounds: { type: 'string', default: '7' },
    directory: { type: 'string', default: tmpdir() },
    only: { type: 'string', default: '' },
    transport: { type: 'string', default: 'tcp,utp' }
  }
})
const sizeMB = Number(values.size)
const rounds = Number(values.rounds)
const pieceLength = MB
const slowBytesPerSecond = 4 * MB
const names = ['self-streme', 'WebTorrent', 'libtorrent'] as const
type Name = typeof names[number]

/** What one round brought, by player. */
type Round<T> = Readonly<Record<Name, T>>

const directory = await mkdtemp(join(values.directory, 'self-streme-bench-'))
const content = join(directory, 'content')
const tracker = await startTracker()
let torrentCount = 0
let directoryCount = 0
try {
  await mkdir(content)
  await writeRandom(join(content, 'film.mkv'), sizeMB)
  if (isAsked('first-byte')) await measureFirstByte()
  if (isAsked('throughput')) await measureThroughput()
  if (isAsked('seek')) await measureSeek()
  if (isAsked('cached')) await measureCached()
} finally {
  await tracker.close()
  await rm(directory, { recursive: true })
}

function isAsked (what: string): boolean {
  return values.only === '' || values.only === what
}

function transports (): Transport[] {
  return (['tcp', 'utp'] as const).filter((transport) => values.transport.split(',').includes(transport))
}

async function measureFirstByte (): Promise<void> {
  const rows: string[][] = []
  for (const transport of transports()) {
    const times = await inTurns(transport, 0, async (player, torrent) => await player.play(torrent))
    rows.push(...timeRows(transport, times, (round) => Math.min(...names.map((name) => round[name]))))
  }
  printTable(`The first byte from a bare magnet: tracker, peer, metadata and the first piece of 1 MiB. ${said()}`, ['transport', 'player', 'first byte', 'of the fastest', 'slowest round', 'more than the fastest'], rows)
}

async function measureThroughput (): Promise<void> {
  const rows: string[][] = []
  for (const transport of transports()) {
    const times = await inTurns(transport, 0, async (player, torrent) => {
      const cpuBefore = await player.cpuSeconds()
      const before = performance.now()
      await player.play(torrent)
      await player.played()
      return { seconds: (performance.now() - before) / 1000, cpuSeconds: await player.cpuSeconds() - cpuBefore }
    })
    for (const name of names) {
      const of = (key: 'seconds' | 'cpuSeconds', other: Name): number => median(times.map((round) => round[other][key] / round[name][key]))
      rows.push([
        transport, name,
        (sizeMB * MB / 1e6 / median(times.map((round) => round[name].seconds))).toFixed(0),
        ratio(of('seconds', 'WebTorrent'), 1),
        (median(times.map((round) => round[name].cpuSeconds)) / (sizeMB * MB / 1e9)).toFixed(1),
        ratio(1, of('cpuSeconds', 'WebTorrent'))
      ])
    }
  }
  printTable(`${sizeMB} MB played to the end, from the bare magnet on. ${said()}`, ['transport', 'player', 'MB/s', 'of WebTorrent', 'CPU s/GB', 'of WebTorrent'], rows)
}

async function measureSeek (): Promise<void> {
  const rows: string[][] = []
  for (const transport of transports()) {
    let piece = Math.floor(sizeMB / 2)
    const times = await inTurns(transport, slowBytesPerSecond, async (player, torrent) => {
      await player.play(torrent)
      // So that it is in the middle of what follows.
      await sleep(1500)
      return await player.seek(piece++)
    })
    rows.push(...timeRows(transport, times, (round) => Math.min(...names.map((name) => round[name]))))
  }
  printTable(`A seek to an unfetched place while the beginning plays, from a seeder with ${slowBytesPerSecond / MB} MiB/s: the first byte of a piece of 1 MiB. ${said()}`, ['transport', 'player', 'first byte', 'of the fastest', 'slowest round', 'more than the fastest'], rows)
}

/** A cached file is asked for small ranges at a steady pace, while the same server downloads as fast as it can and while it does not. */
async function measureCached (): Promise<void> {
  const latencies = { alone: [] as number[], busy: [] as number[] }
  const p99s: number[] = []
  let downloaded = 0
  for (let round = 0; round < Math.ceil(rounds / 2); round++) {
    await withSeeder('tcp', 0, async (torrent) => {
      const downloads = await emptyDirectory()
      const cached = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
      await writeRandom(join(downloads, `${cached}.mkv`), 64)
      const { child, origin } = await startSelfStreme(downloads, tracker.url)
      try {
        const url = `${origin}/stream/proxy/${cached}`
        await pacedLatencies(url, 500)
        const alone = await pacedLatencies(url, 2000)
        await fetch(`${origin}/api/torrents`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ magnetUri: torrent.magnet }) })
        const downloadedOf = async (): Promise<number> => Number(/"downloaded":(\d+)/.exec(await (await fetch(`${origin}/api/torrents/${torrent.infohash}`)).text())?.[1])
        while (!(await downloadedOf() > 0)) await sleep(20)
        const before = performance.now()
        const bytesBefore = await downloadedOf()
        const busy = await pacedLatencies(url, 1500)
        downloaded += (await downloadedOf() - bytesBefore) / 1e3 / (performance.now() - before)
        latencies.alone.push(...alone)
        latencies.busy.push(...busy)
        p99s.push(percentile(busy, 0.99) / percentile(alone, 0.99))
      } finally {
        await end(child)
        await rm(downloads, { recursive: true })
      }
    })
  }
  printTable(
    `Ranges of 64 KiB of a cached file, 200 a second, while the same server downloads another torrent (${(downloaded / p99s.length).toFixed(0)} MB/s) and while it does not. ${p99s.length} rounds.`,
    ['swarm', 'p50', 'p99', 'p99, of that without, median'],
    [
      ['none', `${median(latencies.alone).toFixed(1)} ms`, `${percentile(latencies.alone, 0.99).toFixed(1)} ms`, ratio(1, 1)],
      ['at full speed', `${median(latencies.busy).toFixed(1)} ms`, `${percentile(latencies.busy, 0.99).toFixed(1)} ms`, ratio(median(p99s), 1)]
    ])
}

async function pacedLatencies (url: string, durationMs: number): Promise<number[]> {
  const agent = new Agent({ keepAlive: true })
  const latencies: number[] = []
  const asked: Array<Promise<void>> = []
  const startedAt = performance.now()
  for (let next = startedAt; next < startedAt + durationMs; next += 5) {
    await sleep(Math.max(0, next - performance.now()))
    // Counted from when it was due: a client that is late itself hides nothing.
    const before = performance.now()
    const start = Math.floor(Math.random() * 63 * MB)
    asked.push((async () => {
      const request = get(url, { agent, headers: { range: `bytes=${start}-${start + 65535}` } })
      const [response] = await once(request, 'response')
      response.resume()
      await once(response, 'end')
      latencies.push(performance.now() - before)
    })())
  }
  await Promise.all(asked)
  agent.destroy()
  return latencies
}

/** All players in each round, from one seeder. The seeder's limit is in bytes a second, 0 for none. */
async function inTurns<T> (transport: Transport, limit: number, measure: (player: Player, torrent: SeededTorrent) => Promise<T>): Promise<Array<Round<T>>> {
  const results: Array<Round<T>> = []
  await withSeeder(transport, limit, async (torrent) => {
    for (let round = 0; round < rounds; round++) {
      const found: Partial<Record<Name, T>> = {}
      for (let i = 0; i < names.length; i++) {
        // Who comes first differs from round to round.
        const name = names[(i + round) % names.length] ?? 'self-streme'
        const downloads = await emptyDirectory()
        const player = await players[name](downloads, transport, torrent.tracker)
        try {
          found[name] = await measure(player, torrent)
        } finally {
          await player.end()
          await rm(downloads, { recursive: true })
        }
      }
      const { 'self-streme': ours, WebTorrent, libtorrent } = found
      if (ours !== undefined && WebTorrent !== undefined && libtorrent !== undefined) results.push({ 'self-streme': ours, WebTorrent, libtorrent })
    }
  })
  return results
}

async function withSeeder (transport: Transport, limit: number, use: (torrent: SeededTorrent) => Promise<void>): Promise<void> {
  const torrent = await makeTorrent(join(content, 'film.mkv'), sizeMB * MB, pieceLength, tracker.url, `${transport}-${torrentCount++}`)
  const stop = await startSeeder(content, torrent, transport, limit, () => tracker.hasPeer(torrent.infohash))
  try {
    await use(torrent)
  } finally {
    await stop()
  }
}

async function emptyDirectory (): Promise<string> {
  const path = join(directory, `downloads-${directoryCount++}`)
  await mkdir(path)
  return path
}

function timeRows (transport: Transport, rounds: ReadonlyArray<Round<number>>, fastestOf: (round: Round<number>) => number): string[][] {
  return names.map((name) => {
    const ratios = rounds.map((round) => round[name] / fastestOf(round))
    return [
      transport, name,
      `${median(rounds.map((round) => round[name])).toFixed(0)} ms`,
      ratio(median(ratios), 1),
      ratio(percentile(ratios, 1), 1),
      `${median(rounds.map((round) => round[name] - fastestOf(round))).toFixed(0)} ms`
    ]
  })
}

function said (): string {
  return `Median of ${rounds} rounds.`
}
