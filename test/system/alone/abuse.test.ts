import { getEventListeners } from 'node:events'
import { mkdir, readFile, readdir, utimes, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { queryObjects } from 'node:v8'
import t from 'tap'
import { readChecked } from '../../checked-read.ts'
import { jsonFrom, startApp } from '../../helper.ts'
import { startMirror } from '../../mirror.ts'
import { startServer } from '../../server-process.ts'
import { seededRandom } from '../../services/pieces/torrent.ts'
import { amount, seedOf, tellFigure } from '../../soak.ts'
import { makeTorrent, startSeeder, temporaryDirectory, testBytes, testWith, until } from '../../testnet.ts'
import type { IncomingMessage } from 'node:http'
import type { TestApp } from '../../helper.ts'
import type { Test } from 'tap'

const stormSeconds = amount('SOAK_STORM_SECONDS', 8)
const seeksPerSecond = 100
const crowd = amount('SOAK_CROWD', 100)
const deadCount = amount('SOAK_DEAD', 50)
const slowCount = amount('SOAK_SLOW_READERS', 100)

/** What a request may leave behind in this process: all of it is to be as it was. */
interface Gauge {
  readonly sockets: number
  readonly timers: number
  readonly files: number
  /** That wait for the server's end. */
  readonly listeners: number
  /** Abort signals that are in memory, after a garbage collection. */
  readonly signals: number
  readonly rssMb: number
}

/** Counting signals stops the process for a moment, so that is not done all the time. */
async function gauge ({ app }: TestApp, { withSignals = true } = {}): Promise<Gauge> {
  const resources = process.getActiveResourcesInfo()
  const count = (pattern: RegExp): number => resources.filter((name) => pattern.test(name)).length
  return {
    sockets: count(/TCPSocketWrap/),
    timers: count(/Timeout/),
    files: (await readdir('/proc/self/fd')).length,
    listeners: getEventListeners(app.sources.closing, 'abort').length,
    signals: withSignals ? queryObjects(AbortSignal, { format: 'count' }) : 0,
    rssMb: Math.round(process.memoryUsage.rss() / 1e6)
  }
}

/** The most of each over a time. */
function watchGauge (server: TestApp): () => Promise<Omit<Gauge, 'signals'>> {
  const stop = new AbortController()
  let most: Omit<Gauge, 'signals'> = { sockets: 0, timers: 0, files: 0, listeners: 0, rssMb: 0 }
  const watching = (async () => {
    while (!stop.signal.aborted) {
      const now = await gauge(server, { withSignals: false })
      most = {
        sockets: Math.max(most.sockets, now.sockets),
        timers: Math.max(most.timers, now.timers),
        files: Math.max(most.files, now.files),
        listeners: Math.max(most.listeners, now.listeners),
        rssMb: Math.max(most.rssMb, now.rssMb)
      }
      await wait(200)
    }
  })()
  return async () => {
    stop.abort()
    await watching
    return most
  }
}

/** Within some seconds all is as before, but for what comes and goes by itself. */
async function isBack (t: Test, server: TestApp, before: Gauge, limitMs: number): Promise<void> {
  const startedAt = performance.now()
  const spare = { sockets: 4, timers: 10, files: 8, listeners: 2, signals: 40 }
  let now = before
  const over = (): string[] => Object.entries(spare).flatMap(([name, more]) => {
    const [was, is] = [before, now].map((gauge) => Object.entries(gauge).find(([key]) => key === name)?.[1] ?? 0)
    return (is ?? 0) > (was ?? 0) + more ? [`${name}: ${was} before, ${is} now`] : []
  })
  await until('all is as before', async () => {
    now = await gauge(server)
    return over().length === 0
  }, limitMs).catch(() => {})
  t.same(over(), [], `after ${Math.round(performance.now() - startedAt)} ms nothing is left behind: ${JSON.stringify(now)}`)
}

/** Bytes a second that a reader of this file gets, over about so many milliseconds. */
async function speedOf (url: string, bytes: Buffer, ms: number): Promise<number> {
  const startedAt = performance.now()
  let received = 0
  while (performance.now() - startedAt < ms) {
    await readChecked(url, bytes, { start: 0, end: bytes.length - 1, signal: AbortSignal.timeout(60_000), onBytes: (count) => { received += count } })
  }
  return received / (performance.now() - startedAt) * 1000
}

/** A server in a process of its own with a placed film in its cache, and what reading that brings in peace. */
async function startWithPlaced (t: Test, env: Record<string, string> = {}): Promise<{ pid: number, url: string, placedUrl: string, placed: Buffer, inPeace: number }> {
  const directory = await temporaryDirectory(t)
  const placed = testBytes(30_000_000, 'placed')
  const infohash = testBytes(20, 'placed').toString('hex')
  const path = join(directory, 'cache', `${infohash}.mkv`)
  await mkdir(join(directory, 'cache'))
  await writeFile(path, placed)
  const anHourAgo = new Date(Date.now() - 3_600_000)
  await utimes(path, anHourAgo, anHourAgo)
  const { pid, url } = await startServer(t, { HTTP_ALLOW_PRIVATE_NETWORKS: 'true', LOG_LEVEL: 'error', ...env }, directory)
  const placedUrl = `${url}/stream/proxy/${infohash}`
  await speedOf(placedUrl, placed, 200)
  return { pid, url, placedUrl, placed, inPeace: await speedOf(placedUrl, placed, 1500) }
}

async function residentMb (pid: number): Promise<number> {
  const [, kilobytes = '0'] = /^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
  return Math.round(Number(kilobytes) / 1000)
}

async function filesOf (pid: number): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`)).length
}

testWith(t, `a seek storm of ${seeksPerSecond} ranges a second on a film that is being downloaded, most of them left -> every byte is right, nothing stays behind, a cached stream keeps its pace`, async (t) => {
  const random = seededRandom(seedOf(t))
  const film = testBytes(40_000_000, 'storm')
  const torrent = await makeTorrent({ 'Film.mkv': film }, { pieceLength: 131_072 })
  const mirror = await startMirror(t, torrent, { before: async () => { await wait(100) } })
  const { address } = await startSeeder(t, torrent, { uploadLimit: 2_000_000 })
  const { pid, url, placedUrl, placed, inPeace } = await startWithPlaced(t, { STATIC_PEERS: address, TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, SOURCE_HEDGE_DELAY: '500' })
  const filmUrl = `${url}/stream/proxy/${torrent.infohash}`
  await readChecked(filmUrl, film, { start: 0, end: 999_999, signal: AbortSignal.timeout(20_000) })
  const before = { files: await filesOf(pid), rssMb: await residentMb(pid) }
  const seeks: Array<Promise<void>> = []
  const count = { whole: 0, left: 0, compared: 0 }
  const failed: string[] = []
  const seek = async (): Promise<void> => {
    const start = random(film.length)
    const isWhole = random(20) === 0
    const leave = isWhole ? AbortSignal.timeout(60_000) : AbortSignal.timeout(random(150))
    try {
      await readChecked(filmUrl, film, { start, end: Math.min(film.length - 1, start + random(isWhole ? 300_000 : 5_000_000)), signal: leave, onBytes: (bytes) => { count.compared += bytes } })
      count.whole++
    } catch (error) {
      if (!isWhole && leave.aborted) count.left++
      else failed.push(String(error))
    }
  }
  const startedAt = performance.now()
  const during = speedOf(placedUrl, placed, stormSeconds * 1000)
  while (performance.now() - startedAt < stormSeconds * 1000) {
    while (seeks.length < (performance.now() - startedAt) / 1000 * seeksPerSecond) seeks.push(seek())
    await wait(10)
  }
  const meanwhile = await during
  const peak = await residentMb(pid)
  await Promise.all(seeks)
  t.same(failed, [], 'who stayed got every byte, and nobody a wrong one')
  await readChecked(filmUrl, film, { start: 0, end: film.length - 1, signal: AbortSignal.timeout(60_000) })
  await until('its files are closed', async () => await filesOf(pid) <= before.files + 10, 15_000)
  tellFigure(t, 'seek storm', `${seeks.length} ranges in ${stormSeconds} s, ${count.left} left, ${count.whole} whole, ${Math.round(count.compared / 1e6)} MB compared`)
  tellFigure(t, 'seek storm: a cached stream', `${Math.round(inPeace / 1e6)} MB/s before, ${Math.round(meanwhile / 1e6)} MB/s meanwhile: ${(meanwhile / inPeace).toFixed(2)}`)
  tellFigure(t, 'seek storm: the server', `${before.rssMb} MB before, ${peak} MB at its end, ${before.files} files before, ${await filesOf(pid)} after`)
  // Both ends share two cores with the test itself.
  t.ok(meanwhile / inPeace > 0.1, `a cached stream ran at ${(meanwhile / inPeace).toFixed(2)} of its pace`)
  t.ok(peak < before.rssMb + 300, `${peak} MB`)
}, 120_000)

for (const from of ['a mirror', 'a seeder']) {
  testWith(t, `${crowd} clients ask for one cold torrent at once, from ${from} -> one download, and each gets every byte`, async (t) => {
    const film = testBytes(8_000_000, `crowd ${from}`)
    const torrent = await makeTorrent({ 'Film.mkv': film }, { pieceLength: 131_072 })
    let sentBytes = 0
    const mirror = from === 'a mirror'
      ? await startMirror(t, torrent, {
        tamper: (bytes) => {
          sentBytes += bytes.length
          return bytes
        }
      })
      : null
    const seeder = from === 'a mirror' ? null : await startSeeder(t, torrent)
    const server = await startApp(t, {
      ...mirror === null ? {} : { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl },
      ...seeder === null ? {} : { ENABLE_P2P: 'true', ENABLE_HTTP_FALLBACK: 'false', STATIC_PEERS: seeder.address }
    })
    const before = await gauge(server)
    const startedAt = performance.now()
    const reads = Array.from({ length: crowd }, async () => {
      await readChecked(`${server.url}/stream/proxy/${torrent.infohash}`, film, { start: 0, end: film.length - 1, signal: AbortSignal.timeout(80_000) })
    })
    const most = watchGauge(server)
    await Promise.all(reads)
    const ms = performance.now() - startedAt
    const peak = await most()
    const fetched = seeder === null ? sentBytes : (await seeder.counts()).uploaded
    tellFigure(t, `${crowd} clients, ${from}`, `${(crowd * film.length / 1e6 / ms * 1000).toFixed(0)} MB/s to all, ${(fetched / film.length).toFixed(2)} times the film was fetched; at most ${peak.rssMb} MB (${before.rssMb} before), ${peak.timers} timers, ${peak.listeners} listeners`)
    t.ok(fetched < film.length * 1.3, `${fetched} bytes of ${film.length} were fetched`)
    t.equal(mirror?.requests.filter((path) => path.endsWith('.torrent')).length ?? 1, 1, 'the .torrent was asked for once')
    await isBack(t, server, before, 15_000)
  }, 120_000)
}

testWith(t, `${deadCount} dead torrents asked for at once -> each gets its 404 with all reasons in time, asked again at once; bounded meanwhile, and nothing stays behind`, async (t) => {
  const P2P_TIMEOUT = 2000
  const dead = await makeTorrent({ 'Dead.mkv': testBytes(100_000, 'dead') })
  const mirror = await startMirror(t, dead, { before: (_request, response) => { response.writeHead(404).end() } })
  const server = await startApp(t, {
    ENABLE_P2P: 'true', TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, P2P_TIMEOUT: String(P2P_TIMEOUT), START_TIMEOUT: '6000', MAX_TORRENTS: String(deadCount + 1), LINGER: '0', SOURCE_HEDGE_DELAY: '500'
  })
  await until('the swarm is there', () => server.app.swarm?.status.state === 'ready')
  const swarmPid = server.app.swarm?.pid ?? 0
  const hashes = Array.from({ length: deadCount }, (_, i) => i === 0 ? dead.infohash : testBytes(20, `dead ${i}`).toString('hex'))
  const ask = async (): Promise<Array<{ status: number, reasons: string[], retryAfter: number, ms: number }>> => await Promise.all(hashes.map(async (hash) => {
    const startedAt = performance.now()
    const { status, headers, body } = await jsonFrom(`${server.url}/stream/proxy/${hash}`, { headers: { connection: 'close' } })
    return { status, reasons: body.reasons.map(({ source, code }: { source: string, code: string }) => `${source} ${code}`), retryAfter: Number(headers.get('retry-after')), ms: performance.now() - startedAt }
  }))
  // What is made once, at the first of its kind.
  await jsonFrom(`${server.url}/stream/proxy/${testBytes(20, 'first').toString('hex')}`, { headers: { connection: 'close' } })
  await until('the first one is let go', () => server.app.torrents.list().length === 0)
  const before = await gauge(server)
  const beforeInSwarm = { files: await filesOf(swarmPid), rssMb: await residentMb(swarmPid) }
  const most = watchGauge(server)
  const first = await ask()
  const peak = await most()
  const slowest = Math.max(...first.map(({ ms }) => ms))
  t.same([...new Set(first.map(({ status }) => status))], [404])
  t.ok(first.every(({ reasons }) => reasons.some((reason) => reason.startsWith('p2p ')) && reasons.some((reason) => reason.startsWith('http-fallback '))), `every source says why: ${[...new Set(first.map(({ reasons }) => reasons.join(', ')))].join(' | ')}`)
  t.ok(slowest < P2P_TIMEOUT + 2000, `the slowest answer came after ${Math.round(slowest)} ms`)
  const again = await ask()
  const slowestAgain = Math.max(...again.map(({ ms }) => ms))
  t.ok(slowestAgain < 1000, `asked again, the slowest came after ${Math.round(slowestAgain)} ms`)
  t.ok(again.every(({ status, retryAfter }) => status === 404 && retryAfter > 0), 'with Retry-After')
  t.ok(again.every(({ reasons }, i) => reasons.join() === first[i]?.reasons.join()), 'and with the same reasons')
  await until('they are let go', () => server.app.torrents.list().length === 0)
  await isBack(t, server, before, 15_000)
  tellFigure(t, `${deadCount} dead torrents`, `slowest 404 after ${Math.round(slowest)} ms (P2P_TIMEOUT ${P2P_TIMEOUT} ms), asked again after ${Math.round(slowestAgain)} ms`)
  tellFigure(t, `${deadCount} dead torrents: at most`, `${peak.sockets} sockets (both ends), ${peak.timers} timers, ${peak.files} files, ${peak.listeners} listeners, ${peak.rssMb} MB (${before.rssMb} before); the swarm's process ${await filesOf(swarmPid)} files (${beforeInSwarm.files} before), ${await residentMb(swarmPid)} MB (${beforeInSwarm.rssMb} before)`)
  t.ok(peak.timers < before.timers + 40 * deadCount && peak.sockets < before.sockets + 10 * deadCount, 'bounded meanwhile')
  t.ok(peak.rssMb < before.rssMb + 200, `${peak.rssMb} MB`)
}, 60_000)

