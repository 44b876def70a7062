import { watch } from 'node:fs'
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { WrongBytes, readChecked } from '../../checked-read.ts'
import { jsonFrom } from '../../helper.ts'
import { isGone, startServer, swarmOf } from '../../server-process.ts'
import type { ServerProcess } from '../../server-process.ts'
import { seededRandom } from '../../services/pieces/torrent.ts'
import type { Random } from '../../services/pieces/torrent.ts'
import { amount, seedOf, tellFigure } from '../../soak.ts'
import { makeTorrent, startSeeder, temporaryDirectory, testBytes, testWith, until } from '../../testnet.ts'
import type { TestSeeder, TestTorrent } from '../../testnet.ts'
import type { Test } from 'tap'

const killsInAll = amount('SOAK_KILLS', 8)
/** After so many the torrent would be whole, and nothing left to lose: the next round has a new one. */
const killsPerRound = 10
const pieceLength = 65_536
const bytesPerSecond = 2_000_000
const readers = 3
/** What may be verified and not yet on its way to the disk when the process dies: milliseconds' worth. */
const piecesOnTheirWay = 4
/** Pieces that are begun: one for each reader's place and its read-ahead, and what the sockets hold. */
const piecesInFlight = 2 * readers + 2
/** A life ends up to so long after its first piece; one in four, after the server listens: it may have fetched nothing yet. */
const longestLifeMs = 1500

interface Tally {
  compared: number
  refused: number
  readonly wrong: string[]
}

interface Round {
  readonly torrent: TestTorrent
  readonly seeder: TestSeeder
  readonly directory: string
  readonly random: Random
  readonly tally: Tally
}

testWith(t, `${killsInAll} kills during downloads with readers -> every byte is right, and only what was in flight is fetched twice`, async (t) => {
  const seed = seedOf(t)
  let again = 0
  let compared = 0
  for (let done = 0, round = 0; done < killsInAll; done += killsPerRound, round++) {
    const kills = Math.min(killsPerRound, killsInAll - done)
    const { fetchedAgain, tally } = await playRound(t, seed + round, kills)
    again += fetchedAgain
    compared += tally.compared
    t.comment(`round ${round}: ${kills} kills, ${kilobytes(fetchedAgain)} fetched again; ${tally.refused} requests refused`)
  }
  tellFigure(t, 'crash: kills', killsInAll)
  tellFigure(t, 'crash: bytes compared', `${Math.round(compared / 1e6)} MB`)
  tellFigure(t, 'crash: fetched again per kill, mean', kilobytes(again / killsInAll))
  t.ok(again <= killsInAll * (piecesOnTheirWay + piecesInFlight) * pieceLength, `nothing but what was in flight is fetched twice: ${kilobytes(again)} in all`)
}, 60_000 + killsInAll * 8000)

/** A torrent is downloaded by one server after the other, each killed; what the last one has is compared. */
async function playRound (t: Test, seed: number, killCount: number): Promise<{ fetchedAgain: number, tally: Tally }> {
  const torrent = await makeTorrent({
    'e1.mkv': testBytes(8_000_011, `crash ${seed} 1`), 'notes.srt': testBytes(40_001, `crash ${seed} 2`), 'e2.mp4': testBytes(6_500_003, `crash ${seed} 3`)
  }, { name: 'Season', pieceLength })
  const seeder = await startSeeder(t, torrent, { transport: 'tcp', uploadLimit: bytesPerSecond })
  const round: Round = { torrent, seeder, directory: await temporaryDirectory(t), random: seededRandom(seed), tally: { compared: 0, refused: 0, wrong: [] } }
  for (let i = 0; i < killCount; i++) await live(t, round, i === killCount - 1 ? 'promotion' : 'any')
  const { server } = await start(t, round)
  await finish(t, round, server)
  const { uploaded } = await seeder.counts()
  await seeder.stop()
  t.same(round.tally.wrong, [], 'every byte that was served is the torrent\'s')
  t.ok(round.tally.compared > 0, `${kilobytes(round.tally.compared)} were compared`)
  return { fetchedAgain: Math.max(0, uploaded - torrent.metadata.lengthBytes), tally: round.tally }
}

async function start (t: Test, { torrent, seeder, directory }: Round): Promise<{ server: ServerProcess, verifiedAtStart: number }> {
  const server = await startServer(t, { STATIC_PEERS: seeder.address, ENABLE_HTTP_FALLBACK: 'false', ENABLE_MOCK: 'false', LOG_LEVEL: 'warn' }, directory)
  const added = await jsonFrom(`${server.url}/api/torrents`, {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ magnetUri: `magnet:?xt=urn:btih:${torrent.infohash}` })
  })
  if (!added.body.success) throw new Error(JSON.stringify(added.body))
  // HEAD opens the store and fetches nothing; the peer is dialled by TCP half a second from now.
  const isKnown = added.body.data.files?.length > 0
  if (isKnown) await Promise.all(torrent.files.map(async (_, i) => { await fetch(`${streamOf(server, torrent, i)}`, { method: 'HEAD' }) }))
  return { server, verifiedAtStart: isKnown ? await verifiedBytes(server, torrent) ?? 0 : 0 }
}

