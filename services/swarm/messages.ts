import type { Survey } from './survey.ts'
import type { ReasonCode } from '../errors.ts'
import type { NetworkReport } from '../nat/network-report.ts'
import type { DhtState } from './dht-file.ts'
import type { Layout } from '../pieces/piece-files.ts'
import { noShares } from './seeding.ts'
import type { Shares } from './seeding.ts'
import type { Urgency } from '../pieces/demand.ts'

/**
 * What the server and the swarm's process say to each other over IPC (structured clone, `serialization: 'advanced'`).
 * The bytes of pieces are among it only while the disk is full. `id` is one stay of a torrent in the swarm: it is not used again after
 * `leave`, so that late words about an earlier stay are known for what they are.
 */

/** What is dialled, and listened on; `both`: uTP first, TCP beside it. */
export type Transport = 'both' | 'utp' | 'tcp'

/** What the swarm's process needs to start. Limits are bytes a second, -1 for none. */
export interface HostOptions {
  /** Bytes of pieces that may be in flight, over all torrents: each is in memory until it is written. */
  readonly windowBytes: number
  /** 0: any. */
  readonly port: number
  /** Where an earlier process listened, which trackers and nodes may still tell; null: there was none. */
  readonly previousPort: number | null
  readonly transport: Transport
  /** The TCP side of the port is the HTTP server's, which hands over the connections of peers. */
  readonly isPortShared: boolean
  readonly trackers: readonly string[]
  readonly dhtBootstrap: readonly string[]
  /** As it was when the DHT was last known; null: it is unknown. */
  readonly dht: DhtState | null
  readonly iceServers: readonly object[]
  readonly staticPeers: readonly string[]
  /** A file that names whom nobody connects with; null: none. */
  readonly blocklistPath: string | null
  readonly uploadLimitBytes: number
  readonly downloadLimitBytes: number
  /** So much of what was downloaded is given back. */
  readonly seedRatio: number
  readonly isPortMappingEnabled: boolean
  readonly isLsdEnabled: boolean
  /** `host:port` each: they tell the kind of NAT. */
  readonly stunServers: readonly string[]
  /** For the advice that is given. */
  readonly isPanel: boolean
  /** Trackers, peers and nodes that strangers name may be on this machine and in its networks. */
  readonly allowPrivateNetworks: boolean
}

/** First and last piece, both included, and how soon they are wanted. */
export type WantedRange = readonly [first: number, last: number, urgency: Urgency]

/** From the server to the swarm's process. */
export type HostRequest =
  | { readonly type: 'start', readonly options: HostOptions }
  | { readonly type: 'ping', readonly beat: number }
  | { readonly type: 'stop' }
  | { readonly type: 'join', readonly id: number, readonly infohash: string, readonly torrent: Uint8Array | null, readonly trackers: readonly string[], readonly peers: readonly string[], readonly shares: Shares }
  /** Metadata and a store are there. `bitfield`: the verified pieces, the first piece in the highest bit. */
  | { readonly type: 'attach', readonly id: number, readonly torrent: Uint8Array, readonly bitfield: Uint8Array, readonly layout: Layout }
  | { readonly type: 'layout', readonly id: number, readonly layout: Layout }
  /** Asks for `settled` with this number, once no write is under way that began before the last layout. */
  | { readonly type: 'settle', readonly id: number, readonly number: number }
  /** The whole demand, the most urgent first. */
  | { readonly type: 'demand', readonly id: number, readonly ranges: readonly WantedRange[] }
  /** Pieces that somebody else verified in the store. */
  | { readonly type: 'filled', readonly id: number, readonly pieces: readonly number[] }
  /** Pieces that the torrent was believed to have and has not (any more). */
  | { readonly type: 'dropped', readonly id: number, readonly pieces: readonly number[] }
  | { readonly type: 'trackers', readonly id: number, readonly trackers: readonly string[] }
  | { readonly type: 'peers', readonly id: number, readonly peers: readonly string[] }
  | { readonly type: 'leave', readonly id: number }
  /** Asks for `surveyed` with this number. Nothing is joined or announced; of a private torrent (BEP 27) only these trackers are asked. */
  | { readonly type: 'survey', readonly number: number, readonly infohash: string, readonly trackers: readonly string[], readonly isPrivate: boolean }
  /** Comes with a connection that a peer began, of which these bytes have been read. */
  | { readonly type: 'connection', readonly bytes: Uint8Array }
  /** The answer to `bytes`. `isTaken`: the server has them now; else the swarm's process keeps them, and tries again. */
  | { readonly type: 'taken', readonly id: number, readonly piece: number, readonly isTaken: boolean }

