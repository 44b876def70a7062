import { createCipheriv, createHash } from 'node:crypto'
import { once } from 'node:events'
import { open, readFile, writeFile } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { parseMetadata } from '../../../services/torrent/metadata.ts'
import { jsonFrom } from '../../helper.ts'
import { startServer, swarmOf } from '../../server-process.ts'
import { seededRandom } from '../../services/pieces/torrent.ts'
import { amount, seedOf, tellFigure } from '../../soak.ts'
import { startSeederOf, temporaryDirectory, testWith } from '../../testnet.ts'
import { listenOnLoopback } from '../../loopback.ts'
import type { Test } from 'tap'

const seconds = amount('SOAK_MEMORY_SECONDS', 15)
const limitMb = 512
const readerCount = 20
const pieceLength = 32 * 1024 * 1024
const lengthBytes = 20 * pieceLength - 12_345
const sampleMs = 200
const bytesPerMb = 1_000_000

/** The film from any byte on, without the film: what a counter cipher makes of zeros begins anywhere. */
function filmAt (position: number, length: number): Buffer {
  const block = Math.floor(position / 16)
  const counter = Buffer.alloc(16)
  counter.writeBigUInt64BE(BigInt(block), 8)
  const lead = position - block * 16
  return createCipheriv('aes-256-ctr', createHash('sha256').update('memory').digest(), counter).update(Buffer.alloc(lead + length)).subarray(lead)
}

/** Writes the film piece by piece, and makes its `.torrent`. */
async function writeFilm (directory: string): Promise<Buffer> {
  const file = await open(join(directory, 'Film.mkv'), 'w')
  const hashes: Buffer[] = []
  for (let position = 0; position < lengthBytes; position += pieceLength) {
    const bytes = filmAt(position, Math.min(pieceLength, lengthBytes - position))
    hashes.push(createHash('sha1').update(bytes).digest())
    await file.write(bytes, 0, bytes.length, position)
  }
  await file.close()
  const pieces = Buffer.concat(hashes)
  return Buffer.concat([Buffer.from(`d4:infod6:lengthi${lengthBytes}e4:name8:Film.mkv12:piece lengthi${pieceLength}e6:pieces${pieces.length}:`), pieces, Buffer.from('ee')])
}

/** An HTTP server with the film and its `.torrent`, ranges included, that keeps nothing of it in memory. */
async function startFilmMirror (t: Test, torrent: Buffer): Promise<{ readonly env: Record<string, string>, sentBytes (): number }> {
  let sentBytes = 0
  const server = createServer((asked, response) => {
    if (asked.url?.endsWith('.torrent') === true) return response.end(torrent)
    const [, from = '0', to = String(lengthBytes - 1)] = /^bytes=(\d+)-(\d+)?$/.exec(asked.headers.range ?? '') ?? []
    const [start, end] = [Number(from), Number(to)]
    response.writeHead(206, { 'Content-Length': end - start + 1, 'Content-Range': `bytes ${start}-${end}/${lengthBytes}` })
    Readable.from((function * () {
      for (let position = start; position <= end; position += 65_536) {
        const bytes = filmAt(position, Math.min(65_536, end - position + 1))
        sentBytes += bytes.length
        yield bytes
      }
    })()).on('error', () => {}).pipe(response)
  })
  const origin = await listenOnLoopback(t, server)
  return {
    sentBytes: () => sentBytes,
    // Whoever is asked first is not given much time: so both are at work.
    env: { ENABLE_HTTP_FALLBACK: 'true', HTTP_ALLOW_PRIVATE_NETWORKS: 'true', TORRENT_METADATA_URLS: `${origin}/{hash}.torrent`, HTTP_MIRROR_URLS: `${origin}/{hash}`, SOURCE_HEDGE_DELAY: '200' }
  }
}

/** What the process has in memory, its share of what both have (the pages of node itself) counted half: added up, the truth. */
async function residentBytes (pid: number): Promise<number> {
  const [, kilobytes = '0'] = /^Pss:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '')) ?? []
  return Number(kilobytes) * 1024
}

interface Sample {
  readonly atMs: number
  readonly server: number
  readonly swarm: number
  readonly comparedBytes: number
}

interface Tally {
  comparedBytes: number
  ranges: number
  refused: number
  readonly wrong: string[]
}

/** Reads at random places for as long as the signal allows: a megabyte after a seek, or on through a whole piece. */
async function readOn (url: string, random: (below: number) => number, tally: Tally, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const start = random(lengthBytes - 1)
    const length = random(3) === 0 ? pieceLength : 1_000_000
    const end = Math.min(lengthBytes - 1, start + length - 1)
    try {
      await readRange(url, start, end, tally, signal)
      tally.ranges++
    } catch (error) {
      if (signal.aborted) return
      tally.wrong.push(String(error))
      return
    }
  }
}

