/**
 * WebTorrent 3.0.21 as far as it is used here. Names with an underscore are private: only internals/ may use them,
 * with a test for each.
 */
declare module 'webtorrent' {
  import type { EventEmitter } from 'node:events'
  import type { Server, Socket } from 'node:net'
  import type { Duplex } from 'node:stream'
  import type { UtpServer } from 'utp-native'

  export interface BitField {
    readonly buffer: Uint8Array
    get (index: number): boolean
  }

  /** torrent-piece: a piece that is being assembled in memory. */
  export interface Piece {
    readonly length: number
    readonly missing: number
    /** The blocks that have arrived; null until the first is asked for, and again once they were joined. */
    readonly _buffer: readonly unknown[] | null
    /** All blocks arrived: it is being hashed or written. */
    readonly _flushed: boolean
    /** Blocks from the first on that were asked for; those of them that are to be asked for again. */
    readonly _reservations: number
    readonly _cancellations: number[] | null
    reserve (): number
    cancel (block: number): void
    /** Takes a block; true: it was the last one. */
    set: (block: number, bytes: Uint8Array, source: Wire) => boolean
    /** All blocks in one; null: some are missing. */
    flush: () => Uint8Array | null
  }

  export interface Request {
    readonly piece: number
    readonly offset: number
    readonly length: number
  }

  /** bittorrent-protocol: one connection to a peer, after its handshake. */
  export interface Wire extends EventEmitter {
    readonly peerId: string
    /** 'tcpIncoming', 'utpOutgoing', 'webrtc' …: what it was meant to be when it was dialled. */
    readonly type: string
    readonly remoteAddress?: string
    readonly remotePort?: number
    readonly isSeeder?: boolean
    /** What we say of ourselves in the extended handshake (BEP 10), beside `m`; and what the peer said. */
    readonly extendedHandshake: Record<string, unknown>
    readonly peerExtendedHandshake: Record<string, unknown>
    readonly peerExtendedMapping: Record<string, number>
    readonly _cryptoHandshakeDone: boolean
    readonly peerChoking: boolean
    readonly amChoking: boolean
    readonly peerInterested: boolean
    readonly destroyed: boolean
    readonly peerPieces: BitField
    readonly requests: readonly Request[]
    /** What the peer asked for, and is not answered yet. */
    readonly peerRequests: readonly Request[]
    downloaded: number
    /** Bytes a second; given a number of bytes, it counts them first. */
    downloadSpeed: (bytes?: number) => number
    readonly ut_metadata: EventEmitter & { readonly metadata?: Uint8Array }
    readonly lt_donthave: { donthave (piece: number): void }
    have (piece: number): void
    cancel: (piece: number, offset: number, length: number) => void
    choke: () => void
    unchoke: () => void
    /** Only where both have the fast extension. */
    reject (piece: number, offset: number, length: number): void
    extended (extension: string, message: Uint8Array): void
    use (Extension: new (wire: Wire) => object): void
    destroy (): void

    /** What has come of a message, and how much of it there must be to go on. */
    readonly _buffer: Uint8Array[]
    _bufferSize: number
    readonly _parserSize: number
    readonly _cryptoSyncPattern?: Uint8Array | null
    readonly _encryptor?: { encrypt (bytes: Uint8Array): Uint8Array, decrypt (bytes: Uint8Array): Uint8Array } | null
    /** Do both sides have the fast extension (BEP 6)? */
    readonly hasFast: boolean
    readonly _finished: boolean
    _onReject (piece: number, offset: number, length: number): void
    _onRequest: (piece: number, offset: number, length: number) => void
    _onCancel: (piece: number, offset: number, length: number) => void
    /** streamx: bytes that wait to be sent; called once there is room for more. */
    readonly _readableState: { readonly buffered: number }
    _read: (done: (error: null) => void) => void
    push (bytes: Uint8Array): boolean
    _push (bytes: Uint8Array): void
    _write (bytes: Uint8Array, done: (error: null) => void): void
  }

  /** 'disconnect': at its end, if it was connected. */
  export interface Peer extends EventEmitter {
    id: string
    readonly addr: string | null
    /** Who named it; null for one that connected to us. */
    readonly source?: string | null
    readonly connected: boolean
    conn: unknown
    /** Null until connected; its peerId until the BitTorrent handshake. */
    readonly wire: Wire | { readonly peerId: null } | null
    destroy (error?: Error): void
  }

