import { randomBytes } from 'node:crypto'
import { isIPv4 } from 'node:net'
import { crc32 } from 'node:zlib'
import type { Socket } from 'node:dgram'

/** STUN Binding over UDP and IPv4 (RFC 8489), with the attributes of behaviour discovery (RFC 5780). */

export interface Endpoint {
  readonly address: string
  readonly port: number
}

export interface StunReply {
  /** The transaction id, in hex. */
  readonly id: string
  /** An error response's code and what it says (RFC 8489 section 14.8). */
  readonly error: { readonly code: number, readonly reason: string } | null
  /** Where the server saw the request come from. */
  readonly mapped: Endpoint | null
  /** RESPONSE-ORIGIN: where the reply was sent from. */
  readonly origin: Endpoint | null
  /** OTHER-ADDRESS: the server's other address and other port. */
  readonly other: Endpoint | null
}

const cookie = 0x2112A442
const headerBytes = 20
const bindingRequest = 0x0001
const bindingSuccess = 0x0101
const bindingError = 0x0111

const attributes = {
  mappedAddress: 0x0001,
  changeRequest: 0x0003,
  errorCode: 0x0009,
  xorMappedAddress: 0x0020,
  fingerprint: 0x8028,
  responseOrigin: 0x802b,
  otherAddress: 0x802c
} as const

/** Attributes below 0x8000 that a reply may have and that mean nothing here; one that is not known makes a reply useless. */
const harmless = new Set([
  0x0004, 0x0005, // SOURCE-ADDRESS, CHANGED-ADDRESS of RFC 3489
  0x0006, 0x0008, 0x000a, 0x0014, 0x0015, 0x001c, 0x001d, 0x001e, // credentials, UNKNOWN-ATTRIBUTES
  0x0026, 0x0027 // PADDING, RESPONSE-PORT
])

/** What of the source of the reply is to be another than where the request is sent (CHANGE-REQUEST, RFC 5780 section 7.2). */
export interface Change {
  readonly address: boolean
  readonly port: boolean
}

const noChange: Change = { address: false, port: false }

/** @param id 12 bytes. */
export function encodeRequest (id: Uint8Array, change: Change = noChange): Buffer {
  const isChange = change.address || change.port
  const message = Buffer.alloc(headerBytes + (isChange ? 8 : 0))
  message.writeUInt16BE(bindingRequest, 0)
  message.writeUInt16BE(message.length - headerBytes, 2)
  message.writeUInt32BE(cookie, 4)
  message.set(id, 8)
  if (isChange) {
    message.writeUInt16BE(attributes.changeRequest, 20)
    message.writeUInt16BE(4, 22)
    message.writeUInt32BE((change.address ? 4 : 0) | (change.port ? 2 : 0), 24)
  }
  return message
}

/** A reply to a Binding request; null for anything else, however broken. Never throws. */
export function parseReply (message: Buffer): StunReply | null {
  if (message.length < headerBytes) return null
  const type = message.readUInt16BE(0)
  const length = message.readUInt16BE(2)
  if ((type !== bindingSuccess && type !== bindingError) || message.readUInt32BE(4) !== cookie) return null
  if (length % 4 !== 0 || message.length !== headerBytes + length) return null
  let error: StunReply['error'] = null
  let mapped: Endpoint | null = null
  let xorMapped: Endpoint | null = null
  let origin: Endpoint | null = null
  let other: Endpoint | null = null
  for (let at = headerBytes; at < message.length;) {
    if (at + 4 > message.length) return null
    const kind = message.readUInt16BE(at)
    const size = message.readUInt16BE(at + 2)
    const value = message.subarray(at + 4, at + 4 + size)
    if (value.length !== size) return null
    switch (kind) {
      // Of several alike the first counts (RFC 8489 section 14).
      case attributes.xorMappedAddress: xorMapped ??= xored(addressOf(value)); break
      case attributes.mappedAddress: mapped ??= addressOf(value); break
      case attributes.responseOrigin: origin ??= addressOf(value); break
      case attributes.otherAddress: other ??= addressOf(value); break
      case attributes.errorCode: error ??= errorOf(value); break
      case attributes.fingerprint:
        if (size !== 4 || at + 8 !== message.length || value.readUInt32BE(0) !== fingerprintOf(message.subarray(0, at))) return null
        break
      default: if (kind < 0x8000 && !harmless.has(kind)) return null
    }
    at += 4 + Math.ceil(size / 4) * 4
  }
  if (type === bindingError && error === null) return null
  return { id: message.toString('hex', 8, 20), error: type === bindingError ? error : null, mapped: xorMapped ?? mapped, origin, other }
}

/** IPv4 only: uTP has nothing else. */
function addressOf (value: Buffer): Endpoint | null {
  if (value.length !== 8 || value[1] !== 1) return null
  return { address: [...value.subarray(4, 8)].join('.'), port: value.readUInt16BE(2) }
}

