// Playing from one honest HTTP mirror (nginx) with an empty cache and without a swarm, against fetching the same bytes
// directly. node benchmarks/http-download.ts [--size MB] [--rounds N] [--directory PATH] [--only CASE]
//
// Each measurement has a server of its own, just started, with an empty directory; it has ended before the next one
// begins. Rounds go from Self-Streme to the direct way in turn, so that whatever else the machine does meets both.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { Agent, get } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { encode } from '../services/torrent/bencode.ts'
import { median, percentile, printTable, ratio } from './figures.ts'
import { MB, end, hashOf, startNginx, startService, writeRandom } from './servers.ts'
import { startLink } from './slow-link.ts'

const run = promisify(execFile)
const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '384' },
    rounds: { type: 'string', default: '7' },
    directory: { type: 'string', default: tmpdir() },
    only: { type: 'string', default: '' }
  }
})
const sizeMB = Number(values.size)
const rounds = Number(values.rounds)
const name = 'movie.mkv'
const slow = { bytesPerSecond: 2 * MB, delayMs: 50 }
const pieceLengths = [MB / 4, MB, 4 * MB]

interface Torrent {
  readonly infohash: string
  readonly pieceLength: number
}

/** What one round took, in milliseconds. */
interface Times {
  readonly ours: number
  readonly direct: number
}

const directory = await mkdtemp(join(values.directory, 'self-streme-bench-'))
const mirrorRoot = join(directory, 'mirror')
const path = join(mirrorRoot, name)
await mkdir(mirrorRoot)
await writeRandom(path, sizeMB)
const torrents: Torrent[] = []
for (const pieceLength of pieceLengths) torrents.push(await makeTorrent(pieceLength))
const nginx = await startNginx(directory, mirrorRoot)
try {
  if (nginx === null) throw new Error('nginx is not installed, or does not start: there is no mirror to measure with')
  const { origin } = nginx
  const port = Number(new URL(origin).port)

  if (isAsked('first-byte')) await behind(slow, measureFirstByte)
  if (isAsked('limited')) await behind({ bytesPerSecond: 50e6, delayMs: 0 }, measureLimited)
  if (isAsked('unlimited')) await measureUnlimited(origin)
  if (isAsked('seek')) await behind({ ...slow, delayMs: 0 }, measureSeek)

  async function behind (options: { bytesPerSecond: number, delayMs: number }, measure: (origin: string) => Promise<void>): Promise<void> {
    const link = await startLink(port, options)
    try {
      await measure(`http://127.0.0.1:${link.port}`)
    } finally {
      link.close()
    }
  }
} finally {
  if (nginx !== null) await end(nginx.child)
  await rm(directory, { recursive: true })
}

function isAsked (what: string): boolean {
  return values.only === '' || values.only === what
}

async function measureFirstByte (mirror: string): Promise<void> {
  const rows = await inTurns(torrents, async (torrent) => ({
    ours: await withServer(mirror, torrent, async (url) => {
      const before = performance.now()
      const response = await ask(url, 0)
      await firstByteOf(response)
      const ms = performance.now() - before
      response.destroy()
      return ms
    }),
    direct: await direct(async (agent) => {
      await read(await ask(`${mirror}/${torrent.infohash}.torrent`, null, agent))
      await read(await ask(`${mirror}/${name}`, 0, agent, torrent.pieceLength))
    })
  }))
  printTable(
    `Cold start: the first byte from a mirror with 2 MiB/s in all, 50 ms away in each direction, against a direct GET of the .torrent plus one piece over one connection. ${said(rounds)}`,
    ['pieces of', 'first byte', 'direct', 'self-streme takes', 'slowest round'],
    rows.map(({ torrent, times }) => timesRow(torrent, times)))
}

async function measureSeek (mirror: string): Promise<void> {
  const torrent = torrents.find(({ pieceLength }) => pieceLength === 4 * MB)
  if (torrent === undefined) throw new Error('there are no pieces of 4 MiB')
  // In the middle of the pieces, and each time of another one.
  let round = 0
  const rows = await inTurns([torrent], async (torrent) => {
    const piece = Math.floor(sizeMB * MB / torrent.pieceLength / 2) + round++
    return {
      ours: await withServer(mirror, torrent, async (url) => {
        const playing = await ask(url, 0)
        await firstByteOf(playing)
        // So that it is in the middle of what follows.
        await sleep(700)
        const before = performance.now()
        playing.destroy()
        const response = await ask(url, piece * torrent.pieceLength)
        await firstByteOf(response)
        const ms = performance.now() - before
        response.destroy()
        return ms
      }),
      direct: await direct(async (agent) => { await read(await ask(`${mirror}/${name}`, piece * torrent.pieceLength, agent, torrent.pieceLength)) })
    }
  })
  printTable(
    `A seek while the beginning plays, into a hole, from a mirror with 2 MiB/s in all, against a direct GET of that one piece. ${said(rounds)}`,
    ['pieces of', 'first byte', 'direct', 'self-streme takes', 'slowest round'],
    rows.map(({ torrent, times }) => timesRow(torrent, times)))
}

async function measureLimited (mirror: string): Promise<void> {
  const few = Math.ceil(rounds / 2)
  const rows = await inTurns(torrents.slice(1), async (torrent) => ({
    ours: await withServer(mirror, torrent, async (url) => await timed('curl', ['-sS', '-f', '-o', '/dev/null', url])),
    direct: await timed('curl', ['-sS', '-f', '-o', '/dev/null', `${mirror}/${name}`])
  }), few)
  printTable(
    `${sizeMB} MB through an empty cache from a mirror with 50 MB/s in all, against curl. ${said(few)}`,
    ['pieces of', 'MB/s', 'curl', 'self-streme is'],
    rows.map(({ torrent, times }) => speedRow(torrent, times)))
}

