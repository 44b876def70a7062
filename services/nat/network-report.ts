/**
 * How this machine is seen from the internet, and what BitTorrent can do from here. The swarm's process gathers it
 * (services/swarm/network.ts); `GET /api/network` shows it. Times are ISO 8601.
 */
export interface NetworkReport {
  readonly verdict: Verdict
  /** Where others see the torrent port, as far as that was found out. */
  readonly publicEndpoint: PublicEndpoint | null
  /** Of this machine, without loopback and link-local ones. */
  readonly localAddresses: readonly string[]
  /** What the router said to our wish for a forwarded port; null: it was not asked. */
  readonly mapping: MappingStatus | null
  readonly ports: ListeningPorts
  /** Without uTP there is no hole punching. False until it is known. */
  readonly hasUtp: boolean
  readonly hasWebRtc: boolean
  /** Connections that strangers began: the proof that they reach us. */
  readonly inbound: { readonly tcp: Seen, readonly utp: Seen }
  readonly holePunches: HolePunches
  /** Addresses that are banned now. */
  readonly bans: number
  /** Nodes in the routing table of the DHT. */
  readonly dhtNodes: number
  /** What to do about it, one sentence. */
  readonly advice: string
}

export type VerdictKind = 'no NAT' | 'full cone' | 'address restricted' | 'port restricted' | 'symmetric' | 'UDP blocked' | 'unknown'

/** RFC 4787 sections 4.1 and 5: what the NAT's choice of a port, or its leave to come in, depends on. */
export type Behaviour = 'endpoint-independent' | 'address-dependent' | 'address-and-port-dependent'

/**
 * `rfc5780`: a STUN server with two addresses; `stun`: plain STUN servers; `dht`: what nodes see (BEP 42); `peers`: what
 * peers see (BEP 10); `utp`: a peer on the internet was met by uTP.
 */
export type VerdictSource = 'rfc5780' | 'stun' | 'dht' | 'peers' | 'utp'

export interface Verdict {
  readonly kind: VerdictKind
  /** `high`: mapping and filtering were both tested; `medium`: one of them; `low`: it is the likeliest; `none`: nothing is known. */
  readonly confidence: 'none' | 'low' | 'medium' | 'high'
  readonly mapping: Behaviour | null
  readonly filtering: Behaviour | null
  readonly sources: readonly VerdictSource[]
  /** Tests are under way that may change it. */
  readonly isPending: boolean
  /** What it rests on and what follows from it, for people. */
  readonly reason: string
}

export interface PublicEndpoint {
  readonly address: string
  /** Null where only the address is known. */
  readonly port: number | null
  readonly source: 'stun' | 'dht' | 'peers' | 'router' | 'interface'
}

export interface MappingStatus {
  readonly state: 'asking' | 'mapped' | 'failed' | 'off'
  readonly protocol: 'UPnP' | 'NAT-PMP' | 'PCP' | null
  /** What the router takes for its public address; behind a second NAT it is none. */
  readonly externalAddress: string | null
  readonly externalTcpPort: number | null
  readonly externalUdpPort: number | null
  /** Until when the router keeps it, unless it is renewed. */
  readonly expiresAt: string | null
  /** Why there is none; empty where there is one. */
  readonly reason: string
}

/** Null: not listening. */
export interface ListeningPorts {
  readonly tcp: number | null
  readonly utp: number | null
  readonly dht: number | null
  /** HTTP and BitTorrent share one number. */
  readonly isOnePort: boolean
  /** What was asked for; 0: any. */
  readonly wanted: number
  /** What could not be had, and why. */
  readonly missing: ReadonlyArray<{ readonly what: 'port' | 'tcp' | 'utp' | 'dht' | 'webrtc' | 'one port', readonly reason: string }>
}

export interface Seen {
  readonly count: number
  readonly lastAt: string | null
}

export interface Attempts {
  readonly tried: number
  readonly won: number
}

/** BEP 55. `initiator`: we asked a relay; `target`: somebody asked for us; `relayed`: introductions that we made. */
export interface HolePunches {
  readonly initiator: Attempts
  readonly target: Attempts
  readonly relayed: number
}

export const unknownVerdict: Verdict = {
  kind: 'unknown', confidence: 'none', mapping: null, filtering: null, sources: [], isPending: false, reason: 'nothing was found out'
}

/** The report of a machine of which nothing is known. */
export function emptyReport (reason: string, advice: string, isPending = false): NetworkReport {
  return {
    verdict: { ...unknownVerdict, reason, isPending },
    publicEndpoint: null,
    localAddresses: [],
    mapping: null,
    ports: { tcp: null, utp: null, dht: null, isOnePort: false, wanted: 0, missing: [] },
    hasUtp: false,
    hasWebRtc: false,
    inbound: { tcp: { count: 0, lastAt: null }, utp: { count: 0, lastAt: null } },
    holePunches: { initiator: { tried: 0, won: 0 }, target: { tried: 0, won: 0 }, relayed: 0 },
    bans: 0,
    dhtNodes: 0,
    advice
  }
}