function xored (endpoint: Endpoint | null): Endpoint | null {
  if (endpoint === null) return null
  const key = [cookie >>> 24, (cookie >>> 16) & 255, (cookie >>> 8) & 255, cookie & 255]
  return { address: endpoint.address.split('.').map((byte, i) => Number(byte) ^ (key[i] ?? 0)).join('.'), port: endpoint.port ^ (cookie >>> 16) }
}

function errorOf (value: Buffer): StunReply['error'] {
  if (value.length < 4) return null
  return { code: ((value[2] ?? 0) & 7) * 100 + (value[3] ?? 0), reason: value.toString('utf8', 4, 4 + 128).replace(/\p{Cc}/gu, '') }
}

function fingerprintOf (message: Uint8Array): number {
  return (crc32(message) ^ 0x5354554e) >>> 0
}

/** What became of a request. `unsupported`: the server answered, but not as it was asked to. `unsent`: the system did not send it. */
export type Outcome =
  | { readonly kind: 'reply', readonly reply: StunReply & { readonly mapped: Endpoint } }
  | { readonly kind: 'unsupported', readonly reason: string }
  | { readonly kind: 'silent' }
  | { readonly kind: 'unsent', readonly reason: string }

export interface AskOptions {
  readonly change?: Change
  /** Where the reply has to come from; default: where the request goes. */
  readonly from?: Endpoint
  /** Ends the wait: the outcome is `silent`. */
  readonly signal: AbortSignal
  readonly limitMs?: number
}

/** The first wait for an answer; it doubles with each request that is sent again (RFC 8489 section 6.2.1). */
const firstWaitMs = 500
/** Three requests, at 0, 0.5 and 1.5 s, and the time for the last to be answered. */
export const stunLimitMs = 3_000

/** Asks STUN servers from one UDP socket, any number of them at once. The socket stays its owner's. */
export class StunClient {
  readonly #socket: Socket
  readonly #waiting = new Map<string, (reply: StunReply, from: Endpoint) => void>()

  constructor (socket: Socket) {
    this.#socket = socket
    socket.on('message', (message, { address, port }) => {
      const reply = parseReply(message)
      if (reply !== null) this.#waiting.get(reply.id)?.(reply, { address, port })
    })
  }

  /** Sends a Binding request to the server, an IPv4 address, and again until it is answered or the time is over. Never rejects. */
  async ask (server: Endpoint, { change = noChange, from = server, signal, limitMs = stunLimitMs }: AskOptions): Promise<Outcome> {
    if (!isIPv4(server.address)) return { kind: 'unsent', reason: `${server.address} is no IPv4 address` }
    if (signal.aborted) return { kind: 'silent' }
    const id = randomBytes(12)
    const message = encodeRequest(id, change)
    const { promise, resolve } = Promise.withResolvers<Outcome>()
    let again: NodeJS.Timeout | undefined
    let sent = 0
    let failure: string | null = null
    const onEnd = (): void => { resolve(failure !== null && sent === 0 ? { kind: 'unsent', reason: failure } : { kind: 'silent' }) }
    const send = (waitMs: number): void => {
      again = setTimeout(() => { send(waitMs * 2) }, waitMs)
      try {
        this.#socket.send(message, server.port, server.address, (error) => {
          if (error === null) sent++
          else failure = error.message
        })
      } catch (error) {
        // The socket is closed.
        failure = error instanceof Error ? error.message : String(error)
        onEnd()
      }
    }
    this.#waiting.set(id.toString('hex'), (reply, source) => {
      const outcome = judge(reply, source, server, from)
      if (outcome !== null) resolve(outcome)
    })
    signal.addEventListener('abort', onEnd, { once: true })
    const end = setTimeout(onEnd, limitMs)
    send(firstWaitMs)
    try {
      return await promise
    } finally {
      clearTimeout(end)
      clearTimeout(again)
      signal.removeEventListener('abort', onEnd)
      this.#waiting.delete(id.toString('hex'))
    }
  }
}

/** Null: not a word of the server that was asked. */
function judge (reply: StunReply, source: Endpoint, server: Endpoint, from: Endpoint): Outcome | null {
  const isExpected = isSame(source, from)
  if (!isExpected && !isSame(source, server)) return null
  if (reply.error !== null) return { kind: 'unsupported', reason: `it answered ${reply.error.code} ${reply.error.reason}`.trim() }
  if (!isExpected) return { kind: 'unsupported', reason: 'it answered from the address that was asked' }
  if (reply.mapped === null) return { kind: 'unsupported', reason: 'its answer has no address' }
  return { kind: 'reply', reply: { ...reply, mapped: reply.mapped } }
}

export function isSame (one: Endpoint, other: Endpoint): boolean {
  return one.address === other.address && one.port === other.port
}
