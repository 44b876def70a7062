import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { getPriority } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Test } from 'tap'
import { emptyReport } from '../../../services/nat/network-report.ts'
import type { Verdict } from '../../../services/nat/network-report.ts'
import { urgencies } from '../../../services/pieces/demand.ts'
import { PieceStore } from '../../../services/pieces/piece-store.ts'
import type { HostTuning } from '../../../services/swarm/host-process.ts'
import { noStats } from '../../../services/swarm/messages.ts'
import type { HostReply } from '../../../services/swarm/messages.ts'
import type { Swarm, SwarmTorrent } from '../../../services/swarm/swarm.ts'
import { makeTorrent, temporaryDirectory, testBytes, until } from '../../testnet.ts'
import { gone, isAlive, makeSwarm, openStore, recordingLog, startSwarm } from './swarm-setup.ts'

const fakeHost = fileURLToPath(new URL('./fake-host.ts', import.meta.url))
const quick: Partial<HostTuning> = { hostPath: fakeHost, firstRestartMs: 10, lastRestartMs: 40 }
const film = await makeTorrent({ 'film.mkv': testBytes(100_000, 'film') })

interface Heard { readonly type: string, readonly [key: string]: unknown }

/** A swarm with the fake host, which notes what that hears. */
function fakeSwarm (t: Test, mode: string, tuning: Partial<HostTuning> = {}): { swarm: Swarm, heard: Heard[], of: (type: string) => Heard[] } {
  const heard: Heard[] = []
  const log = recordingLog()
  const swarm = makeSwarm(t, {
    port: 6_881,
    trackers: [mode],
    log: { ...log, debug: (fields, message) => { if (message === 'heard' && 'type' in fields) heard.push({ ...fields, type: String(fields.type) }) } }
  }, { ...quick, ...tuning })
  return { swarm, heard, of: (type) => heard.filter((request) => request.type === type) }
}

async function readySwarm (t: Test, mode = 'well', tuning: Partial<HostTuning> = {}): Promise<ReturnType<typeof fakeSwarm>> {
  const fake = fakeSwarm(t, mode, tuning)
  fake.swarm.start()
  await fake.swarm.ready(AbortSignal.timeout(10_000))
  return fake
}

/** Makes the fake host say this. */
function make (torrent: SwarmTorrent, ...replies: HostReply[]): void {
  torrent.addPeers(replies.map((reply) => JSON.stringify(reply)))
}

function kill (swarm: Swarm): void {
  if (swarm.pid !== null) process.kill(swarm.pid, 'SIGKILL')
}

const nothing = { torrent: null, trackers: [], peers: [], store: null }

t.test('starts, and says where it listens and what it can do', async (t) => {
  const { swarm } = fakeSwarm(t, 'well')
  t.equal(swarm.status.state, 'starting')
  t.equal(swarm.start(), undefined)
  t.equal(swarm.status.state, 'starting', 'nothing is waited for')
  await swarm.ready(AbortSignal.timeout(10_000))
  t.match(swarm.status, { state: 'ready' })
  t.match(swarm.network, { ports: { tcp: 4_242 }, hasUtp: true, hasWebRtc: false, dhtNodes: 0 })
})

t.test('its process yields to the server where the processor is short', async (t) => {
  const { swarm } = await readySwarm(t)
  t.equal(getPriority(swarm.pid ?? 0), getPriority() + 5)
})

