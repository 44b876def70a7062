import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { abortable } from '../deadline.ts'
import { CodedError, asCoded } from '../errors.ts'
import { formatBytes } from '../format.ts'
import type { Log } from '../log.ts'
import { swarmMemoryLimit } from '../memory-budget.ts'
import { emptyReport } from '../nat/network-report.ts'
import type { NetworkReport } from '../nat/network-report.ts'
import { Demand, urgencies } from '../pieces/demand.ts'
import type { Filler } from '../pieces/filler.ts'
import type { PieceIndex } from '../pieces/geometry.ts'
import type { Layout } from '../pieces/piece-files.ts'
import type { PieceStore } from '../pieces/piece-store.ts'
import { HostProcess } from './host-process.ts'
import { noStats } from './messages.ts'
import { noShares } from './seeding.ts'
import { Surveys } from './surveys.ts'
import type { DhtFile } from './dht-file.ts'
import type { HostTuning } from './host-process.ts'
import type { Shares } from './seeding.ts'
import type { SharesFile } from './shares-file.ts'
import type { Survey } from './survey.ts'
import type { Surveyed } from './surveys.ts'
import type { HostOptions, HostReply, HostRequest, WantedRange } from './messages.ts'

export interface SwarmOptions extends Omit<HostOptions, 'windowBytes' | 'previousPort' | 'transport' | 'isPortShared' | 'blocklistPath' | 'dht'> {
  /** Default `both`. */
  readonly transport?: HostOptions['transport']
  /** Default false. */
  readonly isPortShared?: boolean
  /** Default none. */
  readonly blocklistPath?: string | null
  /** Where what is known of the DHT is kept. Default nowhere. */
  readonly dhtFile?: DhtFile
  /** Where it is kept what torrents have given. Default nowhere: each time a torrent runs counts by itself. */
  readonly sharesFile?: SharesFile
  /** Bytes of pieces that the swarm's process may have in flight. */
  readonly windowBytes?: number
  /** Limit of the JavaScript heap of the swarm's process, in MiB. Pieces in flight are beside it. */
  readonly heapMb?: number
  readonly log: Log
}

export interface SwarmStatus {
  /** 'unavailable': it does not run; `reason` says why. It may still come back when its process merely dies. */
  readonly state: 'starting' | 'ready' | 'unavailable' | 'closed'
  readonly reason: string
}

export interface JoinOptions {
  /** The `.torrent`, where it is known already. */
  readonly torrent: Buffer | null
  /** Beside those of the options. */
  readonly trackers: readonly string[]
  /** `ip:port` each. */
  readonly peers: readonly string[]
  /** Where the pieces go, where that is open already; else attach() gives it. */
  readonly store: PieceStore | null
}

export interface SwarmStats {
  readonly peersKnown: number
  readonly peersConnected: number
  readonly receivedBytes: number
  readonly uploadedBytes: number
  /** Bytes a second. */
  readonly downloadSpeed: number
  readonly uploadSpeed: number
}

/** Deaths in a row before it was ready that make a machine one where P2P does not work. */
const hopelessDeaths = 5
const defaultHeapMb = 256
const defaultWindowBytes = 64 * 1024 * 1024

const startingNetwork = emptyReport('the swarm is starting', 'Wait a moment: the network is being looked at.', true)

/**
 * The swarm as the server sees it: WebTorrent in a process of its own, which is started, restarted when it dies, and
 * given all its torrents anew. Whatever happens there, nothing here throws or waits.
 */
export class Swarm extends EventEmitter<{ change: [], network: [] }> {
  readonly #options: HostOptions
  readonly #log: Log
  readonly #host: HostProcess
  readonly #dhtFile: DhtFile | null
  readonly #sharesFile: SharesFile | null
  readonly #torrents = new Map<number, SwarmTorrent>()
  readonly #surveys = new Surveys()
  #status: SwarmStatus = { state: 'starting', reason: 'it was not started yet' }
  #network = startingNetwork
  #loggedVerdict = ''
  #lastPort: number | null = null
  #nextId = 1
  #deaths = 0
  /** By torrents that have left. */
  #pastReceived = 0
  #pastUploaded = 0

