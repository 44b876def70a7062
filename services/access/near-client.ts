import { BlockList, SocketAddress, isIPv6 } from 'node:net'
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

/**
 * What stands for a client where clients are counted: an IPv4 address, of IPv6 the network, for one client has all of it.
 * Some proxies write the client's port behind its address: that is another one for each connection.
 */
export function clientKey (address: string): string {
  const [, inBrackets, beforePort] = /^(?:\[([^\]]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+)$/.exec(address) ?? []
  const [bare = ''] = (inBrackets ?? beforePort ?? address).split('%')
  const plain = (isIPv6(bare) ? new SocketAddress({ address: bare, family: 'ipv6' }).address : bare).replace(/^::ffff:(?=\d+\.)/, '')
  if (!isIPv6(plain)) return plain
  const [head = '', tail] = plain.split('::')
  const groups = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  return [...groups, ...Array<string>(Math.max(0, 8 - groups.length - after.length)).fill('0'), ...after].slice(0, 4).join(':')
}
