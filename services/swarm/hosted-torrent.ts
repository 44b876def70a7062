import type WebTorrent from 'webtorrent'
import type { Torrent, Wire } from 'webtorrent'
import { steadyClock } from '../clock.ts'
import { pause } from '../deadline.ts'
import type { Fetcher } from '../download/fetcher.ts'
import { asCoded } from '../errors.ts'
import { Geometry } from '../pieces/geometry.ts'
import { urgencies } from '../pieces/demand.ts'
import type { Urgency } from '../pieces/demand.ts'
import { PieceFiles } from '../pieces/piece-files.ts'
import type { Layout } from '../pieces/piece-files.ts'
import type { Slots } from '../slots.ts'
import { parseMetadata } from '../torrent/metadata.ts'
import { Availability } from './availability.ts'
import { ChunkStore } from './chunk-store.ts'
import type { Shelf } from './chunk-store.ts'
import { Exchange } from './exchange.ts'
import type { ExchangeOptions } from './exchange.ts'
import { Introductions } from './introductions.ts'
import { dialAgain, dialPlainToo, guardPeers, keepIncomingPeers, peerCounts, takeOverRedials } from './internals/connections.ts'
import { announcePort, tameLocalDiscovery } from './internals/discovery.ts'
import { holdMetadata, onInfo } from './internals/metadata.ts'
import { begunPieces, cancelUnwanted, dropHeld, heldBytes, isBegun, markDropped, markFilled } from './internals/pieces.ts'
import { dialNoTcp } from './internals/ports.ts'
import { joinOnce, sendAtOnce, sendTogether } from './internals/transfer.ts'
import type { PunchLimits } from './holepunch.ts'
import type { Network } from './network.ts'
import type { TrackerMemory } from './tracker-memory.ts'
import type { HostReply, HostStats, WantedRange } from './messages.ts'
import { PeerJudge } from './peer-judge.ts'
import { Picking } from './picking.ts'
import type { PeerJudgeOptions } from './peer-judge.ts'
import type { PeerSource } from './peer-policy.ts'
import { PeerSearch } from './peer-search.ts'
import { Redial } from './redial.ts'
import type { Need } from './redial.ts'
import { Trackers } from './trackers.ts'
import { chooseWindow } from './window.ts'
import type { Window } from './window.ts'

/** How long changes among the peers are gathered before the pieces are chosen anew. */
const reselectMs = 50
/** The server answers an offered piece once it is where it can be read; one that was not answered is offered again. */
const offerLimitMs = 30_000
/** Blocks of pieces that were begun and are not chosen now are kept up to this part of the window. */
const heldShare = 0.25
/** Addresses remembered to tell how many peers are known. */
const addressLimit = 5_000

type Without<T, K extends string> = T extends unknown ? Omit<T, K> : never
export type TorrentReply = Without<Extract<HostReply, { readonly id: number }>, 'id'>

export interface HostedTorrentOptions {
  readonly infohash: string
  readonly torrent: Uint8Array | null
  readonly trackers: readonly string[]
  /** Which of all trackers the operator configured. */
  readonly ownTrackers: readonly string[]
  readonly peers: readonly string[]
  /** Peers that the operator configured. */
  readonly staticPeers: readonly string[]
  /** May this peer, that the source named, be dialled? */
  readonly mayDial: (address: string, source: string | undefined) => boolean
  /** Whom nobody speaks with, and what is said of it. */
  readonly judging: Omit<PeerJudgeOptions, 'readPiece'>
  readonly exchange: ExchangeOptions
  readonly allowPrivateNetworks: boolean
  readonly fetcher: Pick<Fetcher, 'get'>
  readonly network: Network
  readonly punchLimits: PunchLimits
  /** What is known of trackers from all torrents. */
  readonly trackerMemory: TrackerMemory
  /** ICE servers, or no WebRTC. */
  readonly rtc: { readonly rtcConfig: object, readonly wrtc?: false }
  /** Dial uTP only. */
  readonly isTcpOff: boolean
  /** How many bytes of pieces this torrent may have in flight; 0: not even one piece. Asked each time pieces are chosen. */
  readonly windowBytes: () => number
  /** One place, for all torrents: whose piece is on its way to the server. */
  readonly offers: Slots
  readonly tell: (reply: TorrentReply) => void
  /** Every connection, after its handshake. */
  readonly onWire?: (torrent: Torrent, wire: Wire) => void
}