  export interface LocalDiscovery extends EventEmitter {
    _parseAnnounce (announce: string): unknown
  }

  export interface Discovery extends EventEmitter {
    readonly lsd: LocalDiscovery | null
    readonly _dhtAnnouncing: boolean
    updatePort (port: number): void
  }

  export interface Torrent extends EventEmitter {
    infoHash: string
    readonly ready: boolean
    readonly destroyed: boolean
    readonly paused: boolean
    /** Undefined before the metadata. */
    readonly private?: boolean
    readonly announce: readonly string[]
    readonly bitfield: BitField
    readonly pieceLength: number
    readonly pieces: ReadonlyArray<Piece | null>
    readonly wires: readonly Wire[]
    readonly length: number
    readonly downloaded: number
    readonly uploaded: number
    readonly downloadSpeed: number
    readonly uploadSpeed: number
    readonly discovery: Discovery | null
    readonly files: ReadonlyArray<{ readonly streamURL: string }>
    addPeer: (address: unknown, source?: string) => boolean
    destroy (options: { destroyStore: boolean }, done: () => void): void

    readonly _peers: ReadonlyMap<string, Peer> | null
    /** Peers that wait to be dialled. */
    readonly _queue: Peer[] | null
    /** By piece: whom its blocks that are under way were asked of. */
    readonly _reservations: ReadonlyArray<Array<Wire | null> | null | undefined>
    _request: (wire: Wire, piece: number, hotswap: boolean) => boolean
    _update (): void
    /** Asks all peers for what they may be asked for. */
    _updateWireWrapper: () => void
    /** Forgets a peer that is gone, or whom it names. */
    removePeer: (peer: unknown) => void
    /** Dials the first of the queue. */
    _drain: () => void
    readonly _numConns: number
    readonly _numPending: number
    _critical: boolean[]
    _startupBitfield: Uint8Array
    _addIncomingPeer (peer: Peer): void
    _addPeer: (peer: unknown, type: 'utp' | 'tcp', source?: string) => Peer | null
    _checkDone (): boolean
    _rechoke (): void
    _markUnverified (piece: number): void
    _markVerified: (piece: number) => void
    _onMetadata (metadata: Uint8Array): Promise<void>
    _startDiscovery (): void
    _updateInterest (): void
    _verifyPieces (done: (error: Error | null) => void): void
  }

  export interface AddOptions {
    readonly announce?: readonly string[]
    /** Where a store of WebTorrent's own keeps the files. */
    readonly path?: string
    readonly deselect?: boolean
    readonly store?: new (chunkLength: number, options: never) => object
    readonly storeOpts?: object
    readonly storeCacheSlots?: number
    readonly destroyStoreOnDestroy?: boolean
    /** Believes the store to have everything. */
    readonly skipVerify?: boolean
  }

  export interface ClientOptions {
    readonly torrentPort?: number
    readonly dhtPort?: number
    readonly dht?: { readonly bootstrap: readonly string[] | false } | false
    readonly tracker?: object | false
    readonly utp?: boolean
    readonly utPex?: boolean
    readonly lsd?: boolean
    readonly natUpnp?: boolean
    readonly natPmp?: boolean
    readonly webSeeds?: boolean
    readonly downloadLimit?: number
    readonly uploadLimit?: number
    /** Encryption (MSE): 0 none, 1 where the peer has it, 2 always. */
    readonly secure?: number
  }

  export interface DhtNode {
    readonly host: string
    readonly port: number
  }

  type QueryDone = (error: Error | null, message: unknown, peer: DhtNode) => void

  /** k-rpc-socket: sends queries of the DHT. */
  export interface DhtSocket extends EventEmitter {
    readonly destroyed: boolean
    query: (peer: DhtNode, message: object, callback?: QueryDone) => unknown
  }

  export interface Dht extends EventEmitter {
    readonly ready: boolean
    readonly nodeId: Uint8Array
    readonly nodes: {
      count (): number
      /** `seen`: when it last said something, in milliseconds since 1970. */
      toArray (): ReadonlyArray<DhtNode & { readonly seen?: number }>
    }
    readonly _rpc: { readonly socket: DhtSocket }
    /** Finds peers, which are told to every torrent of this infohash. */
    lookup (infohash: string, done: (error: Error | null) => void): () => void
    addNode (node: DhtNode): void
    /** Who answers a ping is known from then on. */
    _sendPing (node: DhtNode, done: (error: Error | null) => void): void
    readonly destroyed: boolean
    address (): { readonly port: number }
  }

