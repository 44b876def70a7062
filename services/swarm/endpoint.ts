import { isIPv4, isIPv6 } from 'node:net'
import { scopeOf } from '../download/address-guard.ts'

/** Where a peer is reached. The address is in its one usual form; IPv4 in IPv6 is IPv4. */
export interface Endpoint {
  readonly address: string
  readonly port: number
}

/** `ip:port`, `[ip]:port`, or IPv6 without brackets, as WebTorrent names who connects to us. Null for everything else. */
export function parseEndpoint (text: string): Endpoint | null {
  const [, bracketed, bare, port = ''] = /^(?:\[([^\]]+)\]|([^[\]]+)):(\d{1,5})$/.exec(text) ?? []
  return endpointOf(bracketed ?? bare ?? '', Number(port))
}

/** Null where it is no address, or no port that one can connect to. */
export function endpointOf (address: string, port: number): Endpoint | null {
  if (!Number.isInteger(port) || port < 1 || port > 65535) return null
  if (isIPv4(address)) return { address, port }
  if (!isIPv6(address) || address.includes('%')) return null
  const usual = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const [, high, low] = /^::ffff:([\da-f]{1,4}):([\da-f]{1,4})$/.exec(usual) ?? []
  if (high === undefined || low === undefined) return { address: usual, port }
  const [a, b] = [parseInt(high, 16), parseInt(low, 16)]
  return { address: `${a >> 8}.${a & 255}.${b >> 8}.${b & 255}`, port }
}

/** `ip:port` or `[ip]:port`: what WebTorrent dials, and a key, for each endpoint has one form only. */
export function textOf ({ address, port }: Endpoint): string {
  return isIPv4(address) ? `${address}:${port}` : `[${address}]:${port}`
}

export function isSameEndpoint (a: Endpoint | null, b: Endpoint | null): boolean {
  return a !== null && b !== null && a.port === b.port && a.address === b.address
}

/** Address and port in network byte order (BEP 23, BEP 7): 6 bytes, 18 for IPv6. */
export function compactOf ({ address, port }: Endpoint): Buffer {
  const ports = [port >> 8, port & 255]
  if (isIPv4(address)) return Buffer.from([...address.split('.').map(Number), ...ports])
  const [head = '', tail] = address.split('::')
  const parse = (part: string): number[] => part === '' ? [] : part.split(':').map((group) => parseInt(group, 16))
  const [before, after] = [parse(head), parse(tail ?? '')]
  const groups = [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after]
  return Buffer.from([...groups.flatMap((group) => [group >> 8, group & 255]), ...ports])
}

/** The other way round, from exactly 6 or 18 bytes. Null for port 0. */
export function endpointFrom (bytes: Uint8Array): Endpoint | null {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (buffer.length !== 6 && buffer.length !== 18) return null
  const address = buffer.subarray(0, -2)
  const text = address.length === 4 ? address.join('.') : address.toString('hex').replace(/.{4}(?=.)/g, '$&:')
  return endpointOf(text, buffer.readUInt16BE(address.length))
}

/** May somebody at `listener` be told of this address? Nobody is told of what lies in a network that he is not in. */
export function mayTell ({ address }: Endpoint, listener: Endpoint): boolean {
  const scope = scopeOf(address)
  if (scope === 'public') return true
  const theirs = scopeOf(listener.address)
  return scope === 'private' ? theirs === 'private' || theirs === 'loopback' : scope === 'loopback' && theirs === 'loopback'
}