t.test('the kind of NAT is logged when it is found out, and when it changes', async (t) => {
  const log = recordingLog()
  const swarm = makeSwarm(t, { trackers: ['well'], log }, quick)
  swarm.start()
  await swarm.ready(AbortSignal.timeout(10_000))
  const torrent = swarm.join(film.infohash, nothing)
  const report = emptyReport('', '')
  const say = async (verdict: Partial<Verdict>): Promise<void> => {
    const heard = once(swarm, 'network')
    make(torrent, { type: 'network', report: { ...report, verdict: { ...report.verdict, ...verdict } } })
    await heard
  }
  await say({ isPending: true })
  await say({ kind: 'full cone', confidence: 'high' })
  await say({ kind: 'full cone', confidence: 'high', reason: 'more is known' })
  await say({ kind: 'symmetric', confidence: 'medium' })
  t.same(log.lines.filter((line) => line.includes('NAT')), ['info NAT: unknown (confidence none)', 'info NAT: full cone (confidence high)', 'info NAT: symmetric (confidence medium)'])
})

t.test('P2P cannot work here -> unavailable with the reason, and nothing is tried again', async (t) => {
  const { swarm } = fakeSwarm(t, 'unavailable')
  let starts = 0
  swarm.on('change', () => { if (swarm.status.state === 'starting') starts++ })
  swarm.start()
  await t.rejects(swarm.ready(AbortSignal.timeout(10_000)), { code: 'P2P_UNAVAILABLE', message: 'no native parts' })
  await until('the process has ended', () => swarm.pid === null)
  swarm.start()
  t.equal(swarm.pid, null)
  t.equal(starts, 1)
  t.match(swarm.status, { state: 'unavailable', reason: 'no native parts' })
  const torrent = swarm.join(film.infohash, nothing)
  torrent.addPeers(['127.0.0.1:1'])
  torrent.leave()
})

t.test('dies at each start -> unavailable with what it said last', async (t) => {
  const { swarm } = fakeSwarm(t, 'crash')
  swarm.start()
  await t.rejects(swarm.ready(AbortSignal.timeout(20_000)), { code: 'P2P_UNAVAILABLE', message: /ended with code 1: Error: it broke$/ })
})

t.test('a process that cannot be started does not stop the server', async (t) => {
  const { swarm } = fakeSwarm(t, 'well', { hostPath: join(t.testdir(), 'missing.ts') })
  swarm.start()
  await t.rejects(swarm.ready(AbortSignal.timeout(20_000)), { code: 'P2P_UNAVAILABLE' })
})

t.test('whoever waits for it can stop waiting', async (t) => {
  const { swarm } = fakeSwarm(t, 'well')
  const stop = new AbortController()
  const waiting = swarm.ready(stop.signal)
  stop.abort(new Error('the reader left'))
  await t.rejects(waiting, { message: 'the reader left' })
  t.equal(swarm.listenerCount('change'), 0, 'and leaves nothing behind')
})

t.test('killed -> it starts again and gets all torrents, with what is verified by then and what is wanted', async (t) => {
  const { swarm, of } = await readySwarm(t)
  const store = await openStore(t, film)
  const torrent = swarm.join(film.infohash, { torrent: film.torrent, trackers: ['http://127.0.0.1:1/a'], peers: [], store })
  const other = swarm.join('f'.repeat(40), nothing)
  torrent.demand.open().set([{ first: store.geometry.piece(2), last: store.geometry.piece(4), urgency: urgencies.waiting }])
  make(torrent, { type: 'stats', id: 1, stats: { ...noStats, peersKnown: 2, peersConnected: 1, peersConnecting: 0, receivedBytes: 1_000, uploadedBytes: 10, downloadSpeed: 5, uploadSpeed: 0, fetching: [[2, 5]], isBarren: false } })
  await once(torrent, 'stats')
  t.equal(torrent.receivedBytes, 1_000)
  t.ok(torrent.isHopeful)
  await store.write(store.geometry.piece(0), film.files[0]?.bytes.subarray(0, 16_384) ?? Buffer.alloc(0))
  await until('it is told', () => of('filled').length === 1)
  kill(swarm)
  await until('it knows', () => swarm.status.state === 'starting')
  t.notOk(torrent.isHopeful, 'nobody can deliver while it is gone')
  await swarm.ready(AbortSignal.timeout(10_000))
  await until('the torrents are back', () => of('join').length === 4 && of('demand').length === 2)
  t.same(of('join').map(({ infohash }) => infohash), [film.infohash, other.infohash, film.infohash, other.infohash])
  t.same(of('join')[2]?.['trackers'], ['http://127.0.0.1:1/a'])
  t.same(Buffer.from(of('attach')[0]?.['bitfield'] as Uint8Array), Buffer.from([0]))
  t.same(Buffer.from(of('attach')[1]?.['bitfield'] as Uint8Array), Buffer.from([0b1000_0000]))
  t.same(of('demand')[1]?.['ranges'], [[2, 4, urgencies.waiting]])
  t.equal(torrent.receivedBytes, 1_000, 'what was received stays counted')
})

