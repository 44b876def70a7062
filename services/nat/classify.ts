import { scopeOf } from '../download/address-guard.ts'
import type { Behaviour, MappingStatus, NetworkReport, PublicEndpoint, Verdict, VerdictKind, VerdictSource } from './network-report.ts'

/** What was found out about the way to the internet. What it means is concluded by `classify`. */
export interface NatFacts {
  /** Tests are under way. */
  readonly isPending: boolean
  readonly stun: {
    readonly configured: number
    /** Servers at different addresses to which a request got out, and those that answered. */
    readonly asked: number
    readonly answered: number
    readonly failures: readonly string[]
  }
  /** Where STUN servers see us. The port is that of the torrent port, null where that was not what was tested. */
  readonly seen: { readonly address: string, readonly port: number | null } | null
  /** It is not one of our own: something translates. */
  readonly isTranslated: boolean | null
  readonly mapping: Behaviour | null
  /** The mapping was tested with a server that has two addresses. */
  readonly isByRfc5780: boolean
  readonly filtering: Behaviour | null
  /** The interface that packets to the internet leave by. */
  readonly route: { readonly name: string, readonly address: string } | null
  /** What nodes of the DHT say, and whether any has answered; `isSilent`: several were asked, for long enough. */
  readonly dht: { readonly address: string, readonly port: number | null, readonly isSamePort: boolean | null } | null
  readonly hasDhtAnswer: boolean
  readonly isDhtSilent: boolean
  /** Where peers see us. */
  readonly peers: { readonly address: string } | null
  /** A peer on the internet was met by uTP. */
  readonly hasUtpPeer: boolean
}

export const noFacts: NatFacts = {
  isPending: false,
  stun: { configured: 0, asked: 0, answered: 0, failures: [] },
  seen: null,
  isTranslated: null,
  mapping: null,
  isByRfc5780: false,
  filtering: null,
  route: null,
  dht: null,
  hasDhtAnswer: false,
  isDhtSilent: false,
  peers: null,
  hasUtpPeer: false
}

/** What beside them decides about the advice. */
export type Surroundings = Pick<NetworkReport, 'localAddresses' | 'mapping' | 'ports' | 'inbound'> & { readonly isPanel: boolean }

const kinds = {
  'endpoint-independent': 'full cone',
  'address-dependent': 'address restricted',
  'address-and-port-dependent': 'port restricted'
} as const satisfies Record<Behaviour, VerdictKind>

/** What the facts say of the NAT. */
export function classify (facts: NatFacts, { localAddresses, ports }: Pick<Surroundings, 'localAddresses' | 'ports'>): Verdict {
  const found = kindOf(facts, localAddresses)
  const noUtp = whyNoUtp(ports)
  return { ...found, isPending: facts.isPending, reason: noUtp === null ? found.reason : `${found.reason}; ${noUtp}, so there is no hole punching` }
}

/** Null: there is uTP, or nothing listens yet. */
function whyNoUtp ({ tcp, utp, missing }: Surroundings['ports']): string | null {
  if (tcp === null || utp !== null) return null
  return missing.some(({ what }) => what === 'utp') ? 'uTP is not available on this platform' : 'uTP is switched off (TORRENT_TRANSPORT=tcp)'
}

