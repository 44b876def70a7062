import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { abortable } from '../deadline.ts'
import { isForeignAddress, scopeOf } from '../download/address-guard.ts'
import type { Behaviour } from './network-report.ts'
import { isSame } from './stun.ts'
import type { Endpoint, Outcome, StunClient } from './stun.ts'
import type { Socket } from 'node:dgram'

/** How a NAT behaves, found out by STUN: mapping and filtering (RFC 5780 sections 4.3 and 4.4). */

/** One answer to a Binding request: where it was sent, and where that saw us. */
export interface Answer {
  readonly to: Endpoint
  readonly mapped: Endpoint
}

export interface Soundings {
  readonly answers: readonly Answer[]
  /** Servers, by address, to which a request got out, and those of them that answered. */
  readonly asked: number
  readonly answered: number
  /** What servers said or the system did instead. */
  readonly failures: readonly string[]
  /** Servers whose other address has answered: they can tell the filtering. */
  readonly capable: ReadonlyArray<{ readonly primary: Endpoint, readonly other: Endpoint }>
}

export interface SoundOptions {
  readonly signal: AbortSignal
  readonly limitMs?: number
  /** Stop once the mapping is known to be independent of whom we talk to: no further answer would change that. */
  readonly isHasty?: boolean
}

/** As many servers with two addresses are asked at both. */
const maxCapable = 2

/**
 * Asks all servers from one socket, each as soon as its name is resolved, and those that name another address there, too.
 * Each question takes `limitMs` (3 s) at most; all end with the signal, with what was answered by then. Never rejects.
 */
export async function sound (client: StunClient, servers: ReadonlyArray<Promise<Endpoint>>, { signal, limitMs, isHasty = false }: SoundOptions): Promise<Soundings> {
  const answers: Answer[] = []
  const failures: string[] = []
  const capable = new Map<string, { primary: Endpoint, other: Endpoint }>()
  /** Two names of one machine are one server. */
  const seen = new Set<string>()
  let asked = 0
  let answered = 0
  let chosen = 0
  const enough = new AbortController()
  const options = { signal: AbortSignal.any([signal, enough.signal]), ...limitMs === undefined ? {} : { limitMs } }
  const note = (to: Endpoint, outcome: Outcome): outcome is Extract<Outcome, { kind: 'reply' }> => {
    if (outcome.kind === 'unsupported' || outcome.kind === 'unsent') failures.push(`${to.address}:${to.port}: ${outcome.reason}`)
    if (outcome.kind !== 'reply') return false
    answers.push({ to, mapped: outcome.reply.mapped })
    if (isHasty && mappingOf(answers) === 'endpoint-independent') enough.abort()
    return true
  }
  const askOther = async (primary: Endpoint, to: Endpoint, other: Endpoint): Promise<void> => {
    if (note(to, await client.ask(to, options))) capable.set(primary.address, { primary, other })
  }
  await Promise.all(servers.map(async (resolving) => {
    let server: Endpoint
    try {
      server = await abortable(resolving, options.signal)
    } catch (error) {
      if (!options.signal.aborted) failures.push(error instanceof Error ? error.message : String(error))
      return
    }
    if (seen.has(server.address)) return
    seen.add(server.address)
    const outcome = await client.ask(server, options)
    if (outcome.kind !== 'unsent') asked++
    if (outcome.kind === 'reply' || outcome.kind === 'unsupported') answered++
    if (!note(server, outcome)) return
    const { other } = outcome.reply
    if (other === null || !isCredible(other, server) || chosen >= maxCapable) return
    chosen++
    await Promise.all([askOther(server, { address: other.address, port: server.port }, other), askOther(server, other, other)])
  }))
  return { answers, asked, answered, failures, capable: [...capable.values()] }
}

/**
 * May the other address that a server names be asked? Some servers name themselves. And it is a stranger's word: what it names is to be as public as the server is, and no
 * privileged port.
 */
export function isCredible (other: Endpoint, server: Endpoint): boolean {
  if (other.address === server.address || other.port === server.port || other.port < 1024) return false
  const scope = scopeOf(server.address)
  return scope === 'public' ? isForeignAddress(other.address) : scopeOf(other.address) === scope
}

/**
 * What the mapping depends on. Two servers at different addresses that see the same endpoint settle it, for no NAT that
 * maps each destination anew gives the same port twice; a single server that lies is outvoted. Null: too few answers.
 */
export function mappingOf (answers: readonly Answer[]): Behaviour | null {
  const pairs = answers.flatMap((one, i) => answers.slice(i + 1).map((other) => [one, other] as const))
  const apart = pairs.filter(([one, other]) => one.to.address !== other.to.address)
  if (apart.length === 0) return null
  if (apart.some(([one, other]) => isSame(one.mapped, other.mapped))) return 'endpoint-independent'
  const near = pairs.filter(([one, other]) => one.to.address === other.to.address)
  return near.some(([one, other]) => isSame(one.mapped, other.mapped)) ? 'address-dependent' : 'address-and-port-dependent'
}

/** Where most servers see us; null where none answered. The port is null where each sees another. */
export function endpointOf (answers: readonly Answer[]): { readonly address: string, readonly port: number | null } | null {
  const endpoint = mostCommon(answers.map(({ mapped }) => `${mapped.address}:${mapped.port}`))
  const address = mostCommon(answers.map(({ mapped }) => mapped.address))
  if (endpoint === null || address === null) return null
  const [host = '', port] = endpoint.value.split(':')
  const isAgreed = endpoint.count > 1 || answers.length === 1
  return isAgreed ? { address: host, port: Number(port) } : { address: address.value, port: null }
}

export function mostCommon (values: readonly string[]): { readonly value: string, readonly count: number } | null {
  const counts = new Map<string, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  const [first] = [...counts].sort(([, one], [, other]) => other - one)
  return first === undefined ? null : { value: first[0], count: first[1] }
}

/**
 * What the NAT, or firewall, lets in (RFC 5780 section 4.4). The socket must have talked to nobody yet; the server's
 * other address must be known to answer, or its silence would mean nothing. Null: the server does not play along.
 */
export async function filteringOf (client: StunClient, { primary, other }: Soundings['capable'][number], signal: AbortSignal): Promise<Behaviour | null> {
  const first = await client.ask(primary, { signal })
  if (first.kind !== 'reply') return null
  const [fromOther, fromOtherPort] = await Promise.all([
    client.ask(primary, { signal, change: { address: true, port: true }, from: other }),
    client.ask(primary, { signal, change: { address: false, port: true }, from: { address: primary.address, port: other.port } })
  ])
  if (fromOther.kind === 'reply') return 'endpoint-independent'
  if (fromOther.kind !== 'silent' || signal.aborted) return null
  if (fromOtherPort.kind === 'reply') return 'address-dependent'
  return fromOtherPort.kind === 'silent' ? 'address-and-port-dependent' : null
}

/** A UDP socket at this port (0: any) that no error of can hurt; null where the port is taken. */
export async function openSocket (port: number): Promise<Socket | null> {
  const socket = createSocket('udp4')
  try {
    socket.bind({ port, exclusive: true })
    await once(socket, 'listening')
    socket.on('error', () => {})
    return socket
  } catch {
    socket.close()
    return null
  }
}

/** Resolves once the port is free again. */
export async function closeSocket (socket: Socket): Promise<void> {
  await new Promise<void>((resolve) => { socket.close(() => { resolve() }) })
}