t.test('takes more memory than it needs, twice in a row -> it is killed and started again, and says why', async (t) => {
  const { swarm } = await readySwarm(t, 'fat', { heartbeatMs: 200 })
  const { pid } = swarm
  if (pid === null) throw new Error('no process')
  const reasons: string[] = []
  swarm.on('change', () => { reasons.push(swarm.status.reason) })
  await until('it is gone', () => swarm.pid !== pid)
  t.match(reasons.join(), /it took .* of memory/)
  t.notOk(isAlive(pid))
  await swarm.ready(AbortSignal.timeout(10_000))
})

t.test('hangs -> it is killed and started again', async (t) => {
  const { swarm } = await readySwarm(t, `hang ${join(t.testdir(), 'hung')}`, { heartbeatMs: 200 })
  const { pid } = swarm
  if (pid === null) throw new Error('no process')
  await until('it is gone', () => swarm.pid !== pid)
  t.notOk(isAlive(pid))
  await swarm.ready(AbortSignal.timeout(10_000))
  t.equal(swarm.status.state, 'ready')
})

t.test('close() ends the process, and whoever waits', async (t) => {
  const { swarm } = await readySwarm(t)
  const { pid } = swarm
  await swarm.close()
  t.notOk(isAlive(pid ?? 0))
  t.equal(swarm.status.state, 'closed')
  await t.rejects(swarm.ready(AbortSignal.timeout(1_000)), { code: 'P2P_UNAVAILABLE' })
  swarm.start()
  t.equal(swarm.pid, null, 'it does not start again')
  await swarm.close()
})

t.test('close() before it is ready, and before it is started', async (t) => {
  const { swarm } = fakeSwarm(t, 'well')
  await swarm.close()
  const { swarm: other } = fakeSwarm(t, 'well')
  other.start()
  const { pid } = other
  await other.close()
  t.notOk(isAlive(pid ?? 0))
})

t.test('close() kills a process that does not listen', async (t) => {
  const { swarm } = await readySwarm(t, 'deaf', { stopMs: 100 })
  const { pid } = swarm
  await swarm.close()
  t.notOk(isAlive(pid ?? 0))
})

t.test('joined before it is ready -> told as soon as it is', async (t) => {
  const { swarm, of } = fakeSwarm(t, 'well')
  const torrent = swarm.join(film.infohash, { ...nothing, trackers: ['udp://127.0.0.1:1'] })
  torrent.addTrackers(['udp://127.0.0.1:2', 'udp://127.0.0.1:1'])
  swarm.start()
  await until('it is told', () => of('join').length === 1)
  t.same(of('join')[0]?.['trackers'], ['udp://127.0.0.1:1', 'udp://127.0.0.1:2'])
  t.same(of('trackers'), [])
})

t.test('joined twice -> one torrent; left -> it can be joined anew', async (t) => {
  const { swarm, of } = await readySwarm(t)
  const torrent = swarm.join(film.infohash, nothing)
  t.equal(swarm.join(film.infohash, { ...nothing, trackers: ['udp://127.0.0.1:9'] }), torrent)
  torrent.leave()
  torrent.leave()
  torrent.addTrackers(['udp://127.0.0.1:8'])
  t.not(swarm.join(film.infohash, nothing), torrent)
  await until('it heard all', () => of('join').length === 2)
  t.same(of('trackers').map(({ trackers }) => trackers), [['udp://127.0.0.1:9']])
  t.same(of('leave').map(({ id }) => id), [1])
})