async function readRange (url: string, start: number, end: number, tally: Tally, signal: AbortSignal): Promise<void> {
  const asked = request(url, { headers: { Range: `bytes=${start}-${end}` }, agent: false, signal })
  asked.end()
  const [response]: IncomingMessage[] = await once(asked, 'response')
  if (response === undefined) throw new Error('no response')
  asked.on('error', () => {})
  if (response.statusCode === 503) {
    // Twenty readers, and few pieces at a time: who had to wait too long asks again, as players do.
    tally.refused++
    response.resume()
    await wait(1000, undefined, { signal })
    return
  }
  if (response.statusCode !== 206) throw new Error(`bytes=${start}-${end}: ${response.statusCode} ${await text(response)}`)
  let position = start
  try {
    for await (const chunk of response) {
      if (!Buffer.isBuffer(chunk)) throw new Error('not bytes')
      if (!filmAt(position, chunk.length).equals(chunk)) tally.wrong.push(`other bytes between ${position} and ${position + chunk.length}`)
      position += chunk.length
      tally.comparedBytes += chunk.length
    }
  } catch (error) {
    // Cut: nobody got to this reader's piece in time.
    if (signal.aborted || !(error instanceof Error) || !('code' in error) || error.code !== 'ECONNRESET') throw error
    tally.refused++
  }
}

/** Prints what was sampled, five seconds a line: least, median, most. */
function tellCurve (t: Test, samples: readonly Sample[]): void {
  const mb = (bytes: number): string => String(Math.round(bytes / bytesPerMb))
  const three = (values: readonly number[]): string => {
    const sorted = [...values].sort((a, b) => a - b)
    return [sorted[0], sorted[Math.floor(sorted.length / 2)], sorted.at(-1)].map((bytes = 0) => mb(bytes)).join('/')
  }
  let comparedBytes = 0
  for (const [second, part] of Map.groupBy(samples, ({ atMs }) => Math.floor(atMs / 5000) * 5)) {
    t.comment(`${String(second).padStart(4)} s  both ${three(part.map(({ server, swarm }) => server + swarm))}  server ${three(part.map(({ server }) => server))}  swarm ${three(part.map(({ swarm }) => swarm))} MB  read ${mb((part.at(-1)?.comparedBytes ?? 0) - comparedBytes)} MB`)
    comparedBytes = part.at(-1)?.comparedBytes ?? comparedBytes
  }
}

for (const hasMirror of [false, true]) {
  testWith(t, `pieces of 32 MiB, ${readerCount} readers at random positions, ${limitMb} MB, from a swarm${hasMirror ? ' and an HTTP mirror together' : ''}: both processes stay below it, and every byte is right`, async (t) => {
    const seed = seedOf(t)
    const directory = await temporaryDirectory(t)
    const torrent = await writeFilm(directory)
    const { infohash } = parseMetadata(torrent)
    const torrentPath = join(directory, 'film.torrent')
    await writeFile(torrentPath, torrent)
    const seeder = await startSeederOf(t, { directory, torrentPath })
    const mirror = hasMirror ? await startFilmMirror(t, torrent) : null
    const server = await startServer(t, {
      ...mirror?.env ?? { ENABLE_HTTP_FALLBACK: 'false' },
      SERVER_MEMORY: String(limitMb),
      STATIC_PEERS: seeder.address,
      ENABLE_MOCK: 'false',
      LOG_LEVEL: 'warn',
      LOG_FORMAT: 'json'
    }, await temporaryDirectory(t))
    const swarm = await swarmOf(server)
    const added = await jsonFrom(`${server.url}/api/torrents`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ magnetUri: `magnet:?xt=urn:btih:${infohash}` })
    })
    t.ok(added.body.success, 'it is added')

    const over = new AbortController()
    const random = seededRandom(seed)
    const tally: Tally = { comparedBytes: 0, ranges: 0, refused: 0, wrong: [] }
    const readers = Array.from({ length: readerCount }, async () => { await readOn(`${server.url}/stream/proxy/${infohash}`, random, tally, over.signal) })
    const samples: Sample[] = []
    const startedAt = performance.now()
    for (let atMs = 0; atMs < seconds * 1000; atMs = performance.now() - startedAt) {
      const [inServer, inSwarm] = await Promise.all([residentBytes(server.pid), residentBytes(swarm)])
      samples.push({ atMs, server: inServer, swarm: inSwarm, comparedBytes: tally.comparedBytes })
      await wait(sampleMs)
    }
    over.abort()
    await Promise.all(readers)

    tellCurve(t, samples)
    const most = Math.max(...samples.map(({ server, swarm }) => server + swarm))
    tellFigure(t, 'memory: both processes, most', `${Math.round(most / bytesPerMb)} MB`)
    tellFigure(t, 'memory: bytes compared', `${Math.round(tally.comparedBytes / bytesPerMb)} MB in ${tally.ranges} ranges`)
    tellFigure(t, 'memory: requests that were told to wait', tally.refused)
    t.ok(most < limitMb * bytesPerMb, `${Math.round(most / bytesPerMb)} MB are less than ${limitMb}`)
    t.ok(samples.every(({ server, swarm }) => server > 0 && swarm > 0), 'both processes lived all the time')
    t.same(tally.wrong, [], 'every byte that was served is the film\'s')
    t.ok(tally.comparedBytes > lengthBytes / 4, 'and many were')
    if (mirror === null) return
    tellFigure(t, 'memory: asked of the mirror', `${Math.round(mirror.sentBytes() / bytesPerMb)} MB`)
    t.ok(mirror.sentBytes() > pieceLength, 'the mirror had its part in it')
    // How much of it is a matter of who is faster.
    const { uploaded } = await seeder.counts()
    tellFigure(t, 'memory: asked of the swarm', `${Math.round(uploaded / bytesPerMb)} MB`)
    t.ok(uploaded > 0, 'and so had the swarm')
  }, 90_000 + seconds * 1000)
}
