import { lstat, mkdir, readFile, readdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { Refused, WrongBytes, readChecked } from '../../checked-read.ts'
import { startMirror } from '../../mirror.ts'
import { startServer } from '../../server-process.ts'
import type { ServerProcess } from '../../server-process.ts'
import { seededRandom } from '../../services/pieces/torrent.ts'
import type { Random } from '../../services/pieces/torrent.ts'
import { amount, seedOf, tellFigure } from '../../soak.ts'
import { makeTorrent, startSeeder, temporaryDirectory, testBytes, testWith } from '../../testnet.ts'
import type { Test } from 'tap'

const seconds = amount('SOAK_CHAOS_SECONDS', 15)
const viewers = 5
/** Nothing may take longer: a start that no source serves is over after START_TIMEOUT. */
const patienceMs = 45_000

/** A file that can be asked for, and its bytes. */
interface Film {
  readonly infohash: string
  readonly query: string
  readonly bytes: Buffer
}

interface World {
  readonly films: readonly Film[]
  readonly random: Random
  readonly directory: string
  server: ServerProcess
  /** Counts the beginnings and ends of what may cut a stream; odd while such a thing goes on. */
  disturbances: number
  isOver: boolean
  readonly counts: Record<string, number>
  readonly wrong: string[]
  /** Failures while nothing disturbed. */
  readonly failed: string[]
  /** What each server wrote. */
  readonly logs: Array<() => string>
}

/** Everything that is done to the server, and how often it is chosen. */
const deeds: ReadonlyArray<readonly [weight: number, deed: (world: World, film: Film) => Promise<void>]> = [
  [8, stream],
  [5, seek],
  [3, async (world, film) => { await read(world, film, 0, film.bytes.length - 1) }],
  [2, async (world, { infohash }) => { await ask(world, 'POST', '/api/torrents', { magnetUri: `magnet:?xt=urn:btih:${infohash}` }) }],
  [1, async (world, { infohash }) => { await ask(world, 'GET', `/api/torrents/${infohash}`) }],
  [1, async (world) => { await ask(world, 'GET', '/api/torrents') }],
  [1, async (world) => { await ask(world, 'GET', '/api/cache') }]
]

/** What may cut a stream. */
const blows: ReadonlyArray<readonly [weight: number, blow: (world: World, film: Film) => Promise<void>]> = [
  [4, async (world, { infohash }) => { await ask(world, 'DELETE', `/api/torrents/${infohash}?deleteFiles=true`) }],
  [2, async (world, { infohash }) => { await ask(world, 'DELETE', `/api/torrents/${infohash}`) }],
  [2, async (world, { infohash }) => { await ask(world, 'DELETE', `/api/cache/${infohash}`) }],
  [2, async (world) => { await ask(world, 'DELETE', '/api/cache') }],
  [2, async (world) => { await restart(world, 'SIGKILL') }],
  [1, async (world) => { await restart(world, 'SIGTERM') }]
]

for (const budgetMb of [20_000, 14]) {
  testWith(t, `add, stream, seek, abort, delete, evict, restart at random, with ${budgetMb} MB of disk -> every byte served and stored is right`, async (t) => {
    const seed = seedOf(t)
    const world = await begin(t, seed, budgetMb)
    if (budgetMb < 1000 && await ask(world, 'GET', '/api/cache') === 404) {
      t.pass('the disk has no budget', { skip: 'the disk has no budget' })
      return
    }
    const peak = { bytes: 0 }
    const endsAt = performance.now() + seconds * 1000
    const watching = (async () => {
      // Files are looked at one after the other, while some go and others grow: what counts is seen twice.
      for (let before = 0; !world.isOver; await wait(100)) {
        const bytes = await storedBytes(world)
        peak.bytes = Math.max(peak.bytes, Math.min(before, bytes))
        before = bytes
      }
    })()
    await Promise.all([
      ...Array.from({ length: viewers }, async (_, i) => { await repeat(world, endsAt, seededRandom(seed + i), deeds, 200) }),
      repeat(world, endsAt, seededRandom(seed + 1000), blows, 4000)
    ])
    for (const film of world.films) await read(world, film, 0, film.bytes.length - 1)
    world.isOver = true
    await watching
    t.equal(await world.server.stop('SIGTERM'), 0, 'it ends cleanly')
    await compareStored(t, world)
    t.same(world.wrong, [], 'every byte that was served is right')
    t.same(kindsOf(world.failed), [], 'no stream was cut and no request refused without a reason')
    const errors = world.logs.flatMap((log) => log().split('\n').filter((line) => /^\{"level":[56]0/.test(line)))
    t.same(kindsOf(errors), [], 'nothing is logged that a person must look at')
    t.ok((world.counts['bytes'] ?? 0) > 0, 'there was something to compare')
    if (budgetMb < 1000) t.ok(peak.bytes <= budgetMb * 1e6, `the disk was never over its budget: ${peak.bytes}`)
    tellFigure(t, `chaos (${budgetMb} MB): bytes compared`, `${Math.round((world.counts['bytes'] ?? 0) / 1e6)} MB`)
    tellFigure(t, `chaos (${budgetMb} MB): most on disk`, `${(peak.bytes / 1e6).toFixed(1)} MB`)
    tellFigure(t, `chaos (${budgetMb} MB): done`, Object.entries(world.counts).filter(([name]) => name !== 'bytes').map(([name, count]) => `${name} ${count}`).join(', '))
  }, 100_000 + seconds * 1000)
}

/** Four torrents from seeders and mirrors, and a file that a person placed. */
async function begin (t: Test, seed: number, budgetMb: number): Promise<World> {
  const film = await makeTorrent({ 'film.mkv': testBytes(5_000_011, `film ${seed}`) }, { pieceLength: 32_768 })
  const season = await makeTorrent({
    'e1.mkv': testBytes(2_500_001, `e1 ${seed}`), 'e1.srt': testBytes(30_001, `srt ${seed}`), 'e2.mp4': testBytes(3_300_003, `e2 ${seed}`), 'info.nfo': testBytes(77, `nfo ${seed}`)
  }, { name: 'Season', pieceLength: 65_536 })
  const web = await makeTorrent({ 'web.mp4': testBytes(4_000_003, `web ${seed}`) }, { pieceLength: 131_072 })
  const both = await makeTorrent({ 'a.mkv': testBytes(1_200_007, `a ${seed}`), 'b.mp4': testBytes(4_100_009, `b ${seed}`) }, { name: 'Both', pieceLength: 16_384 })
  const seeders = [await startSeeder(t, film, { uploadLimit: 4_000_000 }), await startSeeder(t, season, { uploadLimit: 4_000_000 }), await startSeeder(t, both, { uploadLimit: 1_000_000 })]
  const mirrors = [await startMirror(t, web), await startMirror(t, both)]
  const directory = await temporaryDirectory(t)
  const placed: Film = { infohash: testBytes(20, `placed ${seed}`).toString('hex'), query: '', bytes: testBytes(1_500_007, `placed ${seed}`) }
  const path = join(directory, 'cache', `${placed.infohash}.mkv`)
  await mkdir(join(directory, 'cache'))
  await writeFile(path, placed.bytes)
  const anHourAgo = new Date(Date.now() - 3_600_000)
  await utimes(path, anHourAgo, anHourAgo)
  const start = async (): Promise<ServerProcess> => await startServer(t, {
    STATIC_PEERS: seeders.map(({ address }) => address).join(','),
    TORRENT_METADATA_URLS: mirrors.map(({ metadataUrl }) => metadataUrl).join(','),
    HTTP_MIRROR_URLS: mirrors.map(({ mirrorUrl }) => mirrorUrl).join(','),
    HTTP_ALLOW_PRIVATE_NETWORKS: 'true',
    SOURCE_HEDGE_DELAY: '300',
    LINGER: '1',
    CACHE_MAX_DISK_MB: String(budgetMb),
    CACHE_ACCOUNTING: 'allocated',
    CACHE_CLEANUP_INTERVAL: '1',
    LOG_LEVEL: 'warn'
  }, directory)
  const films = [film, season, web, both].flatMap(({ infohash, files }) => files.map(({ bytes }, i) => ({ infohash, query: `?fileIndex=${i}`, bytes })))
  const world: World = { films: [...films, placed], random: seededRandom(seed), directory, server: await start(), disturbances: 0, isOver: false, counts: {}, wrong: [], failed: [], logs: [] }
  world.logs.push(world.server.output)
  starters.set(world, start)
  return world
}

const starters = new WeakMap<World, () => Promise<ServerProcess>>()

async function restart (world: World, signal: NodeJS.Signals): Promise<void> {
  await world.server.stop(signal)
  const start = starters.get(world)
  if (start !== undefined) world.server = await start()
  world.logs.push(world.server.output)
  count(world, signal)
}

async function repeat (world: World, endsAt: number, random: Random, choices: ReadonlyArray<readonly [weight: number, act: (world: World, film: Film) => Promise<void>]>, longestPauseMs: number): Promise<void> {
  const total = choices.reduce((sum, [weight]) => sum + weight, 0)
  while (performance.now() < endsAt) {
    let left = random(total)
    const [, act] = choices.find(([weight]) => (left -= weight) < 0) ?? []
    const film = world.films[random(world.films.length)]
    if (act === undefined || film === undefined) throw new Error('nothing to choose from')
    const isBlow = choices === blows
    if (isBlow) world.disturbances++
    await act(world, film)
    if (isBlow) world.disturbances++
    await wait(random(longestPauseMs))
  }
}

async function stream (world: World, film: Film): Promise<void> {
  const start = world.random(film.bytes.length)
  const end = Math.min(film.bytes.length - 1, start + world.random(1_000_000))
  await read(world, film, start, end, world.random(3) === 0 ? world.random(300) : null)
}

/** As a player does that is dragged along: each request is given up for the next. */
async function seek (world: World, film: Film): Promise<void> {
  for (let i = 0; i < 5; i++) await read(world, film, world.random(film.bytes.length), film.bytes.length - 1, 20 + world.random(150))
}

/** Reads and compares; with `leaveAfterMs` the viewer goes then, if not done before. */
async function read (world: World, { infohash, query, bytes }: Film, start: number, end: number, leaveAfterMs: number | null = null): Promise<void> {
  const before = world.disturbances
  const { url } = world.server
  const controller = new AbortController()
  const timer = setTimeout(() => { controller.abort() }, leaveAfterMs ?? patienceMs)
  try {
    await readChecked(`${url}/stream/proxy/${infohash}${query}`, bytes, { start, end, signal: controller.signal, onBytes: (received) => { count(world, 'bytes', received) } })
    count(world, 'streamed')
  } catch (error) {
    const isLeft = leaveAfterMs !== null && controller.signal.aborted
    const what = `${infohash.slice(0, 6)}${query} bytes=${start}-${end}: ${String(error instanceof Error ? error.message : error)}`
    if (error instanceof WrongBytes) world.wrong.push(what)
    else if (isLeft) count(world, 'left')
    else if (before % 2 === 1 || before !== world.disturbances) count(world, 'disturbed')
    else if (error instanceof Refused && error.status === 503) count(world, 'no room')
    else world.failed.push(what)
  } finally {
    clearTimeout(timer)
  }
}

/** Asks the API. The status, or null when the connection broke, which only a disturbance excuses. */
async function ask (world: World, method: string, path: string, body?: object): Promise<number | null> {
  const before = world.disturbances
  try {
    const response = await fetch(`${world.server.url}${path}`, {
      method,
      signal: AbortSignal.timeout(patienceMs),
      ...(body === undefined ? {} : { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })
    })
    const text = await response.text()
    if (response.status >= 500 && response.status !== 503) world.failed.push(`${method} ${path}: ${response.status} ${text}`)
    count(world, `${method} ${path.replace(/[0-9a-f]{40}/, ':infoHash')} ${response.status}`)
    return response.status
  } catch (error) {
    if (before % 2 === 0 && before === world.disturbances) world.failed.push(`${method} ${path}: ${String(error)}`)
    return null
  }
}

/** What is in the cache is a file of its torrent, whole; what was placed is as it was. */
async function compareStored (t: Test, { films, directory }: World): Promise<void> {
  let whole = 0
  for (const name of await readdir(join(directory, 'cache'))) {
    const path = join(directory, 'cache', name)
    if (!(await lstat(path)).isFile()) continue
    const bytes = await readFile(path)
    const isRight = films.some((film) => name.startsWith(film.infohash) && film.bytes.equals(bytes))
    if (isRight) whole++
    else t.fail(`${name} is not a file of its torrent (${bytes.length} bytes)`)
  }
  const placed = films.at(-1)
  const names = await readdir(join(directory, 'cache'))
  t.ok(names.includes(`${placed?.infohash}.mkv`), 'what a person placed is still there')
  t.pass(`${whole} files in the cache are right`)
}

/** Allocated bytes of all that the server stores: what a person placed is not its own. */
async function storedBytes ({ directory, films }: World): Promise<number> {
  const placed = films.at(-1)?.infohash ?? ''
  const names = await readdir(join(directory, 'cache'), { recursive: true }).catch(() => [])
  const sizes = await Promise.all(names.map(async (name) => {
    const found = await lstat(join(directory, 'cache', name)).catch(() => null)
    return found?.isFile() === true && !name.startsWith(placed) ? found.blocks * 512 : 0
  }))
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** One of each kind, and how often it came: the first ten. */
function kindsOf (lines: readonly string[]): string[] {
  const kinds = Map.groupBy(lines, (line) => line.replace(/[0-9a-f]{40}|\d+/g, '#'))
  return [...kinds.values()].slice(0, 10).map((same) => `${same.length} x ${same[0]?.slice(0, 1500)}`)
}

function count ({ counts }: World, name: string, by = 1): void {
  counts[name] = (counts[name] ?? 0) + by
}
