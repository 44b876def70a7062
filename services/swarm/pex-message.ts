import { decode, encode } from '../torrent/bencode.ts'
import type { Bencoded } from '../torrent/bencode.ts'
import { compactOf, endpointFrom } from './endpoint.ts'
import type { Endpoint } from './endpoint.ts'

/** A message of peer exchange (BEP 11): who came and who went since the last one. */
export interface PexMessage {
  readonly added: ReadonlyArray<{ readonly endpoint: Endpoint, readonly flags: number }>
  readonly dropped: readonly Endpoint[]
}

const keys = new Set(['added', 'added.f', 'added6', 'added6.f', 'dropped', 'dropped6'])
/** Peers of one message that are looked at. BEP 11 allows 50 of each kind; others send 100 and 200. */
const mostPeers = 200
const mostBytes = 64 * 1024

export function encodePex ({ added, dropped }: PexMessage): Buffer {
  const isSix = (endpoint: Endpoint): boolean => endpoint.address.includes(':')
  const four = added.filter(({ endpoint }) => !isSix(endpoint))
  const six = added.filter(({ endpoint }) => isSix(endpoint))
  const addresses = (peers: typeof added): Buffer => Buffer.concat(peers.map(({ endpoint }) => compactOf(endpoint)))
  const flags = (peers: typeof added): Buffer => Buffer.from(peers.map(({ flags }) => flags))
  const gone = (isWanted: (endpoint: Endpoint) => boolean): Buffer => Buffer.concat(dropped.filter(isWanted).map(compactOf))
  return encode(new Map([
    ['added', addresses(four)], ['added.f', flags(four)], ['added6', addresses(six)], ['added6.f', flags(six)],
    ['dropped', gone((endpoint) => !isSix(endpoint))], ['dropped6', gone(isSix)]
  ]))
}

/** Null for what is no dictionary. What else is wrong in it is left out; a peer without flags has none. */
export function decodePex (bytes: Uint8Array): PexMessage | null {
  if (bytes.length > mostBytes) return null
  let message: Bencoded
  try {
    message = decode(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), { depth: 8, weight: 1_000, keys: 100, keyLength: 64 }, [keys]).value
  } catch {
    return null
  }
  if (!(message instanceof Map)) return null
  const list = (key: string, step: number): Endpoint[] => {
    const value = message.get(key)
    if (!Buffer.isBuffer(value)) return []
    // A place for each, so that flags stay with their peer.
    return Array.from({ length: Math.min(Math.floor(value.length / step), mostPeers) }, (_, i) => endpointFrom(value.subarray(i * step, (i + 1) * step)) ?? nowhere)
  }
  const added = (key: string, step: number): Array<PexMessage['added'][number]> => {
    const flags = message.get(`${key}.f`)
    return list(key, step).map((endpoint, i) => ({ endpoint, flags: Buffer.isBuffer(flags) ? flags[i] ?? 0 : 0 })).filter(({ endpoint }) => endpoint !== nowhere)
  }
  return {
    added: [...added('added', 6), ...added('added6', 18)].slice(0, mostPeers),
    dropped: [...list('dropped', 6), ...list('dropped6', 18)].filter((endpoint) => endpoint !== nowhere).slice(0, mostPeers)
  }
}

const nowhere: Endpoint = { address: '0.0.0.0', port: 0 }