/** What a torrent in the swarm's process has counted since it joined. Speeds are bytes a second. */
export interface HostStats {
  readonly peersKnown: number
  readonly peersConnected: number
  readonly peersConnecting: number
  /** Blocks of pieces as they arrived, verified or not. */
  readonly receivedBytes: number
  readonly uploadedBytes: number
  /** Over all the times it ran. */
  readonly shares: Shares
  /** It would go on for others, if nobody here needed it. */
  readonly isSeeding: boolean
  readonly downloadSpeed: number
  readonly uploadSpeed: number
  /** Pieces of which blocks were asked for, and how many bytes of each are missing. */
  readonly fetching: ReadonlyArray<readonly [piece: number, missingBytes: number]>
  /** No tracker, and no node of the DHT, knew of anybody: all were asked, and answered or failed. */
  readonly isBarren: boolean
}

export const noStats: HostStats = {
  peersKnown: 0,
  peersConnected: 0,
  peersConnecting: 0,
  receivedBytes: 0,
  uploadedBytes: 0,
  shares: noShares,
  isSeeding: false,
  downloadSpeed: 0,
  uploadSpeed: 0,
  fetching: [],
  isBarren: false
}

/** From the swarm's process to the server. */
export type HostReply =
  /** It listens; where, the last `network` before it says. */
  | { readonly type: 'ready' }
  /** P2P cannot work on this machine: starting again would not help. */
  | { readonly type: 'unavailable', readonly reason: string }
  /** The last word before the process ends by itself. */
  | { readonly type: 'crash', readonly reason: string }
  /** `memoryBytes`: resident. */
  /** To be kept for the next start. */
  | { readonly type: 'dht', readonly state: DhtState }
  | { readonly type: 'pong', readonly beat: number, readonly memoryBytes: number }
  /** All that is known of the network, again whenever it has changed. */
  | { readonly type: 'network', readonly report: NetworkReport }
  | { readonly type: 'log', readonly level: 'debug' | 'info' | 'warn', readonly fields: object, readonly message: string }
  /** It has the connection that was handed over the longest ago. */
  | { readonly type: 'took' }
  /** A `.torrent` around the raw info dictionary that peers sent; its hash was checked. */
  | { readonly type: 'metadata', readonly id: number, readonly torrent: Uint8Array }
  | { readonly type: 'verified', readonly id: number, readonly piece: number, readonly layoutVersion: number }
  | { readonly type: 'settled', readonly id: number, readonly number: number }
  /** A verified piece cannot be written; it is tried again until it can, or the torrent leaves. */
  | { readonly type: 'blocked', readonly id: number, readonly piece: number, readonly reason: string }
  /** A verified piece for which the disk has no room. One at a time, over all torrents. */
  | { readonly type: 'bytes', readonly id: number, readonly piece: number, readonly bytes: Uint8Array }
  | { readonly type: 'failed', readonly id: number, readonly code: ReasonCode, readonly reason: string }
  | { readonly type: 'stats', readonly id: number, readonly stats: HostStats }
  | { readonly type: 'surveyed', readonly number: number, readonly survey: Survey }

const requestTypes = new Set<unknown>(['start', 'ping', 'stop', 'join', 'attach', 'layout', 'settle', 'demand', 'filled', 'dropped', 'trackers', 'peers', 'leave', 'survey', 'taken', 'connection'] satisfies Array<HostRequest['type']>)
const replyTypes = new Set<unknown>(['ready', 'unavailable', 'crash', 'pong', 'dht', 'network', 'log', 'metadata', 'verified', 'settled', 'blocked', 'bytes', 'failed', 'stats', 'surveyed', 'took'] satisfies Array<HostReply['type']>)

/** Both ends are of one build, so the type says what the rest is; it is looked at because IPC is open to any module. */
export function isHostRequest (message: unknown): message is HostRequest {
  return typeof message === 'object' && message !== null && 'type' in message && requestTypes.has(message.type)
}

/** As isHostRequest, for the other direction. */
export function isHostReply (message: unknown): message is HostReply {
  return typeof message === 'object' && message !== null && 'type' in message && replyTypes.has(message.type)
}