  constructor ({ log, heapMb = defaultHeapMb, windowBytes = defaultWindowBytes, dhtFile, sharesFile, ...options }: SwarmOptions, tuning: Partial<HostTuning> = {}) {
    super()
    this.setMaxListeners(0)
    // Only what a message may carry: the caller's object can hold anything.
    this.#options = {
      windowBytes,
      port: options.port,
      previousPort: null,
      transport: options.transport ?? 'both',
      isPortShared: options.isPortShared ?? false,
      trackers: [...options.trackers],
      dhtBootstrap: [...options.dhtBootstrap],
      dht: null,
      iceServers: [...options.iceServers],
      staticPeers: [...options.staticPeers],
      blocklistPath: options.blocklistPath ?? null,
      uploadLimitBytes: options.uploadLimitBytes,
      downloadLimitBytes: options.downloadLimitBytes,
      seedRatio: options.seedRatio,
      isPortMappingEnabled: options.isPortMappingEnabled,
      isLsdEnabled: options.isLsdEnabled,
      stunServers: [...options.stunServers],
      isPanel: options.isPanel,
      allowPrivateNetworks: options.allowPrivateNetworks
    }
    this.#log = log
    this.#dhtFile = dhtFile ?? null
    this.#sharesFile = sharesFile ?? null
    this.#host = new HostProcess(heapMb, log, { memoryLimitBytes: swarmMemoryLimit(heapMb, windowBytes), ...tuning })
    this.#host.on('up', () => {
      this.#set({ state: 'starting', reason: 'it is starting' })
      this.#host.send({ type: 'start', options: { ...this.#options, previousPort: this.#lastPort, dht: this.#dhtFile?.state ?? null } })
    })
    this.#host.on('down', (reason) => { this.#onDown(reason) })
    this.#host.on('reply', (reply) => { this.#onReply(reply) })
  }

  get status (): SwarmStatus {
    return this.#status
  }

  /** What is known of the network: where the swarm listens, who reaches it and how. Empty while there is no swarm. */
  get network (): NetworkReport {
    return this.#network
  }

  /** All torrents together; bytes are counted since the start of the server. */
  get totals (): SwarmStats {
    const totals = { peersKnown: 0, peersConnected: 0, receivedBytes: this.#pastReceived, uploadedBytes: this.#pastUploaded, downloadSpeed: 0, uploadSpeed: 0 }
    for (const { stats } of this.#torrents.values()) {
      totals.peersKnown += stats.peersKnown
      totals.peersConnected += stats.peersConnected
      totals.receivedBytes += stats.receivedBytes
      totals.uploadedBytes += stats.uploadedBytes
      totals.downloadSpeed += stats.downloadSpeed
      totals.uploadSpeed += stats.uploadSpeed
    }
    return totals
  }

  /** The process id of the swarm, null while there is none. */
  get pid (): number | null {
    return this.#host.pid
  }

  /** Starts the process and returns at once; how it goes is in `status`. */
  start (): void {
    if (this.#status.state !== 'closed') this.#host.start()
  }

  /** Resolves when the swarm is ready. Rejects with P2P_UNAVAILABLE when it cannot be, or with the signal's reason. */
  async ready (signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const look = (): void => {
      const { state, reason } = this.#status
      if (state === 'ready') resolve()
      else if (state !== 'starting') reject(new CodedError('P2P_UNAVAILABLE', reason))
    }
    this.on('change', look)
    look()
    try {
      await abortable(promise, signal)
    } finally {
      this.off('change', look)
    }
  }

  /**
   * Joins the torrent's swarm; where the swarm is not ready yet, as soon as it is. One that is joined already is given
   * what is new in the options, and returned.
   *
   * @param infohash 40 lower-case hex digits.
   */
  join (infohash: string, options: JoinOptions): SwarmTorrent {
    for (const torrent of this.#torrents.values()) {
      if (torrent.infohash !== infohash) continue
      torrent.addTrackers(options.trackers)
      torrent.addPeers(options.peers)
      if (options.store !== null) torrent.attach(options.store, options.torrent ?? options.store.metadata.torrent)
      return torrent
    }
    const id = this.#nextId++
    const torrent = new SwarmTorrent(infohash, options, {
      id,
      log: this.#log,
      shares: this.sharesOf(infohash),
      send: (request) => { this.#host.send(request) },
      onShares: (shares) => { this.#sharesFile?.set(infohash, shares) },
      onLeave: ({ receivedBytes, uploadedBytes }) => {
        this.#torrents.delete(id)
        this.#pastReceived += receivedBytes
        this.#pastUploaded += uploadedBytes
      }
    })
    this.#torrents.set(id, torrent)
    if (this.#status.state === 'ready') torrent.enter()
    return torrent
  }

  /** What this torrent has given to peers, and got from wherever, whether it runs or not. */
  sharesOf (infohash: string): Shares {
    for (const torrent of this.#torrents.values()) if (torrent.infohash === infohash) return torrent.shares
    return this.#sharesFile?.get(infohash) ?? noShares
  }

  /** Takes the connection of a peer that came in elsewhere, of which these bytes have been read. It is dropped while the swarm is not ready. */
  takeConnection (socket: Socket, bytes: Buffer): void {
    if (this.#status.state === 'ready') this.#host.handOver(socket, bytes)
    else socket.destroy()
  }

  /**
   * What trackers and the DHT know of this torrent's swarm, without joining it: null where nobody can be asked, because
   * the swarm is not ready. Rejects with the signal's reason.
   */
  async survey (about: Surveyed, signal: AbortSignal): Promise<Survey | null> {
    if (this.#status.state !== 'ready') return null
    return await this.#surveys.ask(about, (request) => { this.#host.send(request) }, signal)
  }

  /** Leaves all swarms and ends the process: after at most 3 s it is gone. */
  async close (): Promise<void> {
    this.#set({ state: 'closed', reason: 'the server is shutting down' })
    for (const torrent of [...this.#torrents.values()]) torrent.leave()
    await this.#host.stop()
    await Promise.all([this.#dhtFile?.saved(), this.#sharesFile?.saved()])
  }

  #set (status: Partial<SwarmStatus>): void {
    if (this.#status.state === 'closed') return
    this.#status = { ...this.#status, ...status }
    this.emit('change')
  }

  #onDown (reason: string): void {
    if (this.#status.state === 'closed') return
    this.#deaths++
    const isHopeless = this.#status.state === 'unavailable' || this.#deaths >= hopelessDeaths
    this.#log.warn({ reason }, 'the swarm process ended')
    this.#set({
      state: isHopeless ? 'unavailable' : 'starting',
      reason: this.#status.state === 'unavailable' ? this.#status.reason : `the swarm process ended: ${firstLine(reason)}`
    })
    this.#setNetwork(isHopeless ? unavailableNetwork(this.#status.reason) : startingNetwork)
    this.#surveys.lose()
    for (const torrent of this.#torrents.values()) torrent.lose()
  }

  #onReply (reply: HostReply): void {
    switch (reply.type) {
      case 'ready': this.#onReady(); return
      case 'unavailable':
        this.#log.warn({ reason: reply.reason }, 'P2P is unavailable')
        this.#set({ state: 'unavailable', reason: reply.reason })
        this.#setNetwork(unavailableNetwork(reply.reason))
        // Its 'down' finds the state as it is, and nothing starts it again.
        this.#host.stop().catch(() => {})
        return
      case 'network': this.#setNetwork(reply.report); return
      case 'dht': this.#dhtFile?.save(reply.state); return
      case 'log': this.#log[reply.level](reply.fields, reply.message); return
      case 'pong': case 'crash': case 'took': return
      case 'surveyed': this.#surveys.take(reply); return
      default: this.#torrents.get(reply.id)?.take(reply)
    }
  }

  #setNetwork (report: NetworkReport): void {
    this.#network = report
    this.#logVerdict(report)
    this.emit('network')
  }

  #logVerdict ({ verdict, publicEndpoint, advice }: NetworkReport): void {
    const { kind, confidence, isPending } = verdict
    const text = `NAT: ${kind} (confidence ${confidence})`
    if (isPending || text === this.#loggedVerdict || this.#status.state !== 'ready') return
    this.#loggedVerdict = text
    this.#log.info({ publicEndpoint, reason: verdict.reason, advice }, text)
  }

  #onReady (): void {
    this.#deaths = 0
    const { ports, hasUtp, hasWebRtc } = this.#network
    const port = ports.tcp ?? ports.utp ?? ports.dht
    this.#lastPort = port
    const listens = `the swarm listens on port ${port}${ports.dht === port ? '' : `, by UDP on ${ports.dht}`}`
    for (const { reason } of ports.missing) this.#log.warn({ ports }, `${reason}; ${listens}`)
    if (ports.missing.length === 0) this.#log.info({ port, hasUtp, hasWebRtc }, listens)
    this.#set({ state: 'ready', reason: '' })
    this.#logVerdict(this.#network)
    for (const torrent of this.#torrents.values()) torrent.enter()
  }
}

/** What a SwarmTorrent has of its Swarm. */
interface Link {
  readonly id: number
  readonly log: Log
  /** Of the times before. */
  readonly shares: Shares
  readonly send: (request: HostRequest) => void
  readonly onShares: (shares: Shares) => void
  readonly onLeave: (stats: SwarmStats) => void
}

/**
 * One torrent in the swarm, as a filler of its store. Events: `metadata`, the `.torrent` around what the peers sent;
 * `stats`; `blocked`, a verified piece cannot be written (it is tried again); `failed`, the torrent is out of the swarm
 * for good.
 */
export class SwarmTorrent extends EventEmitter<{ metadata: [torrent: Buffer], stats: [], blocked: [CodedError], failed: [CodedError] }> implements Filler {
  readonly name = 'p2p'
  readonly infohash: string
  readonly demand = new Demand()
  readonly #link: Link
  readonly #trackers: Set<string>
  readonly #peers: Set<string>
  #torrent: Buffer | null
  #store: PieceStore | null = null
  /** The pieces that the swarm's process knows to be here, as in BEP 3. */
  #known = new Uint8Array(0)
  /** Counted by processes that are gone. */
  #pastReceived = 0
  #pastUploaded = 0
  #now = noStats
  #shares: Shares
  #blocked: CodedError | null = null
  #failure: CodedError | null = null
  #isDemandSent = true
  /** Questions to the process whether its writes have ended. */
  readonly #settling = new Map<number, () => void>()
  #settleCount = 0
  /** What readers waited for at the last reassert(). */
  #missing: ReadonlySet<number> = new Set()
  /** Is the process told of it? Before enter() and after lose() there is nothing to tell; enter() says it all. */
  #isIn = false
  #hasLeft = false

  /** Made by Swarm.join(). */
  constructor (infohash: string, { torrent, trackers, peers, store }: JoinOptions, link: Link) {
    super()
    this.setMaxListeners(0)
    this.infohash = infohash
    this.#link = link
    this.#shares = link.shares
    this.#torrent = torrent
    this.#trackers = new Set(trackers)
    this.#peers = new Set(peers)
    this.demand.on('change', () => { this.#sendDemandSoon() })
    if (store !== null) this.attach(store, torrent ?? store.metadata.torrent)
  }

  get receivedBytes (): number {
    return this.#pastReceived + this.#now.receivedBytes
  }

  get isHopeful (): boolean {
    return this.#failure === null && this.#now.peersConnected + this.#now.peersConnecting > 0
  }

  /** Everybody was asked, and nobody knows of a peer. */
  get isBarren (): boolean {
    return this.#now.isBarren
  }

  get peersConnected (): number {
    return this.#now.peersConnected
  }

  /** What it has given and got, over all the times it ran. */
  get shares (): Shares {
    return this.#shares
  }

  /** What is here is given to peers, and it is not enough yet: it is worth going on when nobody reads. */
  get isSeeding (): boolean {
    return this.#now.isSeeding
  }

  get failure (): CodedError | null {
    return this.#failure
  }

  get state (): string {
    if (this.#failure !== null) return this.#failure.message
    const { peersKnown, peersConnected, downloadSpeed } = this.#now
    const blocked = this.#blocked === null ? '' : `, ${this.#blocked.message}`
    return `${peersKnown} peers known, ${peersConnected} connected, ${formatBytes(downloadSpeed)}/s${blocked}`
  }

  get stats (): SwarmStats {
    const { peersKnown, peersConnected, uploadedBytes, downloadSpeed, uploadSpeed } = this.#now
    return { peersKnown, peersConnected, receivedBytes: this.receivedBytes, uploadedBytes: this.#pastUploaded + uploadedBytes, downloadSpeed, uploadSpeed }
  }

  /** Gives the torrent its metadata and its store: pieces are fetched from now on. The first call counts. */
  attach (store: PieceStore, torrent: Buffer): void {
    if (this.#store !== null || this.#hasLeft) return
    this.#torrent = torrent
    this.#store = store
    store.on('layout', this.#onLayout)
    store.writers.add(this.#settle)
    store.on('verified', this.#onVerified)
    store.on('dropped', this.#onDropped)
    store.inFlight.on('change', this.#onInFlight)
    this.#sendAttach()
    // Without what the store has to check first, of which nothing was known before.
    if (!this.demand.isEmpty) this.#sendDemandSoon()
  }

  /** Trackers to ask too. */
  addTrackers (trackers: readonly string[]): void {
    const added = trackers.filter(tracker => !this.#trackers.has(tracker))
    for (const tracker of added) this.#trackers.add(tracker)
    if (added.length > 0) this.#send({ type: 'trackers', id: this.#link.id, trackers: added })
  }

  /** Peers to dial, `ip:port` each. */
  addPeers (peers: readonly string[]): void {
    const added = peers.filter(peer => !this.#peers.has(peer))
    for (const peer of added) this.#peers.add(peer)
    if (added.length > 0) this.#send({ type: 'peers', id: this.#link.id, peers: added })
  }

  /** Tells the process its demand once more, and of what readers have waited for since the last time, that it is not here. */
  reassert (): void {
    const store = this.#store
    if (store === null) return
    const missing = this.demand.ranges().filter(({ urgency, first }) => urgency === urgencies.waiting && !store.has(store.geometry.piece(first))).map(({ first }) => first)
    for (const piece of missing) if (this.#missing.has(piece)) this.#forget(piece)
    this.#missing = new Set(missing)
    if (!this.demand.isEmpty) this.#sendDemand()
  }

  /** Leaves the swarm. What is verified stays in the store. Twice does nothing more. */
  leave (): void {
    if (this.#hasLeft) return
    this.#link.send({ type: 'leave', id: this.#link.id })
    this.#hasLeft = true
    this.#store?.off('layout', this.#onLayout)
    this.#store?.writers.delete(this.#settle)
    this.#endSettling()
    this.#store?.off('verified', this.#onVerified)
    this.#store?.off('dropped', this.#onDropped)
    this.#store?.inFlight.off('change', this.#onInFlight)
    const { stats } = this
    this.#now = noStats
    this.#tellFetching()
    this.#link.onLeave(stats)
  }

  /** For Swarm: tells a swarm that has just become ready all about this torrent. */
  enter (): void {
    this.#isIn = this.#failure === null
    this.#send({ type: 'join', id: this.#link.id, infohash: this.infohash, torrent: this.#torrent, trackers: [...this.#trackers], peers: [...this.#peers], shares: this.#shares })
    this.#sendAttach()
    if (!this.demand.isEmpty) this.#sendDemand()
  }

  /** For Swarm: its process is gone. */
  lose (): void {
    this.#isIn = false
    this.#endSettling()
    this.#pastReceived += this.#now.receivedBytes
    this.#pastUploaded += this.#now.uploadedBytes
    this.#now = noStats
    this.#blocked = null
    this.#tellFetching()
    this.emit('stats')
  }

  /** For Swarm: its process said this about the torrent. */
  take (reply: Extract<HostReply, { readonly id: number }>): void {
    switch (reply.type) {
      case 'metadata': if (this.#torrent === null) this.emit('metadata', Buffer.from(reply.torrent)); return
      case 'verified': this.#takePiece(reply.piece, reply.layoutVersion).catch((error: unknown) => { this.#giveBack(reply.piece, error) }); return
      case 'bytes': this.#takeBytes(reply.piece, Buffer.from(reply.bytes.buffer, reply.bytes.byteOffset, reply.bytes.byteLength)).catch((error: unknown) => { this.#giveBack(reply.piece, error) }); return
      case 'settled':
        this.#settling.get(reply.number)?.()
        this.#settling.delete(reply.number)
        return
      case 'stats':
        this.#now = reply.stats
        this.#shares = reply.stats.shares
        this.#link.onShares(this.#shares)
        this.#tellFetching()
        this.emit('stats')
        return
      case 'blocked': {
        const isNews = this.#blocked === null
        this.#blocked = new CodedError('STORE_FAILED', reply.reason)
        if (isNews) this.#link.log.warn({ infohash: this.infohash, piece: reply.piece, reason: reply.reason }, 'a piece from the swarm cannot be written yet')
        this.emit('blocked', this.#blocked)
        return
      }
      case 'failed':
        this.#isIn = false
        this.#endSettling()
        this.#failure = new CodedError(reply.code, reply.reason)
        this.#now = { ...noStats, receivedBytes: this.#now.receivedBytes, uploadedBytes: this.#now.uploadedBytes }
        this.#tellFetching()
        this.#link.log.warn({ infohash: this.infohash, code: reply.code, reason: reply.reason }, 'a torrent failed in the swarm')
        this.emit('failed', this.#failure)
    }
  }

  async #takePiece (index: number, layoutVersion: number): Promise<void> {
    const store = this.#store
    if (store === null) return
    const piece = store.geometry.piece(index)
    this.#blocked = null
    // Before the store says so itself: the process need not be told what it told.
    this.#remember(piece, true)
    await store.markVerified(piece, layoutVersion)
  }

  /**
   * A piece that the disk had no room for, where it was received. Where the store does not take it either, and somebody
   * still wants it, the process keeps it for now; what nobody wants is given up.
   */
  async #takeBytes (index: number, bytes: Buffer): Promise<void> {
    const store = this.#store
    let isTaken = false
    try {
      if (store === null) return
      const piece = store.geometry.piece(index)
      this.#remember(piece, true)
      const isHere = await store.takeBytes(piece, bytes)
      isTaken = isHere || !this.demand.ranges().some(({ first, last }) => first <= piece && piece <= last)
      if (isHere) this.#blocked = null
    } finally {
      this.#send({ type: 'taken', id: this.#link.id, piece: index, isTaken })
      // It may have been let go before the process knew that it was here.
      if (store === null || !store.has(store.geometry.piece(index))) this.#forget(index)
    }
  }

  /** The store did not take a piece that the process counts as done. */
  #giveBack (piece: number, error: unknown): void {
    const coded = asCoded(error, 'STORE_FAILED')
    if (coded.code === 'STORE_CLOSED') return
    this.#link.log.warn({ infohash: this.infohash, piece, err: coded }, 'the store did not take a piece from the swarm')
    this.#forget(piece)
  }

  readonly #onLayout = (layout: Layout): void => {
    this.#send({ type: 'layout', id: this.#link.id, layout })
  }

  /** For the store: resolves when the process has ended what it was writing, or is gone. */
  readonly #settle = async (): Promise<void> => {
    if (!this.#isIn) return
    const number = ++this.#settleCount
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#settling.set(number, resolve)
    this.#send({ type: 'settle', id: this.#link.id, number })
    await promise
  }

  #endSettling (): void {
    for (const resolve of this.#settling.values()) resolve()
    this.#settling.clear()
  }

  readonly #onVerified = (piece: PieceIndex): void => {
    if (this.#isKnown(piece)) return
    this.#remember(piece, true)
    this.#send({ type: 'filled', id: this.#link.id, pieces: [piece] })
  }

  readonly #onDropped = (piece: PieceIndex): void => {
    this.#forget(piece)
    // It may have been held back from the demand until it was checked.
    this.#sendDemandSoon()
  }

  /** What another filler has begun to fetch is not asked of the peers, too. */
  readonly #onInFlight = (filler: string): void => {
    if (filler !== this.name && !this.demand.isEmpty) this.#sendDemandSoon()
  }

  #tellFetching (): void {
    const store = this.#store
    if (store === null) return
    const { fetching, downloadSpeed, peersConnected } = this.#now
    const now = performance.now()
    let missing = 0
    // Begun while somebody was there, and left to others since.
    const pieces = peersConnected > 0 ? fetching : []
    // As if they came one after the other: that is how they are asked for.
    store.inFlight.set(this.name, new Map(pieces.map(([piece, missingBytes]) => {
      missing += missingBytes
      return [store.geometry.piece(piece), downloadSpeed > 0 ? now + missing / downloadSpeed * 1000 : Infinity]
    })))
  }

  #forget (piece: number): void {
    this.#remember(piece, false)
    this.#send({ type: 'dropped', id: this.#link.id, pieces: [piece] })
  }

  #isKnown (piece: number): boolean {
    return ((this.#known[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) !== 0
  }

  #remember (piece: number, isHere: boolean): void {
    const byte = this.#known[piece >> 3] ?? 0
    const bit = 0x80 >> (piece & 7)
    this.#known[piece >> 3] = isHere ? byte | bit : byte & ~bit
  }

  #sendAttach (): void {
    if (this.#store === null || this.#torrent === null) return
    const { layout } = this.#store
    this.#known = new Uint8Array(this.#store.bitfield())
    this.#send({ type: 'attach', id: this.#link.id, torrent: this.#torrent, bitfield: this.#known, layout })
  }

  /** Readers change their wishes many times in a turn; the process gets the last word of it. */
  #sendDemandSoon (): void {
    if (!this.#isDemandSent) return
    this.#isDemandSent = false
    setImmediate(() => {
      this.#isDemandSent = true
      this.#sendDemand()
    })
  }

  /** What the peers are to be asked for. What is still to be checked is most likely there. */
  #wishes (): WantedRange[] {
    const store = this.#store
    if (store === null || (store.uncheckedCount === 0 && !store.inFlight.isShared(this.name))) return this.demand.ranges().map(({ first, last, urgency }) => [first, last, urgency])
    return this.demand.rangesWithout(piece => store.isUnchecked(store.geometry.piece(piece)) || store.inFlight.readyAt(piece, this.name) !== null)
  }

  #sendDemand (): void {
    this.#send({ type: 'demand', id: this.#link.id, ranges: this.#wishes() })
  }

  #send (request: HostRequest): void {
    if (this.#isIn && !this.#hasLeft) this.#link.send(request)
  }
}

function unavailableNetwork (reason: string): NetworkReport {
  return emptyReport(reason, `P2P cannot run here (${reason}): streams come from the cache and over HTTP.`)
}

function firstLine (text: string): string {
  return text.split('\n', 1)[0] ?? text
}