async function measureUnlimited (mirror: string): Promise<void> {
  const hash = await hashOf(path)
  for (const torrent of torrents) {
    await withServer(mirror, torrent, async (url) => {
      const copy = join(directory, 'copy')
      await run('curl', ['-sS', '-f', '-o', copy, url])
      if (await hashOf(copy) !== hash) throw new Error('self-streme sends other bytes than the file\'s')
      await rm(copy)
    })
  }
  const rows = await inTurns(torrents, async (torrent) => ({
    ours: await withServer(mirror, torrent, async (url) => await timed('curl', ['-sS', '-f', '-o', '/dev/null', url])),
    direct: await timed('sh', ['-c', 'curl -sS -f -o "$0" "$1" && sha1sum "$0" && rm "$0"', join(directory, 'copy'), `${mirror}/${name}`])
  }))
  printTable(
    `${sizeMB} MB through an empty cache from a mirror without limit, against \`curl -o file && sha1sum file\`. ${said(rounds)}`,
    ['pieces of', 'MB/s', 'curl and sha1sum', 'self-streme is'],
    rows.map(({ torrent, times }) => speedRow(torrent, times)))
}

/** All the torrents in each round, one after the other. */
async function inTurns (torrents: readonly Torrent[], measure: (torrent: Torrent) => Promise<Times>, count = rounds): Promise<Array<{ torrent: Torrent, times: Times[] }>> {
  const rows = torrents.map((torrent) => ({ torrent, times: [] as Times[] }))
  for (let round = 0; round < count; round++) {
    for (const { torrent, times } of rows) times.push(await measure(torrent))
  }
  return rows
}

/** Calls `use` with the stream's URL at a server that knows nothing yet. */
async function withServer<T> (mirror: string, { infohash }: Torrent, use: (url: string) => Promise<T>): Promise<T> {
  const downloads = join(directory, 'cold')
  await mkdir(downloads)
  const { child, origin } = await startService(downloads, {
    ENABLE_P2P: 'false',
    ENABLE_MOCK: 'false',
    TORRENT_METADATA_URLS: `${mirror}/{hash}.torrent`,
    HTTP_MIRROR_URLS: `${mirror}/{path}`
  })
  try {
    return await use(`${origin}/stream/proxy/${infohash}`)
  } finally {
    await end(child)
    await rm(downloads, { recursive: true })
  }
}

async function makeTorrent (pieceLength: number): Promise<Torrent> {
  const hashes: Buffer[] = []
  for await (const piece of createReadStream(path, { highWaterMark: pieceLength })) hashes.push(createHash('sha1').update(piece).digest())
  const info = new Map<string, string | number | Buffer>([['length', sizeMB * MB], ['name', name], ['piece length', pieceLength], ['pieces', Buffer.concat(hashes)]])
  const infohash = createHash('sha1').update(encode(info)).digest('hex')
  await writeFile(join(mirrorRoot, `${infohash}.torrent`), encode(new Map([['info', info]])))
  return { infohash, pieceLength }
}

/** The response to a GET: of everything, or of the bytes from `start` on. */
async function ask (url: string, start: number | null, agent?: Agent, lengthBytes?: number): Promise<IncomingMessage> {
  const last = start === null || lengthBytes === undefined ? '' : start + lengthBytes - 1
  const request = get(url, { ...agent === undefined ? {} : { agent }, headers: start === null ? {} : { range: `bytes=${start}-${last}` } })
  const [response]: IncomingMessage[] = await once(request, 'response')
  if (response === undefined || response.statusCode !== (start === null ? 200 : 206)) throw new Error(`${url} answers ${response?.statusCode}`)
  response.on('error', () => {})
  return response
}

async function firstByteOf (response: IncomingMessage): Promise<void> {
  await once(response, 'data')
}

async function read (response: IncomingMessage): Promise<void> {
  response.resume()
  await once(response, 'end')
}

/** How long it takes over one connection. */
async function direct (use: (agent: Agent) => Promise<void>): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const before = performance.now()
  await use(agent)
  const ms = performance.now() - before
  agent.destroy()
  return ms
}

async function timed (program: string, options: readonly string[]): Promise<number> {
  const before = performance.now()
  await run(program, [...options])
  return performance.now() - before
}

async function sleep (ms: number): Promise<void> {
  await new Promise(resolve => setTimeout(resolve, ms))
}

function said (count: number): string {
  return `Median of ${count} rounds.`
}

function sizeOf ({ pieceLength }: Torrent): string {
  return pieceLength < MB ? `${pieceLength / 1024} KiB` : `${pieceLength / MB} MiB`
}

/** The ratio of each round, for the two of a round met the same machine. */
function timesRow (torrent: Torrent, times: readonly Times[]): string[] {
  const ratios = times.map(({ ours, direct }) => ours / direct)
  return [
    sizeOf(torrent),
    `${median(times.map(({ ours }) => ours)).toFixed(0)} ms`,
    `${median(times.map(({ direct }) => direct)).toFixed(0)} ms`,
    ratio(median(ratios), 1),
    ratio(percentile(ratios, 1), 1)
  ]
}

function speedRow (torrent: Torrent, times: readonly Times[]): string[] {
  const speedOf = (ms: number): string => (sizeMB * MB / 1e3 / ms).toFixed(0)
  return [
    sizeOf(torrent),
    speedOf(median(times.map(({ ours }) => ours))),
    speedOf(median(times.map(({ direct }) => direct))),
    ratio(median(times.map(({ ours, direct }) => direct / ours)), 1)
  ]
}