testWith(t, `${slowCount} clients that read a byte a second -> they hold little, and a cached stream keeps its pace`, async (t) => {
  const film = testBytes(20_000_000, 'slow')
  const torrent = await makeTorrent({ 'Film.mkv': film }, { pieceLength: 131_072 })
  const mirror = await startMirror(t, torrent)
  const { pid, url, placedUrl, placed, inPeace } = await startWithPlaced(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const before = { files: await filesOf(pid), rssMb: await residentMb(pid) }
  const over = new AbortController()
  const slow = Array.from({ length: slowCount }, async (_, i) => { await dribble(i % 2 === 0 ? placedUrl : `${url}/stream/proxy/${torrent.infohash}`, i % 2 === 0 ? placed : film, over.signal) })
  await until('they are all there', async () => await filesOf(pid) >= before.files + slowCount, 30_000)
  await readChecked(`${url}/stream/proxy/${torrent.infohash}`, film, { start: 0, end: film.length - 1, signal: AbortSignal.timeout(30_000) })
  t.pass('the film that they sit on plays for others')
  const meanwhile = await speedOf(placedUrl, placed, 3000)
  const peak = await residentMb(pid)
  over.abort()
  await Promise.all(slow)
  await until('their sockets and files are gone', async () => await filesOf(pid) <= before.files + 10, 20_000)
  tellFigure(t, `${slowCount} clients of a byte a second`, `a cached stream: ${Math.round(inPeace / 1e6)} MB/s before, ${Math.round(meanwhile / 1e6)} MB/s meanwhile: ${(meanwhile / inPeace).toFixed(2)}; ${before.rssMb} MB before, ${peak} MB with them; ${before.files} files before, ${await filesOf(pid)} after`)
  t.ok(meanwhile / inPeace > 0.2, `a cached stream ran at ${(meanwhile / inPeace).toFixed(2)} of its pace`)
  t.ok(peak < before.rssMb + 400, `${peak} MB`)
}, 90_000)

/** Reads a byte a second, each compared, until it may leave. */
async function dribble (url: string, original: Buffer, signal: AbortSignal): Promise<void> {
  const asked = request(url, { agent: false })
  const response = await new Promise<IncomingMessage>((resolve, reject) => { asked.on('response', resolve).on('error', reject).end() })
  asked.on('error', () => {})
  response.on('error', () => {})
  for (let position = 0; !signal.aborted; position++) {
    const byte: unknown = response.read(1)
    if (Buffer.isBuffer(byte) && byte[0] !== original[position]) throw new Error(`another byte at ${position}`)
    if (byte === null) position--
    await wait(1000, undefined, { signal }).catch(() => {})
  }
  asked.destroy()
}