function kindOf (facts: NatFacts, localAddresses: readonly string[]): Omit<Verdict, 'isPending'> {
  const { stun, dht, filtering } = facts
  const outsider = dht ?? facts.peers
  const isTranslated = facts.isTranslated ?? (outsider === null ? null : !localAddresses.includes(outsider.address))
  const isFromStun = facts.isTranslated !== null
  const mapping = facts.mapping ?? (dht === null || dht.isSamePort === null || isTranslated === false ? null : dht.isSamePort ? 'endpoint-independent' : 'address-and-port-dependent')
  const sources = sourcesOf(facts)
  const known = { mapping, filtering, sources }

  if (isTranslated === false) {
    const heard = filtering === 'endpoint-independent' ? 'and everything comes in' : filtering === null ? 'and whether a firewall keeps others out is not known' : 'and a firewall lets in only who was talked to'
    return { kind: 'no NAT', confidence: filtering !== null ? 'high' : isFromStun || dht !== null ? 'medium' : 'low', ...known, reason: `others see this machine at an address of its own, ${heard}` }
  }
  if (mapping !== null && mapping !== 'endpoint-independent') {
    const confidence = facts.mapping === null ? 'low' : facts.isByRfc5780 ? 'high' : 'medium'
    return { kind: 'symmetric', confidence, ...known, reason: 'each peer sees another port, which nobody can guess: holes can be punched only to peers whose own port is open' }
  }
  if (mapping === 'endpoint-independent') {
    if (filtering !== null) return { kind: kinds[filtering], confidence: facts.mapping === null ? 'medium' : 'high', ...known, reason: `all peers see the same port, and ${heardBy[filtering]}` }
    return { kind: 'port restricted', confidence: 'low', ...known, reason: 'all peers see the same port, so holes can be punched; what comes in was not tested, for no STUN server that answered has two addresses: this is the usual kind' }
  }
  if (isTranslated === true) return { kind: 'unknown', confidence: 'none', ...known, reason: 'there is a NAT, and too few servers or peers answered to tell which kind' }
  if (facts.isPending) return { kind: 'unknown', confidence: 'none', ...known, reason: 'STUN servers are being asked' }
  const isUdpSeen = stun.answered > 0 || facts.hasDhtAnswer || facts.hasUtpPeer
  if (stun.asked >= 2 && !isUdpSeen) {
    const alsoDht = facts.isDhtSilent ? ', nor did any node of the DHT' : ''
    return { kind: 'UDP blocked', confidence: facts.isDhtSilent ? 'medium' : 'low', ...known, reason: `none of ${stun.asked} STUN servers answered${alsoDht}` }
  }
  return { kind: 'unknown', confidence: 'none', ...known, reason: whyUnknown(facts, isUdpSeen) }
}

const heardBy: Record<Behaviour, string> = {
  'endpoint-independent': 'anybody can send to it',
  'address-dependent': 'only machines that were talked to can send to it',
  'address-and-port-dependent': 'only ports that were talked to can send to it'
}

function sourcesOf ({ stun, isByRfc5780, filtering, dht, peers, hasUtpPeer }: NatFacts): VerdictSource[] {
  return [
    ...isByRfc5780 || filtering !== null ? ['rfc5780' as const] : stun.answered > 0 ? ['stun' as const] : [],
    ...dht === null ? [] : ['dht' as const],
    ...peers === null ? [] : ['peers' as const],
    ...hasUtpPeer ? ['utp' as const] : []
  ]
}

function whyUnknown ({ stun }: NatFacts, isUdpSeen: boolean): string {
  const udp = isUdpSeen ? ', but UDP works' : ''
  if (stun.configured === 0) return `STUN_SERVERS=none, and too few peers or nodes of the DHT said where they see us${udp}`
  const [first] = stun.failures
  if (stun.asked === 0) return `no STUN server could be asked (${first ?? 'no reason was given'})${udp}`
  return `${stun.answered} of ${stun.asked} STUN servers answered, and too few peers or nodes of the DHT said where they see us${udp}`
}

/** Where others reach the torrent port, as far as anybody can tell. */
export function publicEndpointOf ({ seen, isTranslated, dht, peers }: NatFacts, { mapping, ports, localAddresses }: Pick<Surroundings, 'mapping' | 'ports' | 'localAddresses'>): PublicEndpoint | null {
  const router = mapping?.state === 'mapped' && mapping.externalAddress !== null && scopeOf(mapping.externalAddress) === 'public' ? mapping.externalAddress : null
  const own = localAddresses.find((address) => !address.includes(':') && scopeOf(address) === 'public')
  // Of a socket of its own it would tell another port.
  const dhtPort = ports.dht !== null && ports.dht === ports.utp ? dht?.port ?? null : null
  const candidates: Array<PublicEndpoint | null> = [
    seen === null ? null : { address: seen.address, port: seen.port ?? (dht?.address === seen.address ? dhtPort : null), source: 'stun' },
    dht === null ? null : { address: dht.address, port: dhtPort, source: 'dht' },
    peers === null ? null : { address: peers.address, port: null, source: 'peers' },
    router === null ? null : { address: router, port: null, source: 'router' },
    own === undefined ? null : { address: own, port: null, source: 'interface' }
  ]
  const best = candidates.find((candidate) => candidate !== null) ?? null
  if (best === null) return null
  if (mapping?.state === 'mapped' && (mapping.externalAddress ?? best.address) === best.address) return { ...best, port: mapping.externalTcpPort ?? mapping.externalUdpPort ?? best.port }
  const isOwn = isTranslated === false || localAddresses.includes(best.address)
  return isOwn ? { ...best, port: ports.tcp ?? best.port } : best
}

