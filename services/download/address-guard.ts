import { lookup as lookupOfSystem } from 'node:dns'
import { BlockList, isIP, isIPv4 } from 'node:net'
import { networkInterfaces } from 'node:os'
import { CodedError } from '../errors.ts'
import type { LookupAddress, LookupAllOptions } from 'node:dns'
import type { LookupFunction } from 'node:net'

/** IPv4 that is no host on the public internet (IANA special-purpose registry, RFC 6890 and its updates). */
const refusedV4 = blockList('ipv4', [
  '0.0.0.0/8', // "this network", 0.0.0.0 reaches the local host
  '10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', // private, RFC 1918
  '100.64.0.0/10', // carrier-grade NAT, RFC 6598
  '127.0.0.0/8',
  '169.254.0.0/16', // link-local; clouds hand out credentials here
  '192.0.0.0/24', // protocol assignments
  '192.0.2.0/24', '198.51.100.0/24', '203.0.113.0/24', // documentation
  '192.88.99.0/24', // 6to4 relays, withdrawn
  '198.18.0.0/15', // benchmarking
  '224.0.0.0/4', // multicast
  '240.0.0.0/4' // reserved, and broadcast
])

/** All global unicast IPv6 is here (RFC 4291 section 2.4); loopback, link-local, unique local and multicast are not. */
const globalV6 = blockList('ipv6', ['2000::/3'])
const refusedV6 = blockList('ipv6', [
  '2001::/23', // protocol assignments, Teredo among them
  '2001:db8::/32', '3fff::/20' // documentation
])
/** IPv6 that carries an IPv4 address, and the 16-bit group where that begins: as public as the address it carries. */
const carriers = [
  { list: blockList('ipv6', ['::ffff:0:0/96']), group: 6 }, // IPv4-mapped, RFC 4291 section 2.5.5.2
  { list: blockList('ipv6', ['64:ff9b::/96']), group: 6 }, // NAT64, RFC 6052
  { list: blockList('ipv6', ['2002::/16']), group: 1 } // 6to4, RFC 3056
]

/**
 * Below 1024 only the web's own ports are fetched from; above, all but those of services that obey, or hang on,
 * whoever sends them lines of text.
 */
const WEB_PORTS = new Set([80, 81, 443])
const SERVICE_PORTS = new Set([
  1080, 1099, 1433, 1521, 1719, 1720, 1723, 2049, 2181, 2375, 2376, 2377, 2379, 2380, 3128, 3306, 3389, 3659, 4190, 4369, 5060, 5061,
  5432, 5433, 5672, 5900, 5901, 5984, 5985, 5986, 6000, 6379, 6380, 6443, 6514, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 7001,
  8086, 8500, 8529, 9042, 9092, 9160, 9200, 9300, 9418, 10080, 10250, 10255, 11211, 15672, 16379, 26379, 27017, 27018, 27019, 50070
])

const UDP_SERVICE_PORTS = new Set([7, 9, 13, 17, 19, 53, 67, 68, 69, 111, 123, 137, 138, 161, 162, 389, 427, 500, 514, 520, 623, 1701, 1812, 1813, 1900, 3702, 4500, 5353, 5683])

/** The form of `dns.lookup` that answers with all addresses. */
export type LookupAll = (hostname: string, options: LookupAllOptions, callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void) => void

/** Is this a literal address of a host on the public internet? False for everything else, names and nonsense included. */
export function isPublicAddress (ip: string): boolean {
  if (isIPv4(ip)) return !refusedV4.check(ip, 'ipv4')
  const groups = groupsOf(ip)
  if (groups === null) return false
  const carried = embeddedV4(ip)
  if (carried !== null) return isPublicAddress(carried)
  const plain = textOf(groups)
  return globalV6.check(plain, 'ipv6') && !refusedV6.check(plain, 'ipv6')
}

/** How far away a literal address is. `other`: link-local, multicast, reserved, or no address. */
export type Scope = 'public' | 'private' | 'loopback' | 'other'

