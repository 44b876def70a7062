import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { Socket } from 'node:dgram'
import type { Test } from 'tap'
import type { Endpoint } from '../../../services/nat/stun.ts'

const cookie = 0x2112A442

/** One attribute, padded. */
export function attribute (type: number, value: Buffer): Buffer {
  const padded = Buffer.alloc(4 + Math.ceil(value.length / 4) * 4)
  padded.writeUInt16BE(type, 0)
  padded.writeUInt16BE(value.length, 2)
  value.copy(padded, 4)
  return padded
}

/** An address as in MAPPED-ADDRESS; with `isXored` as in XOR-MAPPED-ADDRESS. */
export function addressValue ({ address, port }: Endpoint, isXored = false): Buffer {
  const value = Buffer.from([0, 1, 0, 0, ...address.split('.').map(Number)])
  value.writeUInt16BE(isXored ? port ^ (cookie >>> 16) : port, 2)
  if (isXored) value.writeUInt32BE((value.readUInt32BE(4) ^ cookie) >>> 0, 4)
  return value
}

export function message (type: number, id: Buffer, attributes: readonly Buffer[]): Buffer {
  const body = Buffer.concat(attributes)
  const header = Buffer.alloc(20)
  header.writeUInt16BE(type, 0)
  header.writeUInt16BE(body.length, 2)
  header.writeUInt32BE(cookie, 4)
  id.copy(header, 8)
  return Buffer.concat([header, body])
}

export interface FakeStunChoices {
  /** Its two addresses; with one it is a plain STUN server. */
  readonly addresses?: readonly [string] | readonly [string, string]
  /** Where it says that it sees the client, who asked `to`. Default: where it does. */
  readonly mapped?: (source: Endpoint, to: Endpoint) => Endpoint
  /** What reaches the client of replies that come from elsewhere than was asked: default all. */
  readonly passes?: (change: { readonly address: boolean, readonly port: boolean }) => boolean
  /** What it says its other address is; default the truth. */
  readonly other?: Endpoint
  /** Answers this instead. */
  readonly reply?: (request: Buffer) => Buffer | null
  /** Of the first requests so many get lost. */
  readonly loses?: number
  /** It takes so long to answer. */
  readonly delayMs?: number
  /** Answers change requests as if they were none. */
  readonly isIgnorant?: boolean
}

export interface FakeStun {
  readonly endpoint: Endpoint
  readonly other: Endpoint | null
  /** What was asked, the first one first: at which address, with which CHANGE-REQUEST. */
  readonly requests: ReadonlyArray<{ readonly to: Endpoint, readonly source: Endpoint, readonly flags: number }>
}

/** A STUN server on loopback, and the NAT before its client, too, as far as that shows in its answers. */
export async function startFakeStun (t: Test, { addresses = ['127.0.0.1'], mapped = (source) => source, passes = () => true, other: claimed, reply, loses = 0, delayMs = 0, isIgnorant = reply !== undefined }: FakeStunChoices = {}): Promise<FakeStun> {
  const [first, second] = addresses
  const one = await bind(t, first, 0)
  const port = one.address().port
  const two = await bind(t, first, 0)
  const otherPort = two.address().port
  const sockets = new Map([[`${first}:${port}`, one], [`${first}:${otherPort}`, two]])
  if (second !== undefined) for (const each of [port, otherPort]) sockets.set(`${second}:${each}`, await bind(t, second, each))
  const endpoint = { address: first, port }
  const other = claimed ?? (second === undefined ? null : { address: second, port: otherPort })
  let isOver = false
  t.teardown(() => { isOver = true })
  const requests: Array<FakeStun['requests'][number]> = []
  for (const [name, socket] of sockets) {
    const [address = '', own] = name.split(':')
    const to = { address, port: Number(own) }
    socket.on('message', (request, source) => {
      const flags = request.length >= 28 && request.readUInt16BE(20) === 3 ? request.readUInt32BE(24) : 0
      requests.push({ to, source: { address: source.address, port: source.port }, flags })
      if (requests.length <= loses) return
      const change = { address: !isIgnorant && (flags & 4) !== 0, port: !isIgnorant && (flags & 2) !== 0 }
      if ((change.address || change.port) && !passes(change)) return
      const from = sockets.get(`${change.address ? (address === first ? second : first) : address}:${change.port ? (to.port === port ? otherPort : port) : to.port}`)
      const bytes = reply === undefined
        ? message(0x0101, request.subarray(8, 20), [attribute(0x20, addressValue(mapped(source, to), true)), ...other === null ? [] : [attribute(0x802c, addressValue(other))]])
        : reply(request)
      // The test may be over by then.
      setTimeout(() => { if (bytes !== null && !isOver) from?.send(bytes, source.port, source.address) }, delayMs)
    })
  }
  return { endpoint, other, requests }
}

async function bind (t: Test, address: string, port: number): Promise<Socket> {
  const socket = createSocket('udp4')
  t.teardown(() => { socket.close() })
  socket.bind(port, address)
  await once(socket, 'listening')
  return socket
}