t.test('a piece that the swarm verified is in the store, and is not told back to it', async (t) => {
  const { swarm, of } = await readySwarm(t)
  const store = await openStore(t, film)
  const torrent = swarm.join(film.infohash, nothing)
  torrent.attach(store, film.torrent)
  torrent.attach(store, film.torrent)
  const readable = store.waitFor(store.geometry.piece(3), AbortSignal.timeout(10_000))
  make(torrent, { type: 'verified', id: 1, piece: 3, layoutVersion: store.layout.version })
  await readable
  t.ok(store.has(store.geometry.piece(3)))
  await store.write(store.geometry.piece(0), film.files[0]?.bytes.subarray(0, 16_384) ?? Buffer.alloc(0))
  await until('it is told of the other', () => of('filled').length === 1)
  t.same(of('filled')[0]?.['pieces'], [0])
  t.equal(of('attach').length, 1)
})

t.test('the store hears when the process has ended its writes, has died or has left', async (t) => {
  const { swarm, of } = await readySwarm(t)
  const store = await openStore(t, film)
  const torrent = swarm.join(film.infohash, { ...nothing, torrent: film.torrent, store })
  const settle = async () => await Promise.all([...store.writers].map(async (settled) => await settled()))
  t.equal(store.writers.size, 1)
  const asked = settle()
  await until('it is asked', () => of('settle').length === 1)
  make(torrent, { type: 'settled', id: 1, number: 1 })
  await asked
  const unanswered = settle()
  await until('it is asked again', () => of('settle').length === 2)
  kill(swarm)
  await unanswered
  await swarm.ready(AbortSignal.timeout(10_000))
  const last = settle()
  torrent.leave()
  await last
  t.equal(store.writers.size, 0)
})

t.test('a piece that the store does not take is fetched again', async (t) => {
  const { swarm, of } = await readySwarm(t)
  const two = await makeTorrent({ 'a.bin': testBytes(20_000, 'a'), 'b.bin': testBytes(20_000, 'b') })
  const store = await openStore(t, two, [0])
  const torrent = swarm.join(two.infohash, { ...nothing, torrent: two.torrent, store })
  const { version } = store.layout
  await store.want(1)
  t.ok(store.layout.version > version)
  await until('it is told of the new layout', () => of('layout').length === 1)
  // Written when b.bin was not wanted, and no edge file has the rest of it.
  make(torrent, { type: 'verified', id: 1, piece: 1, layoutVersion: version })
  await until('it is told', () => of('dropped').length === 1)
  t.same(of('dropped')[0]?.['pieces'], [1])
})

t.test('a reader that moves often in one turn is told once, and the last word counts', async (t) => {
  const { swarm, of } = await readySwarm(t)
  const store = await openStore(t, film)
  const torrent = swarm.join(film.infohash, { ...nothing, torrent: film.torrent, store })
  const want = torrent.demand.open()
  for (let i = 0; i < 5; i++) want.set([{ first: store.geometry.piece(i), last: store.geometry.piece(i), urgency: urgencies.waiting }])
  await until('it is told', () => of('demand').length > 0)
  want.release()
  await until('it is told that nothing is wanted', () => of('demand').length > 1)
  t.same(of('demand').map(({ ranges }) => ranges), [[[4, 4, urgencies.waiting]], []])
})