/** Why no peer may be reached at all, as far as the network is to blame; null: it is not. */
export function obstacleOf ({ kind, confidence }: Verdict): string | null {
  if (kind === 'UDP blocked') return 'UDP is blocked in this network: no DHT, no uTP and no hole punching, see /api/network'
  if (kind === 'symmetric' && confidence !== 'low') return 'this server is behind a symmetric NAT, which keeps most peers from being reached that are behind one themselves, see /api/network'
  return null
}

const tunnel = /^(?:tun|tap|utun|wg|ppp|ipsec|nordlynx|proton|mullvad|wgpia|gpd|tailscale|zt)/i

/** What to do about it, one sentence. */
export function adviceOf (verdict: Verdict, facts: NatFacts, surroundings: Surroundings): string {
  const { mapping, ports, inbound, isPanel, localAddresses } = surroundings
  const port = ports.tcp ?? ports.utp ?? ports.wanted
  const number = port === 0 ? 'the torrent port' : `port ${port}`
  if (verdict.kind === 'unknown' && verdict.isPending) return 'Wait a moment: the network is being looked at.'
  if (verdict.kind === 'UDP blocked') return 'Allow outgoing UDP in the firewall, or use another network: until then there is no DHT, no uTP and no hole punching, only peers over TCP and downloads over HTTP.'
  const isReached = inbound.tcp.count + inbound.utp.count > 0
  if (isReached) return 'Nothing needs to be done: peers reach this server.'
  const outer = outerAddress(mapping, facts)
  if (outer !== null) return `The router forwards ${number}, but is behind another NAT itself (its address is ${outer}): ask the provider for a public address, or use a VPN that forwards a port.`
  if (mapping?.state === 'mapped') return `Nothing needs to be done: the router forwards ${number} (${mapping.protocol ?? 'port mapping'}).`
  if (verdict.kind === 'no NAT') {
    return verdict.filtering === 'endpoint-independent'
      ? `Nothing needs to be done: ${number} is open to everybody.`
      : `Open ${number}, TCP and UDP, in the firewall${isPanel ? ' (on a panel: allocate it to this server and set TORRENT_PORT to it)' : ''}, so that peers can reach this server.`
  }
  if (verdict.kind === 'unknown' && facts.isTranslated !== true) return unknownAdvice(facts)
  const route = facts.route
  const noUtp = whyNoUtp(ports)
  const consequence = noUtp !== null
    ? `${noUtp}, so no hole can be punched`
    : verdict.kind === 'symmetric' ? 'this NAT keeps most holes shut' : verdict.kind === 'full cone' ? 'uTP gets through as it is, TCP does not' : 'without that, peers are reached by hole punching only'
  const where = verdict.kind === 'symmetric' ? ' (TURN_URLS helps with WebRTC peers)' : ''
  if (isPanel) return `Set TORRENT_PORT to a port that the panel has allocated to this server, so that peers can reach it: ${consequence}${where}.`
  if (route !== null && tunnel.test(route.name)) return `Have the VPN forward a port to ${route.name} and set TORRENT_PORT to it: ${consequence}${where}.`
  const home = route?.address ?? localAddresses.find((address) => !address.includes(':')) ?? 'this machine'
  const refused = mapping?.state === 'failed' ? `; the router did not do it by itself (${mapping.reason})` : ''
  return `Forward ${number}, TCP and UDP, to ${home} in the router: ${consequence}${where}${refused}.`
}

/** The router's own address, where that is not the public one. */
function outerAddress (mapping: MappingStatus | null, { seen, dht, peers }: NatFacts): string | null {
  const address = mapping?.state === 'mapped' ? mapping.externalAddress : null
  if (address === null) return null
  const outside = (seen ?? dht ?? peers)?.address ?? null
  return scopeOf(address) === 'private' || (outside !== null && outside !== address) ? address : null
}

function unknownAdvice ({ stun }: NatFacts): string {
  if (stun.configured === 0) return 'Set STUN_SERVERS, so that the kind of NAT can be found out.'
  if (stun.asked === 0) return 'See whether this machine has a way to the internet and a name server that answers.'
  return 'Set STUN_SERVERS to servers that answer from here, so that the kind of NAT can be found out.'
}