/** One server from its start to its death, with readers at random places. */
async function live (t: Test, round: Round, moment: 'any' | 'promotion'): Promise<void> {
  const { torrent, random, tally } = round
  const { server, verifiedAtStart } = await start(t, round)
  const swarm = await swarmOf(server)
  const life = { isOver: false }
  const dead = new AbortController()
  const reading = Array.from({ length: readers }, async () => { await readOn(server, round, life, dead.signal) })
  let verifiedAtEnd = verifiedAtStart
  const watching = (async () => {
    while (!life.isOver) {
      verifiedAtEnd = Math.max(verifiedAtEnd, await verifiedBytes(server, torrent) ?? 0)
      await wait(15)
    }
  })()
  if (moment === 'promotion') {
    await promotion(server, torrent, tally)
  } else {
    const isFull = (): boolean => verifiedAtEnd === torrent.metadata.lengthBytes
    if (random(4) > 0) await until('a piece comes', () => verifiedAtEnd > verifiedAtStart || isFull(), 20_000)
    // The moment of death is what is random here; nothing is waited for.
    await wait(random(longestLifeMs))
  }
  life.isOver = true
  const isBoth = random(4) === 0
  if (isBoth) process.kill(swarm, 'SIGKILL')
  await server.stop('SIGKILL')
  dead.abort()
  await Promise.all([...reading, watching])
  // Every other time the next server starts while the old swarm process may still be writing.
  if (random(2) === 0) t.ok(await isGone(swarm), 'the swarm process has vanished by itself')
}

/** Until a finished file has got its name in the cache: the record of it may not be written yet. */
async function promotion (server: ServerProcess, torrent: TestTorrent, tally: Tally): Promise<void> {
  const watcher = watch(server.directory)
  const { promise: renamed, resolve } = Promise.withResolvers<void>()
  watcher.on('change', (_event, name) => { if (String(name).startsWith(torrent.infohash)) resolve() })
  const signal = AbortSignal.timeout(30_000)
  const reading = Promise.all(torrent.files.map(async ({ bytes }, i) => {
    await readChecked(streamOf(server, torrent, i), bytes, { start: 0, end: bytes.length - 1, signal, onBytes: (count) => { tally.compared += count } })
  })).catch((error: unknown) => {
    if (error instanceof WrongBytes) tally.wrong.push(error.message)
  })
  const isEverythingThere = (async () => { await reading; await wait(1500) })()
  await Promise.race([renamed, isEverythingThere])
  watcher.close()
}

async function readOn (server: ServerProcess, { torrent, random, tally }: Round, life: { readonly isOver: boolean }, signal: AbortSignal): Promise<void> {
  while (!life.isOver) {
    const index = random(torrent.files.length)
    const bytes = torrent.files[index]?.bytes ?? Buffer.alloc(0)
    const start = random(bytes.length)
    const end = Math.min(bytes.length - 1, start + random(600_000))
    try {
      await readChecked(streamOf(server, torrent, index), bytes, { start, end, signal, onBytes: (count) => { tally.compared += count } })
    } catch (error) {
      if (error instanceof WrongBytes) tally.wrong.push(error.message)
      else if (!life.isOver) tally.refused++
      if (!life.isOver) await wait(50)
    }
  }
}

/** Reads each file whole and compares what is in the cache afterwards. */
async function finish (t: Test, { torrent }: Round, server: ServerProcess): Promise<void> {
  const signal = AbortSignal.timeout(60_000)
  for (const [i, { bytes }] of torrent.files.entries()) await readChecked(streamOf(server, torrent, i), bytes, { start: 0, end: bytes.length - 1, signal })
  const cached = async (): Promise<string[]> => (await readdir(server.directory)).filter((name) => name.startsWith(torrent.infohash))
  await until('all files are in the cache', async () => (await cached()).length >= torrent.files.length)
  t.equal(await server.stop('SIGTERM'), 0, 'it ends cleanly')
  const contents = await Promise.all((await cached()).map(async (name) => await readFile(join(server.directory, name))))
  t.equal(contents.length, torrent.files.length, `each file once: ${(await cached()).join(', ')}`)
  for (const { path, bytes } of torrent.files) t.ok(contents.some((content) => content.equals(bytes)), `${path} is in the cache`)
}

function streamOf ({ url }: ServerProcess, { infohash }: TestTorrent, fileIndex: number): string {
  return `${url}/stream/proxy/${infohash}?fileIndex=${fileIndex}`
}

/** What the server says is verified, over all files; null when it does not answer. */
async function verifiedBytes ({ url }: ServerProcess, { infohash }: TestTorrent): Promise<number | null> {
  try {
    const { body } = await jsonFrom(`${url}/api/torrents/${infohash}`)
    const files: Array<{ downloaded: number }> = body.data.files
    return files.reduce((sum, { downloaded }) => sum + downloaded, 0)
  } catch {
    return null
  }
}

function kilobytes (bytes: number): string {
  return `${Math.round(bytes / 1000)} kB`
}