t.test('what the store has to check first is not asked for, until it turns out to be wrong', async (t) => {
  const { swarm, of } = await readySwarm(t)
  const directory = await temporaryDirectory(t)
  const before = await PieceStore.open({ metadata: film.metadata, directory: join(directory, 'before') })
  await before.want(0)
  for (const index of [1, 2]) {
    const piece = before.geometry.piece(index)
    await before.write(piece, testBytes(100_000, 'film').subarray(before.geometry.offsetOf(piece), before.geometry.offsetOf(piece) + before.geometry.lengthOf(piece)))
  }
  await cp(before.directory, join(directory, 'killed'), { recursive: true })
  await before.close()
  const part = await readFile(join(directory, 'killed', '0.part'))
  part[2 * film.metadata.pieceLength] = (part[2 * film.metadata.pieceLength] ?? 0) ^ 1
  await writeFile(join(directory, 'killed', '0.part'), part)

  const store = await PieceStore.open({ metadata: film.metadata, directory: join(directory, 'killed'), checkDelayMs: 3_600_000 })
  t.teardown(async () => { await store.close() })
  const torrent = swarm.join(film.infohash, { ...nothing, torrent: film.torrent, store })
  torrent.demand.open().set([{ first: store.geometry.piece(0), last: store.geometry.piece(3), urgency: urgencies.readAhead }])
  await until('it is told', () => of('demand').length > 0)
  t.same(of('demand')[0]?.['ranges'], [[0, 0, urgencies.readAhead], [3, 3, urgencies.readAhead]])
  await store.waitFor(store.geometry.piece(1), AbortSignal.timeout(10_000))
  await until('peers are told of the one that is right', () => of('filled').length === 1)
  t.same(of('filled')[0]?.['pieces'], [1])
  const stop = new AbortController()
  store.once('dropped', () => { stop.abort() })
  await store.waitFor(store.geometry.piece(2), stop.signal).catch(() => {})
  await until('it is told', () => of('demand').length > 1)
  t.same(of('demand')[1]?.['ranges'], [[0, 3, urgencies.readAhead]], 'the other one is wrong: now it is asked for')
})

t.test('metadata, trouble with the disk, and failure are told', async (t) => {
  const { swarm } = await readySwarm(t)
  const torrent = swarm.join(film.infohash, nothing)
  make(torrent, { type: 'blocked', id: 1, piece: 0, reason: 'ENOSPC' })
  const [blocked] = await once(torrent, 'blocked')
  t.match(blocked, { code: 'STORE_FAILED', message: 'ENOSPC' })
  t.match(torrent.state, /ENOSPC/)
  make(torrent, { type: 'failed', id: 1, code: 'METADATA_INVALID', reason: 'broken' })
  const [failed] = await once(torrent, 'failed')
  t.match(failed, { code: 'METADATA_INVALID', message: 'broken' })
  t.equal(torrent.failure, failed)
  t.notOk(torrent.isHopeful)
})

t.test('what the swarm had begun is left to others once nobody is there, and when the torrent has failed', async (t) => {
  const { swarm } = await readySwarm(t)
  const store = await openStore(t, film)
  const torrent = swarm.join(film.infohash, { ...nothing, torrent: film.torrent, store })
  const statistics = { ...noStats, peersKnown: 1, peersConnected: 1, peersConnecting: 0, receivedBytes: 9, uploadedBytes: 0, downloadSpeed: 9, uploadSpeed: 0, fetching: [[2, 5]] as const, isBarren: false }
  const isLeft = (): boolean => store.inFlight.readyAt(store.geometry.piece(2), 'http-fallback') === null
  for (const [serial, end] of ([{ type: 'stats', id: 1, stats: { ...statistics, peersConnected: 0 } }, { type: 'failed', id: 1, code: 'SOURCE_FAILED', reason: 'boom' }] as const).entries()) {
    make(torrent, { type: 'stats', id: 1, stats: { ...statistics, uploadedBytes: serial } })
    await once(torrent, 'stats')
    t.notOk(isLeft())
    make(torrent, end)
    await once(torrent, end.type)
    t.ok(isLeft())
  }
})