const privateV4 = blockList('ipv4', ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10'])
const privateV6 = blockList('ipv6', ['fc00::/7'])
const loopbackV4 = blockList('ipv4', ['127.0.0.0/8'])

export function scopeOf (ip: string): Scope {
  if (isPublicAddress(ip)) return 'public'
  const carried = embeddedV4(ip)
  if (carried !== null) return privateV4.check(carried, 'ipv4') ? 'private' : loopbackV4.check(carried, 'ipv4') ? 'loopback' : 'other'
  const groups = groupsOf(ip)
  if (groups === null) return 'other'
  const plain = textOf(groups)
  return plain === '0:0:0:0:0:0:0:1' ? 'loopback' : privateV6.check(plain, 'ipv6') ? 'private' : 'other'
}

/**
 * May a stranger have this literal address connected to? A public one that is not this machine's own: what listens on
 * all interfaces and hides behind a firewall is reached from within by any of them.
 *
 * @param own what this machine is called, as in `os.networkInterfaces()`.
 */
export function isForeignAddress (ip: string, own: readonly string[] = ownAddresses()): boolean {
  return isPublicAddress(ip) && !own.some((address) => isSameAddress(address, ip))
}

/**
 * Throws ADDRESS_REFUSED for a URL that somebody else chose and that may not be fetched: not http(s), credentials, the
 * port of another service, a name of this machine (RFC 6761 section 6.3), a literal address that is not public, or
 * ours. Any other name is checked when it is resolved (guardedLookup).
 */
export function checkUrl (url: URL): void {
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw refused(`${url.protocol} is not http or https`)
  if (url.username !== '' || url.password !== '') throw refused(`the URL at ${url.host} carries credentials`)
  const port = url.port === '' ? 80 : Number(url.port)
  if ((port < 1024 && !WEB_PORTS.has(port)) || SERVICE_PORTS.has(port)) throw refused(`port ${port} of ${url.hostname} is not for web servers`)
  checkHost(url.hostname)
}

function checkHost (hostname: string): void {
  const host = hostname.replace(/^\[|\]$/g, '')
  if (/(?:^|\.)localhost\.?$/.test(host)) throw refused(`${host} is this machine`)
  if (isIP(host) !== 0 && !isForeignAddress(host)) throw refused(`${host} is not a public address of another machine`)
}

/**
 * As checkUrl, for a tracker: with the rules of the web for http and ws, while UDP trackers (BEP 15) live at ports of
 * all kinds, but not at those of services that answer a datagram.
 *
 * @param url with `http:` in place of its scheme, so that its host is in order.
 * @param protocol its scheme, `udp:` for instance.
 */
export function checkTracker (url: URL, protocol: string): void {
  if (protocol !== 'udp:') {
    const asWeb = new URL(url)
    if (protocol === 'https:' || protocol === 'wss:') asWeb.protocol = 'https:'
    checkUrl(asWeb)
    return
  }
  if (url.username !== '' || url.password !== '') throw refused(`the URL at ${url.host} carries credentials`)
  const port = url.port === '' ? 80 : Number(url.port)
  if (port === 0 || UDP_SERVICE_PORTS.has(port) || SERVICE_PORTS.has(port)) throw refused(`port ${port} of ${url.hostname} is not for trackers`)
  checkHost(url.hostname)
}

/**
 * A lookup for `net.connect` that hands on public addresses only: what was checked is what is connected to, so a name
 * that resolves to something else the next time gains nothing. Fails with ADDRESS_REFUSED when no address is left.
 */
export function guardLookup (lookup: LookupAll): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, [])
      const own = ownAddresses()
      const allowed = addresses.filter(({ address }) => isForeignAddress(address, own))
      const [first] = allowed
      if (first === undefined) return callback(refused(`${hostname} resolves to no public address of another machine`), [])
      if (options.all === true) callback(null, allowed)
      else callback(null, first.address, first.family)
    })
  }
}

/** The system's lookup, guarded. */
export const guardedLookup = guardLookup(lookupOfSystem)

/** What this machine is called on its networks. */
export function ownAddresses (): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) => addresses?.map(({ address }) => address) ?? [])
}

/** The IPv4 address that this literal address is, or carries; null: none. */
function embeddedV4 (ip: string): string | null {
  if (isIPv4(ip)) return ip
  const groups = groupsOf(ip)
  if (groups === null) return null
  const carrier = carriers.find(({ list }) => list.check(textOf(groups), 'ipv6'))
  if (carrier === undefined) return null
  const [high = 0, low = 0] = groups.slice(carrier.group)
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
}

/**
 * One form for each literal address, so that two texts of the same one are equal: dotted for IPv4, also where IPv6 carries
 * it as the sockets of this machine do (`::ffff:1.2.3.4`), eight hexadecimal groups for other IPv6. Null: it is no address.
 */
export function canonicalAddress (ip: string): string | null {
  if (isIPv4(ip)) return ip
  const groups = groupsOf(ip)
  if (groups === null) return null
  return groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff ? embeddedV4(ip) : textOf(groups)
}

function textOf (groups: readonly number[]): string {
  return groups.map((group) => group.toString(16)).join(':')
}

function isSameAddress (a: string, b: string): boolean {
  const carried = embeddedV4(b)
  if (carried !== null) return embeddedV4(a) === carried
  return groupsOf(a)?.join(':') === groupsOf(b)?.join(':')
}

function refused (why: string): CodedError {
  return new CodedError('ADDRESS_REFUSED', why)
}

function blockList (family: 'ipv4' | 'ipv6', subnets: readonly string[]): BlockList {
  const list = new BlockList()
  for (const subnet of subnets) {
    const [network = '', prefix = ''] = subnet.split('/')
    list.addSubnet(network, Number(prefix), family)
  }
  return list
}

/** The eight 16-bit groups of a literal IPv6 address, null when it is none or has a zone (those are local). */
function groupsOf (ip: string): number[] | null {
  if (isIP(ip) !== 6 || ip.includes('%')) return null
  // The URL parser writes any form as hexadecimal groups with one `::` at most.
  const [head = '', tail] = new URL(`http://[${ip}]`).hostname.slice(1, -1).split('::')
  const parse = (part: string): number[] => part === '' ? [] : part.split(':').map((group) => parseInt(group, 16))
  const [before, after] = [parse(head), parse(tail ?? '')]
  return [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after]
}
