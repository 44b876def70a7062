import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { StoredFiles } from '../../../services/cache/stored-files.ts'
import { CodedError } from '../../../services/errors.ts'
import { silent } from '../../../services/log.ts'
import { emptyReport } from '../../../services/nat/network-report.ts'
import { noStats } from '../../../services/swarm/messages.ts'
import { p2pSource } from '../../../services/swarm/p2p-source.ts'
import { Torrents } from '../../../services/torrent/torrents.ts'
import { makeTorrent, temporaryDirectory, testBytes } from '../../testnet.ts'
import { makeSwarm } from './swarm-setup.ts'
import type { Test } from 'tap'
import type { StreamRequest } from '../../../services/source.ts'
import type { HostReply, HostStats } from '../../../services/swarm/messages.ts'
import type { P2pSourceOptions } from '../../../services/swarm/p2p-source.ts'

const fakeHost = fileURLToPath(new URL('./fake-host.ts', import.meta.url))
const film = await makeTorrent({ 'film.mkv': testBytes(100_000, 'film') })
const { infohash } = film
const request: StreamRequest = { infohash, fileIndex: null, trackers: [], head: { start: 0 } }
const never = new AbortController().signal

/** The source with a swarm whose process says what it is told to. */
async function setUp (t: Test, options: Partial<P2pSourceOptions> = {}) {
  const directory = await temporaryDirectory(t)
  const torrents = new Torrents({ directory, stored: await StoredFiles.open({ directory, log: silent }), lingerMs: 60_000, maxTorrents: 2, log: silent })
  t.teardown(async () => { await torrents.close() })
  const swarm = makeSwarm(t, { trackers: ['well'] }, { hostPath: fakeHost })
  swarm.start()
  await swarm.ready(AbortSignal.timeout(10_000))
  const { torrent } = torrents.join(infohash)
  await torrent.provide(film.metadata)
  const source = p2pSource({ swarm, torrents, timeoutMs: 100, torrentTimeoutMs: 200, maxRetries: 2, stallTimeoutMs: 4000, log: silent, ...options })
  const joined = () => swarm.join(infohash, { torrent: null, trackers: [], peers: [], store: null })
  const say = (reply: HostReply): void => { joined().addPeers([JSON.stringify(reply)]) }
  let serial = 0
  return {
    source,
    swarm,
    open: async (signal: AbortSignal = never) => await source.open(request, signal, { hopeless: () => {} }),
    say,
    hear: async (stats: Partial<HostStats>) => {
      const heard = once(joined(), 'stats')
      // Each reply is a peer of its own to who passes it on.
      say({ type: 'stats', id: 1, stats: { ...noStats, uploadSpeed: ++serial, ...stats } })
      await heard
    }
  }
}

/** A signal that ends as a start does, after so many milliseconds. */
function startOf (ms: number): AbortSignal {
  const controller = new AbortController()
  setTimeout(() => { controller.abort(new CodedError('START_TIMEOUT', 'the time is up')) }, ms)
  return controller.signal
}

const isHopeful = ({ source }: Awaited<ReturnType<typeof setUp>>): boolean | undefined => source.isHopeful?.(infohash, 'P2P_TIMEOUT')

t.test('a peer that is dialled in vain does not make a dead torrent hopeful; one that connects does', async (t) => {
  const stage = await setUp(t)
  await t.rejects(stage.open(), { code: 'P2P_TIMEOUT' })
  t.equal(isHopeful(stage), false)
  await stage.hear({ peersKnown: 3, peersConnecting: 3 })
  t.equal(isHopeful(stage), false)
  await stage.hear({ peersKnown: 3, peersConnected: 1 })
  t.equal(isHopeful(stage), true)
})

t.test('peers that were there and brought nothing are no news; one more is, and so is a byte', async (t) => {
  const stage = await setUp(t)
  const opening = stage.open(startOf(400))
  opening.catch(() => {})
  await stage.hear({ peersConnected: 2 })
  await t.rejects(opening, { code: 'P2P_TIMEOUT', message: /peers were there/ })
  t.equal(isHopeful(stage), false)
  await stage.hear({ peersConnected: 3 })
  t.equal(isHopeful(stage), true)
  await stage.hear({ peersConnected: 2, receivedBytes: 1 })
  t.equal(isHopeful(stage), true)
})

t.test('a swarm that is out for good is not waited for', async (t) => {
  const stage = await setUp(t, { timeoutMs: 60_000 })
  const opening = stage.open()
  opening.catch(() => {})
  await stage.hear({})
  stage.say({ type: 'failed', id: 1, code: 'METADATA_INVALID', reason: 'broken' })
  await t.rejects(opening, { code: 'METADATA_INVALID', message: 'broken' })
})

t.test('nor is one whose process cannot run any more', async (t) => {
  const stage = await setUp(t, { timeoutMs: 60_000 })
  const opening = stage.open()
  opening.catch(() => {})
  await stage.hear({ peersConnecting: 1 })
  stage.say({ type: 'unavailable', reason: 'no native parts' })
  await t.rejects(opening, { code: 'P2P_UNAVAILABLE', message: 'no native parts' })
})

t.test('nobody was reached, and the network explains it -> the reason says so', async (t) => {
  const report = emptyReport('', '')
  for (const [verdict, reason] of [
    [{ kind: 'UDP blocked', confidence: 'low' }, /UDP is blocked in this network/],
    [{ kind: 'symmetric', confidence: 'high' }, /behind a symmetric NAT/],
    [{ kind: 'port restricted', confidence: 'high' }, /bytes\/s\)$/]
  ] as const) {
    const stage = await setUp(t, { timeoutMs: 500 })
    const opening = stage.open()
    opening.catch(() => {})
    const heard = once(stage.swarm, 'network')
    stage.say({ type: 'network', report: { ...report, verdict: { ...report.verdict, ...verdict } } })
    await heard
    await t.rejects(opening, { code: 'P2P_TIMEOUT', message: reason })
  }
})

t.test('P2P has its turn from when it joined, however long others have served the torrent before', async (t) => {
  const stage = await setUp(t, { timeoutMs: 500 })
  await new Promise((resolve) => { setTimeout(resolve, 600) })
  const startedAt = performance.now()
  await t.rejects(stage.open(), { code: 'P2P_TIMEOUT' })
  t.ok(performance.now() - startedAt >= 500)
  const again = performance.now()
  await t.rejects(stage.open(), { code: 'P2P_TIMEOUT' })
  t.ok(performance.now() - again < 400, 'a retry finds the clock running')
})

t.test('an attempt that the end of the start cut short counts; after TORRENT_MAX_RETRIES the swarm is not waited for', async (t) => {
  const stage = await setUp(t, { torrentTimeoutMs: 300, maxRetries: 2 })
  const first = stage.open(startOf(200))
  first.catch(() => {})
  await stage.hear({ receivedBytes: 1000 })
  await t.rejects(first)
  for (let i = 0; i < 2; i++) await t.rejects(stage.open(startOf(200)), { code: 'P2P_TIMEOUT', message: /no peer delivered data in time/ })
  const startedAt = performance.now()
  await t.rejects(stage.open(), { code: 'P2P_TIMEOUT', message: /given up after 2 attempts/ })
  t.ok(performance.now() - startedAt < 200)
})