  export default class WebTorrent extends EventEmitter {
    static readonly UTP_SUPPORT: boolean
    static readonly WEBRTC_SUPPORT: boolean
    constructor (options?: ClientOptions)
    readonly destroyed: boolean
    utp: boolean
    readonly peerId: string
    readonly nodeId: string
    torrentPort: number
    /** Encryption (MSE) of connections that are made from now on: 0 none, 1 handshake, 2 all of it. */
    secure: number
    readonly maxConns: number
    readonly torrents: readonly Torrent[]
    dht: Dht | false | null
    readonly userAgent: string
    add (torrent: string | Uint8Array, options?: AddOptions): Torrent
    seed (input: unknown, options?: object, onSeed?: (torrent: Torrent) => void): Torrent
    /** WebTorrent's own server, which the benchmarks measure against. */
    createServer (): { readonly server: import('node:http').Server }
    destroy (done?: (error?: Error | null) => void): void

    readonly _connPool: ConnectionPool | null
  }

  /** Takes the connections that peers begin. */
  interface ConnectionPool {
    readonly tcpServer: Server | null
    utpServer?: UtpServer | null
    readonly _onTCPConnectionBound: (socket: Socket) => void
    readonly _onUTPConnectionBound: (connection: Duplex) => void
    _onConnection: (connection: Duplex & { readonly remoteAddress?: string, readonly remotePort?: number }, type: string) => void
  }
}

declare module 'bittorrent-dht' {
  import type { Dht } from 'webtorrent'
  import type { EventEmitter } from 'node:events'

  /** A node of the DHT. */
  export interface Client extends Dht {}
  export class Client extends EventEmitter {
    constructor (options: { readonly bootstrap: readonly string[] | false, readonly host?: string, readonly nodeId?: string, readonly socket?: EventEmitter })
    listen (port?: number, address?: string, done?: () => void): void
    address (): { readonly port: number }
    destroy (done: () => void): void
  }
}

declare module 'utp-native' {
  import type { EventEmitter } from 'node:events'
  import type { Duplex } from 'node:stream'

  export interface UtpConnection extends Duplex {
    readonly remoteAddress: string
    readonly remotePort: number
    readonly _connected: boolean
  }

  /** A UDP socket for uTP (BEP 29), IPv4 only. 'message': a datagram that is no uTP. */
  export interface UtpServer extends EventEmitter {
    readonly connections: readonly UtpConnection[]
    listen (port: number): void
    connect (port: number, host: string): Duplex
    address (): { readonly port: number, readonly address: string, readonly family: string }
    send (bytes: Uint8Array, offset: number, length: number, port: number, host: string, done: (error: Error | null) => void): void
    setSendBufferSize (bytes: number): void
    setRecvBufferSize (bytes: number): void
    unref (): void
    close (done?: () => void): void
  }

  const utp: { createServer (): UtpServer }
  export default utp
}

declare module 'bittorrent-tracker' {
  import type { EventEmitter } from 'node:events'

  export class Client extends EventEmitter {
    constructor (options: {
      readonly infoHash: string
      readonly peerId: string
      readonly announce: readonly string[]
      readonly port: number
      readonly userAgent?: string
      readonly rtcConfig?: object
      readonly wrtc?: false
      readonly proxyOpts?: object
      readonly getAnnounceOpts?: () => object
    })
    _port: number
    setInterval (ms: number): void
    start (): void
    stop (): void
    update (): void
    complete (): void
    /** Asks how many there are (BEP 15, 48); 'scrape' has the answer. */
    scrape (): void
    destroy (done?: () => void): void
  }

  /** A tracker, for tests. */
  export class Server extends EventEmitter {
    constructor (options: { readonly http?: boolean, readonly udp?: boolean, readonly ws?: boolean, readonly stats?: boolean, readonly interval?: number })
    readonly http: import('node:http').Server | null
    readonly torrents: Readonly<Record<string, { readonly peers: { readonly keys: readonly string[], peek (id: string): object | undefined } }>>
    listen (port: number, hostname: string, done: () => void): void
    close (done: () => void): void
  }
}
