import { BlockList, isIPv6 } from 'node:net'
import type { RequestHeaders } from '../http/conditional.ts'

const near = new BlockList()
// RFC 1122, 1918 and 3927. 100.64.0.0/10 is not here: behind one carrier's NAT are strangers.
for (const [net, bits] of [['127.0.0.0', 8], ['10.0.0.0', 8], ['172.16.0.0', 12], ['192.168.0.0', 16], ['169.254.0.0', 16]] as const) near.addSubnet(net, bits, 'ipv4')
// RFC 4291 and 4193.
near.addAddress('::1', 'ipv6')
for (const [net, bits] of [['fc00::', 7], ['fe80::', 10]] as const) near.addSubnet(net, bits, 'ipv6')

/** Headers of proxies and tunnels: behind one on this machine everybody seems to be on this machine. */
const relayed = /^(?:forwarded|x-forwarded-.*|via|cf-.*|x-real-ip)$/

/**
 * Does a request come from this machine or a private network, as far as that can be told?
 *
 * @param address of the socket's other end; undefined: it has gone.
 */
export function isNearClient (address: string | undefined, headers: RequestHeaders): boolean {
  if (address === undefined || Object.keys(headers).some((name) => relayed.test(name))) return false
  const [plain = ''] = address.replace(/^::ffff:(?=\d+\.)/i, '').split('%')
  return near.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4')
}

/** What stands for a client where clients are counted: an IPv4 address, of IPv6 the network, for one client has all of it. */
export function clientKey (address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '')
  if (!isIPv6(plain)) return plain
  const [head = '', tail] = (plain.split('%')[0] ?? '').split('::')
  const groups = head === '' ? [] : head.split(':')
  const missing = tail === undefined ? 0 : 8 - groups.length - (tail === '' ? 0 : tail.split(':').length)
  const all = [...groups, ...Array<string>(Math.max(0, missing)).fill('0'), ...tail === undefined || tail === '' ? [] : tail.split(':')]
  return all.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16)).join(':')
}
