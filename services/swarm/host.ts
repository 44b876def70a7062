import { Socket } from 'node:net'
import { steadyClock } from '../clock.ts'
import { pause } from '../deadline.ts'
import type { Fetcher } from '../download/fetcher.ts'
import { Slots } from '../slots.ts'
import { Doorkeeper, tellLie } from './doorkeeper.ts'
import type { Forwarding } from './forwarding.ts'
import { collectBuffersWithHeap } from './garbage.ts'
import type { HostedTorrent, TorrentReply } from './hosted-torrent.ts'
import { punchLimits } from './holepunch.ts'
import { dialTcpBesideUtp } from './internals/connections.ts'
import { dhtNodes, dhtState } from './internals/discovery.ts'
import { takeConnection } from './internals/ports.ts'
import { checkPrimeOnce } from './internals/transfer.ts'
import { isHostRequest } from './messages.ts'
import type { HostOptions, HostReply, HostRequest } from './messages.ts'
import { Network } from './network.ts'
import { mayDial, mayDialAnywhere } from './peer-policy.ts'
import { shareOf } from './shares.ts'
import { Sightings } from './sightings.ts'
import { TrackerMemory } from './tracker-memory.ts'
import { UploadQueue } from './upload-queue.ts'
import type { WireTaker } from './internals/uploads.ts'
import type WebTorrent from 'webtorrent'

/**
 * The entry of the swarm's process: WebTorrent, told what to do by the server over IPC. It ends when the server says
 * so, when the server is gone, and when anything in it throws where nobody catches: the server starts it again.
 */

const statsMs = 500
const watchdogMs = 5_000
/** So often the nodes of the DHT are told to be kept, and so many. */
const dhtMs = 3 * 60_000
const keptNodes = 200
/**
 * TCP joins the dial after this time alone with uTP. Where somebody has no peer yet, it is only a head start: a peer that
 * has both still answers by uTP first, and one that has only TCP delays no first byte.
 */
const tcpDelayMs = { usual: 500, alone: 30 }
/** How long trackers and the router may take to hear that we leave. */
const farewellMs = 2_000

const torrents = new Map<number, HostedTorrent>()
const trackerMemory = new TrackerMemory()
const limits = punchLimits(steadyClock)
const network = new Network((report) => { tell({ type: 'network', report }) })
const doorkeeper = new Doorkeeper({
  tell: (level, fields, message) => { tell({ type: 'log', level, fields, message }) },
  onChange: () => { for (const torrent of torrents.values()) torrent.dropRefused() }
})
/** Farewells that are under way. */
const leaving = new Set<Promise<void>>()
/** One piece at a time is on its way to the server, while the disk takes none. */
const offers = new Slots(1)
let client: WebTorrent | null = null
let Hosted: typeof HostedTorrent | null = null
let rtc: { rtcConfig: object, wrtc?: false } = { rtcConfig: {} }
let fetcher: Fetcher | null = null
let options: HostOptions | null = null
let sightings: Sightings | null = null
let forwarding: Forwarding | null = null
/** What peers of all torrents wait for. */
let uploads: UploadQueue<WireTaker> | null = null
let isStopping = false

function tell (reply: HostReply): void {
  // The server may be gone at any moment; 'disconnect' ends this process.
  if (process.connected) process.send?.(reply, undefined, undefined, () => {})
}