/** One torrent in the swarm's process, from `join` to `leave`. */
export class HostedTorrent {
  readonly infohash: string
  readonly #torrent: Torrent
  readonly #options: HostedTorrentOptions
  readonly #release: (metadata: Uint8Array, bitfield: Uint8Array) => Promise<void>
  readonly #named: Promise<void>
  readonly #trackers: Trackers
  readonly #judge: PeerJudge
  readonly #search: PeerSearch
  readonly #picking: Picking
  readonly #redial: Redial
  readonly #exchange: Exchange
  readonly #introductions: Introductions
  readonly #addresses = new Set<string>()
  #shelf: Shelf | null = null
  #store: ChunkStore | null = null
  #demand: readonly WantedRange[] = []
  #lastServedAt = performance.now()
  readonly #offered = new Map<number, (isTaken: boolean) => void>()
  #window: Window = { pieces: [], waiting: [], has: () => false }
  readonly #availability = new Availability()
  #reselectTimer: NodeJS.Timeout | null = null
  /** What was said of pieces before it was ready, the last word for each: is it there? */
  readonly #early = new Map<number, boolean>()
  #isMetadataKnown: boolean
  #isPrivate = false
  #isOver = false
  #lastStats = ''

  constructor (client: WebTorrent, options: HostedTorrentOptions) {
    this.infohash = options.infohash
    this.#options = options
    this.#isMetadataKnown = options.torrent !== null
    // BEP 27: a private torrent is announced to its own trackers only, which come with its bytes.
    const metadata = options.torrent === null ? null : parseMetadata(Buffer.from(options.torrent), options.infohash)
    this.#isPrivate = metadata?.isPrivate === true
    // WebTorrent takes URLs and local paths too, so it is never given anything but bytes or a magnet made here.
    const torrent = client.add(options.torrent ?? `magnet:?xt=urn:btih:${options.infohash}`, {
      deselect: true,
      store: ChunkStore,
      storeOpts: { openShelf: (store: ChunkStore) => this.#openShelf(store) },
      storeCacheSlots: 0,
      destroyStoreOnDestroy: false
    })
    this.#torrent = torrent
    this.#release = holdMetadata(torrent, options.infohash)
    keepIncomingPeers(torrent)
    tameLocalDiscovery(torrent)
    this.#redial = new Redial({ clock: steadyClock, dial: (address, source) => dialAgain(client, torrent, address, source) })
    takeOverRedials(torrent, (address) => { this.#redial.gone(address) })
    guardPeers(torrent, (address, source) => options.mayDial(address, source) && this.#redial.named(address, source))
    dialPlainToo(client, torrent)
    if (options.isTcpOff) dialNoTcp(torrent)
    this.#judge = new PeerJudge(torrent, { ...options.judging, readPiece: async (piece) => await this.#readPiece(piece) })
    this.#picking = new Picking(torrent, (wire) => !this.#judge.isRestricted(wire))
    this.#exchange = new Exchange(torrent, options.exchange, () => this.#window.pieces.length > 0)
    this.#introductions = new Introductions(client, torrent, { ...options, limits: options.punchLimits, isPrivate: () => this.#isPrivate })
    this.#named = new Promise(resolve => { torrent.once('infoHash', () => { resolve() }) })
    torrent.on('error', (error: unknown) => { this.#fail(error) })
    torrent.on('wire', (wire: Wire, address: unknown) => { this.#onWire(wire, address) })
    torrent.on('peer', (address: unknown) => { this.#note(address) })
    torrent.on('verified', () => {
      this.#lastServedAt = performance.now()
      this.reselectSoon()
    })
    torrent.on('ready', () => {
      for (const [piece, isThere] of this.#early) this.#setThere(piece, isThere)
      this.#early.clear()
      this.reselect()
    })
    this.addPeers(options.peers)
    this.#addPeers(options.staticPeers, 'operator')
    this.#trackers = new Trackers({
      trusted: new Set(options.ownTrackers),
      isRefused: options.judging.isRefused,
      allowPrivateNetworks: options.allowPrivateNetworks,
      fetcher: options.fetcher,
      rtc: options.rtc,
      memory: options.trackerMemory,
      announcement: () => ({
        infohash: this.infohash,
        peerId: client.peerId,
        port: client.torrentPort,
        userAgent: client.userAgent,
        uploaded: this.#exchange.uploadedBytes,
        downloaded: torrent.downloaded,
        left: this.#leftBytes()
      }),
      onPeer: (peer, source) => { this.#named.then(() => { if (!this.#isOver) torrent.addPeer(peer, source) }, () => {}) },
      // One that fails is no news: others are asked, and it is asked again.
      onProblem: () => {}
    })
    torrent.on('done', () => { this.#trackers.complete() })
    this.#trackers.add(this.#isPrivate ? metadata?.trackers ?? [] : options.trackers)
    this.#search = new PeerSearch({ infohash: this.infohash, dht: client.dht || null, trackers: this.#trackers, isPrivate: () => this.#isPrivate })
  }

  /** What somebody wants most of what peers are there for; null: nothing that would take memory. */
  get urgency (): Urgency | null {
    const [first] = this.#demand
    return first === undefined || !this.#torrent.ready || this.#torrent.wires.length === 0 ? null : first[2]
  }

  get pieceLength (): number {
    return this.#torrent.ready ? this.#torrent.pieceLength : 0
  }

  /** When it last got a piece, or began to want one. */
  get lastServedAt (): number {
    return this.#lastServedAt
  }

  /** Gives it its metadata and files: from now on pieces are fetched. A second call does nothing. */
  attach (torrent: Uint8Array, bitfield: Uint8Array, layout: Layout): void {
    if (this.#shelf !== null) return
    this.#isMetadataKnown = true
    this.#attach(torrent, bitfield, layout).catch((error: unknown) => { this.#fail(error) })
  }

  /** Goes on writing under a newer layout. */
  setLayout (layout: Layout): void {
    this.#shelf?.files.setLayout(layout)
    this.#store?.retry()
  }

  /** Says so when what is being written now, perhaps under an older layout, has ended. */
  async settle (number: number): Promise<void> {
    await this.#shelf?.files.settled()
    this.#options.tell({ type: 'settled', number })
  }

  /** Replaces the demand. The most urgent range comes first. */
  setDemand (demand: readonly WantedRange[]): void {
    if (this.#demand.length === 0) {
      this.#lastServedAt = performance.now()
      if (demand.length > 0 && !this.#isOver) this.#search.wake()
    }
    this.#demand = demand
    this.reselect()
    // What waits for the disk may not be wanted any more: the server says so when it is asked.
    if (this.#store !== null && this.#waitingInVain().length > 0) this.#store.retry()
    if (!this.#torrent.ready || this.#isOver) return
    cancelUnwanted(this.#torrent, (piece) => this.#isWanted(piece))
  }

  /** The server's answer to a piece that was offered. */
  setTaken (piece: number, isTaken: boolean): void {
    this.#offered.get(piece)?.(isTaken)
  }

  /** Takes pieces that somebody else has written and verified. */
  setFilled (pieces: readonly number[]): void {
    for (const piece of pieces) this.#setThere(piece, true)
  }

  /** Gives up pieces that it was believed to have; they can be fetched again. */
  setDropped (pieces: readonly number[]): void {
    for (const piece of pieces) this.#setThere(piece, false)
    this.reselectSoon()
  }

  #setThere (piece: number, isThere: boolean): void {
    if (this.#isOver) return
    // The bitfield of attach() is on its way into the torrent, and older than this.
    if (!this.#torrent.ready) this.#early.set(piece, isThere)
    else if (isThere) markFilled(this.#torrent, piece)
    else markDropped(this.#torrent, piece)
  }

  /** Asks these trackers too. Ones that are asked already are skipped. */
  addTrackers (trackers: readonly string[]): void {
    if (!this.#isPrivate && !this.#isOver) this.#trackers.add(trackers)
  }

  /** Dials these peers, `ip:port` each. What is none is skipped. */
  addPeers (peers: readonly string[]): void {
    this.#addPeers(peers, 'magnet')
  }

  #addPeers (peers: readonly string[], source: PeerSource): void {
    if (peers.length === 0) return
    this.#named.then(() => {
      for (const peer of peers) if (!this.#isOver) this.#torrent.addPeer(peer, source)
    }, () => {})
  }

  /** Tells trackers and the DHT of the client's port, which is this one now. */
  reannounce (port: number): void {
    if (this.#isOver) return
    announcePort(this.#torrent, port)
    this.#trackers.update()
  }

  /** Chooses anew what to ask the peers for. */
  reselect (): void {
    if (this.#reselectTimer !== null) clearTimeout(this.#reselectTimer)
    this.#reselectTimer = null
    const torrent = this.#torrent
    if (this.#isOver) return
    this.#redial.setNeed(this.#need)
    if (!torrent.ready) return
    const { wires, bitfield, pieceLength } = torrent
    const windowBytes = this.#options.windowBytes()
    const inVain = this.#waitingInVain().length
    const limit = windowBytes === 0 ? 0 : Math.max(inVain === 0 ? 1 : 0, Math.floor(windowBytes / pieceLength) - inVain)
    const counts = this.#availability.of(wires, torrent.pieces.length)
    this.#window = chooseWindow(this.#demand, limit, {
      isVerified: (piece) => bitfield.get(piece),
      isBegun: (piece) => isBegun(torrent, piece),
      isAvailable: (piece) => wires.some((wire) => wire.peerPieces.get(piece)),
      peersWith: (piece) => counts[piece] ?? 0
    })
    this.#picking.choose(this.#window, (piece) => this.#isWanted(piece, urgencies.readAhead))
    const isKept = (piece: number): boolean => this.#window.has(piece)
    if (heldBytes(torrent, isKept) > windowBytes * heldShare) dropHeld(torrent, isKept)
    this.#exchange.update()
  }

  /** Before the metadata everybody waits. */
  get #need (): Need {
    const { ready, wires } = this.#torrent
    const [first] = this.#demand
    if (ready && first === undefined) return 'idle'
    return wires.length === 0 && (!ready || first?.[2] === urgencies.waiting) ? 'waiting' : 'wanted'
  }

  /** Is it a piece that somebody wants, and so soon at least? */
  #isWanted (piece: number, soon: Urgency = urgencies.background): boolean {
    return this.#demand.some(([first, last, urgency]) => first <= piece && piece <= last && urgency >= soon)
  }

  /** Pieces that the disk did not take yet, and that nobody wants any more. */
  #waitingInVain (): number[] {
    return [...this.#store?.waiting ?? []].filter((piece) => !this.#isWanted(piece))
  }

  /**
   * To be called every few seconds, so that no lost event stops a stream. A torrent without peers looks for some again,
   * in growing intervals: by itself that is done every quarter of an hour, however empty the first answer was.
   */
  watch (): void {
    this.reselect()
    if (this.#isOver) return
    this.#search.watch(this.#torrent.wires.length > 0)
  }

  /** Lets go of peers that are refused by now. */
  dropRefused (): void {
    if (!this.#isOver) this.#judge.dropRefused()
  }

  /** What has changed since the last call, or null. */
  takeStats (): HostStats | null {
    if (this.#isOver) return null
    const { connected, connecting } = peerCounts(this.#torrent)
    const stats: HostStats = {
      peersKnown: Math.max(this.#addresses.size, connected + connecting),
      peersConnected: connected,
      peersConnecting: connecting + this.#introductions.pendingCount,
      receivedBytes: this.#exchange.receivedBytes,
      uploadedBytes: this.#exchange.uploadedBytes,
      shares: this.#exchange.shares,
      isSeeding: this.#exchange.isSeeding,
      downloadSpeed: Math.round(this.#torrent.downloadSpeed),
      uploadSpeed: Math.round(this.#torrent.uploadSpeed),
      fetching: this.#torrent.ready ? begunPieces(this.#torrent) : [],
      isBarren: this.#search.isDhtAsked && this.#trackers.isAnswered && this.#addresses.size === 0 && connected + connecting === 0
    }
    const text = JSON.stringify(stats)
    if (text === this.#lastStats) return null
    this.#lastStats = text
    return stats
  }

  #tellStats (): void {
    const stats = this.takeStats()
    if (stats !== null) this.#options.tell({ type: 'stats', stats })
  }

  /** Leaves the swarm. Resolves once the trackers know and the files are closed; a silent tracker has to be waited for, so bound it. */
  async leave (): Promise<void> {
    this.#isOver = true
    this.#redial.close()
    this.#introductions.close()
    if (this.#reselectTimer !== null) clearTimeout(this.#reselectTimer)
    this.#reselectTimer = null
    this.#judge.close()
    this.#search.close()
    this.#picking.close()
    const tasks = [this.#trackers.leave()]
    // One that an error has destroyed would not call back.
    if (!this.#torrent.destroyed) tasks.push(new Promise<void>(resolve => { this.#torrent.destroy({ destroyStore: false }, resolve) }))
    await Promise.all(tasks)
    // Where WebTorrent has made a store of them, that has closed them already.
    await this.#shelf?.files.close()
  }

  async #attach (torrent: Uint8Array, bitfield: Uint8Array, layout: Layout): Promise<void> {
    const metadata = parseMetadata(Buffer.from(torrent), this.infohash)
    const geometry = new Geometry(metadata)
    this.#shelf = {
      geometry,
      files: new PieceFiles(geometry, layout, (index) => metadata.files[index]?.isPadding === true),
      onWritten: (piece, layoutVersion) => {
        // Who waits for the piece wants to know that it is this filler that delivers.
        if (this.#window.waiting.includes(piece)) this.#tellStats()
        this.#options.tell({ type: 'verified', piece, layoutVersion })
      },
      onBlocked: (piece, error) => { this.#options.tell({ type: 'blocked', piece, reason: messageOf(error) }) },
      offer: async (piece, bytes, onTaken, signal) => { await this.#offer(piece, bytes, onTaken, signal).catch(() => { /* it is offered again, or the store is closed */ }) }
    }
    await this.#named
    if (this.#isOver) return
    await this.#release(torrent, bitfield)
    this.#isPrivate = metadata.isPrivate
    this.#trackers.add(metadata.trackers)
  }

  async #offer (piece: number, bytes: Uint8Array, onTaken: () => void, signal: AbortSignal): Promise<void> {
    await this.#options.offers.run(async () => {
      const answered = new AbortController()
      this.#offered.set(piece, (isTaken) => {
        this.#offered.delete(piece)
        if (isTaken) onTaken()
        answered.abort()
      })
      try {
        this.#options.tell({ type: 'bytes', piece, bytes })
        await pause(offerLimitMs, AbortSignal.any([signal, answered.signal]))
      } finally {
        this.#offered.delete(piece)
      }
    }, signal)
  }

  async #readPiece (index: number): Promise<Uint8Array | null> {
    if (this.#shelf === null) return null
    const { geometry, files } = this.#shelf
    const piece = geometry.piece(index)
    return await files.readPiece(piece, 0, geometry.lengthOf(piece))
  }

  #openShelf (store: ChunkStore): Shelf {
    this.#store = store
    // Metadata is held back until attach() has made the shelf.
    if (this.#shelf === null) throw new Error('the store was opened before its files are known')
    return this.#shelf
  }

  #onWire (wire: Wire, address: unknown): void {
    if (!this.#judge.admits(wire)) return
    this.#note(address)
    this.#redial.onWire(address, wire)
    this.#introductions.onWire(wire)
    sendAtOnce(this.#torrent, wire)
    sendTogether(wire)
    joinOnce(wire)
    this.#options.onWire?.(this.#torrent, wire)
    this.#picking.onWire(wire)
    this.#exchange.onWire(wire)
    for (const event of ['bitfield', 'have', 'have-all', 'close']) wire.on(event, () => { this.reselectSoon() })
    if (!this.#isMetadataKnown) onInfo(wire, (info) => { this.#takeInfo(info) })
  }

  #takeInfo (info: Uint8Array): void {
    if (this.#isMetadataKnown) return
    this.#isMetadataKnown = true
    this.#options.tell({ type: 'metadata', torrent: Buffer.concat([Buffer.from('d4:info'), info, Buffer.from('e')]) })
  }

  #note (address: unknown): void {
    if (typeof address === 'string' && this.#addresses.size < addressLimit) this.#addresses.add(address)
  }

  /** Chooses anew in a moment. */
  reselectSoon (): void {
    if (this.#reselectTimer === null && !this.#isOver) this.#reselectTimer = setTimeout(() => { this.reselect() }, reselectMs)
  }

  #leftBytes (): number {
    // Unknown before the metadata; 0 would say that we seed.
    return this.#torrent.ready ? Math.max(this.#torrent.length - this.#torrent.downloaded, 0) : 16_384
  }

  #fail (error: unknown): void {
    if (this.#isOver) return
    const { code, message } = asCoded(error, 'SOURCE_FAILED')
    this.#options.tell({ type: 'failed', code, reason: message })
    // It has failed already: what else goes wrong on the way out is no news.
    this.leave().catch(() => {})
  }
}

function messageOf (error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
