import { createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { hostname } from 'node:os'
import { pause } from '../../deadline.ts'
import { closeSocket } from '../discover.ts'
import { RouterError } from './router.ts'
import type { Mapped, Place, Router, Wish } from './router.ts'

/** PCP (RFC 6887) and its predecessor NAT-PMP (RFC 6886), which share a port and begin with a version. */

const serverPort = 5351
/** Waits before each repetition, in milliseconds. */
const repeatMs = [250, 500, 1_000, 2_000]
const pcpResults = ['success', 'unsupported version', 'not authorised', 'malformed request', 'unsupported opcode', 'unsupported option', 'malformed option', 'network failure', 'no resources', 'unsupported protocol', 'quota exceeded', 'the external port cannot be provided', 'address mismatch', 'too many remote peers']
const pmpResults = ['success', 'unsupported version', 'not authorised', 'network failure', 'no resources', 'unsupported opcode']
const protocolNumbers = { tcp: 6, udp: 17 } as const
const pmpOpcodes = { tcp: 2, udp: 1 } as const

/** The router, if it speaks PCP or NAT-PMP. Rejects with a RouterError where nobody answers, or with the signal's reason. */
export async function findPcp (place: Place, signal: AbortSignal): Promise<Router> {
  // PCP's ANNOUNCE (section 14.1); a NAT-PMP server answers with its version.
  const announce = Buffer.alloc(24)
  announce[0] = 2
  addressOf(place.local).copy(announce, 8)
  const version = await exchange(place, announce, (reply) => reply.length >= 4 && ((reply[1] ?? 0) & 0x80) !== 0 ? reply[0] ?? null : null, signal)
  if (version === 2) return pcpRouter(place)
  if (version === 0) return natPmpRouter(place)
  throw new RouterError(`the router speaks version ${version} of PCP`)
}

function pcpRouter (place: Place): Router {
  const map = async (wish: Wish, signal: AbortSignal): Promise<Mapped> => {
    const request = Buffer.alloc(60)
    request[0] = 2
    request[1] = 1
    request.writeUInt32BE(wish.lifetimeSeconds, 4)
    addressOf(place.local).copy(request, 8)
    nonceOf(place, wish).copy(request, 24)
    request[36] = protocolNumbers[wish.transport]
    request.writeUInt16BE(wish.port, 40)
    // Section 11.1: to delete, the suggested port and address are 0.
    request.writeUInt16BE(wish.lifetimeSeconds === 0 ? 0 : wish.externalPort, 42)
    addressOf('0.0.0.0').copy(request, 44)
    const reply = await exchange(place, request, (reply) => reply.length >= 60 && reply[0] === 2 && reply[1] === 0x81 && reply.subarray(24, 42).equals(request.subarray(24, 42)) ? reply : null, signal)
    const result = reply[3] ?? 0
    if (result !== 0) throw new RouterError(`the router refuses (PCP: ${pcpResults[result] ?? `error ${result}`})`)
    return { externalPort: reply.readUInt16BE(42), externalAddress: textOf(reply.subarray(44, 60)), lifetimeSeconds: reply.readUInt32BE(4) }
  }
  return {
    protocol: 'PCP',
    map: async (wish, signal) => checked(await map(wish, signal)),
    async unmap (wish, signal) { await map({ ...wish, lifetimeSeconds: 0 }, signal) }
  }
}

/** A router that speaks NAT-PMP. */
export function natPmpRouter (place: Place): Router {
  const ask = async (request: Buffer, length: number, signal: AbortSignal): Promise<Buffer> => {
    const opcode = 0x80 | (request[1] ?? 0)
    const reply = await exchange(place, request, (reply) => reply[0] === 0 && reply[1] === opcode && (reply.length >= length || (reply.length >= 4 && reply.readUInt16BE(2) !== 0)) ? reply : null, signal)
    const result = reply.readUInt16BE(2)
    if (result !== 0) throw new RouterError(`the router refuses (NAT-PMP: ${pmpResults[result] ?? `error ${result}`})`)
    return reply
  }
  const map = async (wish: Wish, signal: AbortSignal): Promise<Buffer> => {
    const request = Buffer.alloc(12)
    request[1] = pmpOpcodes[wish.transport]
    request.writeUInt16BE(wish.port, 4)
    request.writeUInt16BE(wish.lifetimeSeconds === 0 ? 0 : wish.externalPort, 6)
    request.writeUInt32BE(wish.lifetimeSeconds, 8)
    return await ask(request, 16, signal)
  }
  return {
    protocol: 'NAT-PMP',
    async map (wish, signal) {
      const reply = await map(wish, signal)
      const own = await ask(Buffer.alloc(2), 12, signal)
      return checked({ externalPort: reply.readUInt16BE(10), externalAddress: own.subarray(8, 12).join('.'), lifetimeSeconds: reply.readUInt32BE(12) })
    },
    async unmap (wish, signal) { await map({ ...wish, lifetimeSeconds: 0 }, signal) }
  }
}

function checked (mapped: Mapped): Mapped {
  if (mapped.externalPort === 0 || mapped.lifetimeSeconds === 0) throw new RouterError('the router\'s answer makes no sense')
  return mapped
}

/**
 * The same for a port of this machine whenever it is asked for: a server that was killed could neither renew nor replace
 * what it left behind, for whoever has another nonce is refused (section 11.3).
 */
function nonceOf ({ local }: Place, { transport, port }: Wish): Buffer {
  return createHash('sha256').update(`Self-Streme ${hostname()} ${local} ${transport} ${port}`).digest().subarray(0, 12)
}

/** An IPv4 address in the form of IPv6. */
function addressOf (address: string): Buffer {
  return Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...address.split('.').map(Number)])
}

function textOf (address: Buffer): string | null {
  return address.subarray(0, 12).equals(addressOf('0.0.0.0').subarray(0, 12)) ? address.subarray(12).join('.') : null
}

/**
 * Sends the request until an answer is accepted. Whatever else arrives is nothing. A connected socket hears only the
 * router, and of a router where nobody listens.
 */
async function exchange<T> ({ gateway }: Place, request: Buffer, accept: (reply: Buffer) => T | null, signal: AbortSignal): Promise<T> {
  const socket = createSocket('udp4')
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  promise.catch(() => {})
  socket.on('error', () => { reject(new RouterError('no answer by PCP or NAT-PMP')) })
  socket.on('message', (reply) => {
    const answer = accept(reply)
    if (answer !== null) resolve(answer)
  })
  const over = new AbortController()
  try {
    socket.connect(serverPort, gateway)
    await once(socket, 'connect', { signal })
    const sending = (async () => {
      const ours = AbortSignal.any([over.signal, signal])
      for (const ms of repeatMs) {
        socket.send(request, () => {})
        await pause(ms, ours)
      }
      throw new RouterError('no answer by PCP or NAT-PMP')
    })()
    return await Promise.race([promise, sending])
  } finally {
    over.abort()
    await closeSocket(socket)
  }
}