t.test('words about an earlier stay are not heard', async (t) => {
  const { swarm } = await readySwarm(t)
  swarm.join(film.infohash, nothing).leave()
  const torrent = swarm.join(film.infohash, nothing)
  torrent.on('failed', () => { t.fail('it did not') })
  const statistics = { ...noStats, peersKnown: 9, peersConnected: 9, peersConnecting: 0, receivedBytes: 9, uploadedBytes: 9, downloadSpeed: 9, uploadSpeed: 9, fetching: [], isBarren: false }
  make(torrent, { type: 'failed', id: 1, code: 'SOURCE_FAILED', reason: 'old' }, { type: 'stats', id: 2, stats: statistics })
  await once(torrent, 'stats')
  t.equal(torrent.state, '9 peers known, 9 connected, 9 bytes/s')
})

t.test('the real process: listens, and ends with close()', async (t) => {
  const swarm = await startSwarm(t)
  t.match(swarm.status, { state: 'ready', reason: '' })
  t.type(swarm.network.ports.tcp, 'number')
  const { pid } = swarm
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.kill(pid ?? 0, signal)
  const torrent = swarm.join(film.infohash, nothing)
  torrent.addPeers(['not a peer', '127.0.0.1:1'])
  await once(torrent, 'stats', { signal: AbortSignal.timeout(10_000) })
  t.equal(swarm.pid, pid, 'signals to the whole group are the server\'s to answer')
  const startedAt = performance.now()
  await swarm.close()
  t.notOk(isAlive(pid ?? 0))
  t.ok(performance.now() - startedAt < 3_000, 'in time')
})

t.test('the real process without its packages -> unavailable, and the reason names what is missing', async (t) => {
  const directory = await temporaryDirectory(t)
  await cp(fileURLToPath(new URL('../../../services', import.meta.url)), join(directory, 'services'), { recursive: true })
  await writeFile(join(directory, 'package.json'), '{ "type": "module" }')
  // Empty, so that none is found further up.
  await mkdir(join(directory, 'node_modules/webtorrent'), { recursive: true })
  const swarm = makeSwarm(t, {}, { hostPath: join(directory, 'services/swarm/host.ts') })
  swarm.start()
  await t.rejects(swarm.ready(AbortSignal.timeout(20_000)), { code: 'P2P_UNAVAILABLE', message: /^WebTorrent cannot be loaded: .*(?:webtorrent|bittorrent-dht)/ })
  await until('the process has ended', () => swarm.pid === null)
})

t.test('its port is taken -> it listens on another and says so', async (t) => {
  const server = createServer()
  server.listen(0)
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const address = server.address()
  const taken = address !== null && typeof address === 'object' ? address.port : 0
  const log = recordingLog()
  const swarm = await startSwarm(t, { port: taken, log })
  t.not(swarm.network.ports.tcp, taken)
  t.ok(log.lines.some((line) => line.startsWith(`warn port ${taken} is taken`)), 'in the log')
})

t.test('the process is killed -> the new one listens on the same port', async (t) => {
  const swarm = await startSwarm(t, {}, { firstRestartMs: 10 })
  const { tcp } = swarm.network.ports
  const { pid } = swarm
  process.kill(pid ?? 0, 'SIGKILL')
  await until('a new one is ready', () => swarm.pid !== pid && swarm.status.state === 'ready')
  t.type(tcp, 'number')
  t.equal(swarm.network.ports.tcp, tcp)
})

t.test('the server is killed -> its swarm ends too', async (t) => {
  const parent = spawn(process.execPath, [fileURLToPath(new URL('./orphan-parent.ts', import.meta.url))], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => { parent.kill('SIGKILL') })
  const [line] = await once(parent.stdout, 'data', { signal: AbortSignal.timeout(30_000) })
  const pid = Number(String(line))
  t.ok(isAlive(pid))
  parent.kill('SIGKILL')
  const ms = await gone(pid, 5_000)
  t.ok(ms < 5_000, `after ${Math.round(ms)} ms`)
})
