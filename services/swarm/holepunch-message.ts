import { compactOf, endpointFrom } from './endpoint.ts'
import type { Endpoint } from './endpoint.ts'

/** A message of the extension `ut_holepunch` (BEP 55). */
export interface HolepunchMessage {
  readonly type: 'rendezvous' | 'connect' | 'error'
  readonly endpoint: Endpoint
  /** One of `holepunchErrors`; 0 in all but errors, and where the sender has left it out. */
  readonly error: number
}

export const holepunchErrors = { noSuchPeer: 1, notConnected: 2, noSupport: 3, noSelf: 4 } as const

const types = ['rendezvous', 'connect', 'error'] as const

/** 12 bytes, 24 for IPv6: some clients take nothing else. */
export function encodeHolepunch ({ type, endpoint, error }: HolepunchMessage): Buffer {
  const compact = compactOf(endpoint)
  const code = Buffer.alloc(4)
  code.writeUInt32BE(error)
  return Buffer.concat([Buffer.from([types.indexOf(type), compact.length === 6 ? 0 : 1]), compact, code])
}

/** From 8 bytes, 20 for IPv6, on: libtorrent leaves the error out where there is none. Null for what is none. */
export function decodeHolepunch (bytes: Uint8Array): HolepunchMessage | null {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const type = types[buffer[0] ?? -1]
  const length = [6, 18][buffer[1] ?? -1]
  if (type === undefined || length === undefined || buffer.length < 2 + length) return null
  const endpoint = endpointFrom(buffer.subarray(2, 2 + length))
  if (endpoint === null) return null
  return { type, endpoint, error: type === 'error' && buffer.length >= 6 + length ? buffer.readUInt32BE(2 + length) : 0 }
}
