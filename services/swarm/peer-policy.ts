import { isForeignAddress, ownAddresses, scopeOf } from '../download/address-guard.ts'

/**
 * Who named a peer. The trackers of the operator that are themselves on this machine, or in its private networks, may
 * know peers there; a tracker on the internet that names some is wrong or up to something.
 */
export type PeerSource = 'operator' | 'loopback-tracker' | 'private-tracker' | 'tracker' | 'magnet' | 'dht' | 'lsd' | 'ut_pex'

const LEAST_PORT = 1024

/**
 * May this peer, `ip:port` or `[ip]:port`, be dialled? What a stranger names is to be a public address of another machine
 * and no privileged port, for a dial is a probe of our networks on his behalf.
 *
 * @param source a PeerSource; anything else counts as a stranger.
 * @param own what this machine is called.
 */
export function mayDial (address: string, source: string | undefined, own: readonly string[] = ownAddressesNow()): boolean {
  if (source === 'operator') return true
  const [, six, four, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(address) ?? []
  const ip = six ?? four
  if (ip === undefined || Number(port) < LEAST_PORT || Number(port) > 65535) return false
  const isNear = source === 'lsd' || source === 'private-tracker' || source === 'loopback-tracker'
  switch (scopeOf(ip)) {
    case 'public': return isNear || isForeignAddress(ip, own)
    case 'private': return isNear
    case 'loopback': return source === 'loopback-tracker'
    default: return false
  }
}

/** As mayDial, where the guard is lifted: any address of one machine, still no privileged port. */
export function mayDialAnywhere (address: string, source: string | undefined): boolean {
  return source === 'operator' || mayDial(address, 'loopback-tracker', [])
}

const OWN_AGE_MS = 10_000
let known: { readonly addresses: readonly string[], readonly at: number } | null = null

/** Asked for each of thousands of peers, and the system takes its time. */
export function ownAddressesNow (): readonly string[] {
  const now = performance.now()
  if (known === null || now - known.at > OWN_AGE_MS) known = { addresses: ownAddresses(), at: now }
  return known.addresses
}