function messageOf (error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The last word: says why, and ends the process once that is on its way, or after a second. */
function crash (error: unknown): void {
  const end = (): void => { process.exit(1) }
  setTimeout(end, 1_000)
  const reason = error instanceof Error ? error.stack ?? error.message : String(error)
  if (process.connected) process.send?.({ type: 'crash', reason } satisfies HostReply, undefined, undefined, end)
  else end()
}

async function start (given: HostOptions): Promise<void> {
  options = given
  const seen = sightings = new Sightings(network, given)
  // Not imported above: a machine where they cannot be loaded is one without P2P, not one where processes die.
  const opening = await load(async () => await import('./client.ts'))
  if (opening === null) return
  const listening = await opening.chooseListening(given)
  // Takes no longer than the loading that is under way meanwhile, as a rule.
  const looking = seen.nat.beforeBind(listening.udpPort)
  const Client = await load(async () => {
    fetcher = new (await import('../download/fetcher.ts')).Fetcher({ allowPrivateNetworks: given.allowPrivateNetworks })
    Hosted = (await import('./hosted-torrent.ts')).HostedTorrent
    return (await import('webtorrent')).default
  })
  if (Client === null) return
  checkPrimeOnce()
  await looking
  if (await load(async () => await doorkeeper.useBlocklist(given.blocklistPath), 'the blocklist cannot be read') === null) return
  rtc = Client.WEBRTC_SUPPORT ? { rtcConfig: { iceServers: given.iceServers } } : { rtcConfig: {}, wrtc: false }
  const bootstrap = new Set(given.dhtBootstrap)
  const { client: opened, ports } = await opening.openClient(Client, given, listening, {
    mayAsk: (address) => bootstrap.has(address) || mayDialHere(address, 'dht'),
    onNode: seen.onNode,
    onError: goOn
  })
  client = opened
  opened.on('error', (error: unknown) => {
    if (opened.destroyed) crash(error)
    else goOn(error)
  })
  doorkeeper.guard(client)
  if (given.transport === 'both') dialTcpBesideUtp(opened, () => opened.torrents.some(({ wires }) => wires.length === 0) ? tcpDelayMs.alone : tcpDelayMs.usual)
  if (client.dht) {
    client.dht.once('ready', () => {
      countNodes()
      tellDht()
    })
  }
  setInterval(tellStats, statsMs)
  setInterval(tellDht, dhtMs)
  setInterval(() => {
    for (const torrent of torrents.values()) torrent.watch()
    countNodes()
    network.set({ bans: doorkeeper.bans.count })
  }, watchdogMs)
  network.set({ hasWebRtc: Client.WEBRTC_SUPPORT, ports })
  network.flush()
  tell({ type: 'ready' })
  if (given.isPortMappingEnabled) {
    const { Forwarding } = await import('./forwarding.ts')
    forwarding = new Forwarding(opened, ports, network, {
      onPort: (port) => { for (const torrent of torrents.values()) torrent.reannounce(port) },
      onNews: (message) => { tell({ type: 'log', level: 'info', fields: {}, message }) }
    })
    forwarding.start()
  }
  seen.nat.start()
}

/** Null where it cannot be loaded; then the server knows. */
async function load<T> (what: () => Promise<T>, failure = 'WebTorrent cannot be loaded'): Promise<T | null> {
  try {
    return await what()
  } catch (error) {
    tell({ type: 'unavailable', reason: `${failure}: ${messageOf(error)}` })
    return null
  }
}

/** What has not ended the client leaves the rest working. */
function goOn (error: unknown): void {
  tell({ type: 'log', level: 'warn', fields: { err: messageOf(error) }, message: 'the swarm goes on after an error' })
}

function tellStats (): void {
  for (const [id, torrent] of torrents) {
    const stats = torrent.takeStats()
    if (stats !== null) tell({ type: 'stats', id, stats })
  }
}

function countNodes (): void {
  if (client !== null && !client.destroyed) network.set({ dhtNodes: dhtNodes(client) })
}

/** Tells who is known in the DHT, for the next start. Nobody: what was known before may be worth more. */
function tellDht (): void {
  if (client === null || client.destroyed || !client.dht || dhtNodes(client) === 0) return
  tell({ type: 'dht', state: dhtState(client.dht, keptNodes) })
}

function join ({ id, infohash, torrent, trackers, peers, shares }: Extract<HostRequest, { type: 'join' }>): void {
  if (client === null || options === null || Hosted === null || fetcher === null) return
  const { windowBytes, allowPrivateNetworks, seedRatio, uploadLimitBytes } = options
  uploads ??= new UploadQueue(steadyClock, uploadLimitBytes)
  const tellOf = (reply: TorrentReply): void => {
    tell({ ...reply, id })
    // It may be another's turn now.
    if (reply.type === 'verified' && torrents.size > 1) for (const torrent of torrents.values()) torrent.reselectSoon()
  }
  try {
    torrents.set(id, new Hosted(client, {
      infohash,
      torrent,
      trackers: [...new Set([...trackers, ...options.trackers])],
      ownTrackers: options.trackers,
      peers,
      staticPeers: options.staticPeers,
      mayDial: mayDialHere,
      judging: {
        bans: doorkeeper.bans,
        isRefused: doorkeeper.isRefused,
        onLie: (who, piece, isBanned) => {
          tell({ type: 'log', level: 'warn', ...tellLie(who, infohash, piece, isBanned) })
          if (!isBanned) return
          for (const torrent of torrents.values()) torrent.dropRefused()
          network.set({ bans: doorkeeper.bans.count })
        }
      },
      exchange: { policy: { ratio: seedRatio, uploadLimitBytes }, before: shares, uploads },
      allowPrivateNetworks,
      fetcher,
      network,
      punchLimits: limits,
      trackerMemory,
      rtc,
      isTcpOff: options.transport === 'utp',
      windowBytes: () => shareOf(torrents.get(id), [...torrents.values()], windowBytes),
      offers,
      tell: tellOf,
      ...sightings === null ? {} : { onWire: sightings.onWire }
    }))
  } catch (error) {
    tellOf({ type: 'failed', code: 'SOURCE_FAILED', reason: messageOf(error) })
  }
}

/** Asks who knows of a torrent, without joining its swarm. */
async function lookAt ({ number, infohash, trackers, isPrivate }: Extract<HostRequest, { type: 'survey' }>): Promise<void> {
  if (client === null || options === null || fetcher === null) return
  const { trackers: own, allowPrivateNetworks } = options
  const { survey } = await import('./survey.ts')
  const dht = client.dht && client.dht.ready && !isPrivate ? client.dht : null
  const all = [...new Set([...trackers, ...isPrivate ? [] : own])].filter((tracker) => !trackerMemory.isResting(tracker))
  tell({ type: 'surveyed', number, survey: await survey({ infohash, trackers: all, trusted: new Set(own), allowPrivateNetworks, fetcher, dht, userAgent: client.userAgent }) })
}

/** The policy, lifted where the operator said so. */
function mayDialHere (address: string, source: string | undefined): boolean {
  if (doorkeeper.isRefused(address)) return false
  return options?.allowPrivateNetworks === true ? mayDialAnywhere(address, source) : mayDial(address, source)
}

function leave (id: number): void {
  const torrent = torrents.get(id)
  if (torrent === undefined) return
  torrents.delete(id)
  const farewell = torrent.leave().catch((error: unknown) => {
    tell({ type: 'log', level: 'debug', fields: { err: messageOf(error) }, message: 'a torrent left the swarm untidily' })
  }).finally(() => { leaving.delete(farewell) })
  leaving.add(farewell)
}

/** Says goodbye to trackers and gateways, for as long as that may take, and ends the process. */
async function stop (): Promise<void> {
  if (isStopping) return
  isStopping = true
  tellDht()
  const farewell = async (): Promise<void> => {
    for (const id of [...torrents.keys()]) leave(id)
    await Promise.all([...leaving, forwarding?.stop(farewellMs * 0.75)])
    const ending = client
    if (ending !== null && !ending.destroyed) await new Promise<void>(resolve => { ending.destroy(() => { resolve() }) })
  }
  await Promise.race([farewell(), pause(farewellMs, new AbortController().signal)])
  process.exit(0)
}

/** A connection that came in at the server's port. */
function takeIn (bytes: Uint8Array, socket: unknown): void {
  tell({ type: 'took' })
  if (!(socket instanceof Socket)) return
  if (client === null || client.destroyed) {
    socket.destroy()
    return
  }
  socket.unshift(bytes)
  takeConnection(client, socket)
}

function handle (request: HostRequest, attached: unknown): void {
  switch (request.type) {
    case 'start': start(request.options).catch(crash); return
    case 'ping': tell({ type: 'pong', beat: request.beat, memoryBytes: process.memoryUsage.rss() }); return
    case 'stop': stop().catch(crash); return
    case 'join': join(request); return
    case 'leave': leave(request.id); return
    case 'survey': lookAt(request).catch(crash); return
    case 'connection': takeIn(request.bytes, attached); return
    default: {
      const torrent = torrents.get(request.id)
      if (torrent === undefined) return
      switch (request.type) {
        case 'attach': torrent.attach(request.torrent, request.bitfield, request.layout); return
        case 'layout': torrent.setLayout(request.layout); return
        case 'settle': torrent.settle(request.number).catch(crash); return
        case 'demand': torrent.setDemand(request.ranges); return
        case 'taken': torrent.setTaken(request.piece, request.isTaken); return
        case 'filled': torrent.setFilled(request.pieces); return
        case 'dropped': torrent.setDropped(request.pieces); return
        case 'trackers': torrent.addTrackers(request.trackers); return
        case 'peers': torrent.addPeers(request.peers)
      }
    }
  }
}

process.title = 'self-streme swarm'
collectBuffersWithHeap()
process.on('uncaughtException', crash)
process.on('unhandledRejection', crash)
// Ctrl-C and service managers signal the whole group; when to end is the server's decision.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
process.on('disconnect', () => { process.exit(0) })
process.on('message', (message: unknown, attached: unknown) => { if (isHostRequest(message)) handle(message, attached) })
if (!process.connected) {
  process.stderr.write('This is the process of the swarm; the server starts it.\n')
  process.exit(1)
}
