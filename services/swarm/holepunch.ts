import type { Clock } from '../clock.ts'
import { deadlines } from '../deadlines.ts'
import { scopeOf } from '../download/address-guard.ts'
import { Bucket } from './bucket.ts'
import { mayTell, textOf } from './endpoint.ts'
import type { Endpoint } from './endpoint.ts'
import { decodeHolepunch, encodeHolepunch, holepunchErrors } from './holepunch-message.ts'
import type { HolepunchMessage } from './holepunch-message.ts'
import { isAt, peerFlags } from './neighbour.ts'
import type { Neighbour } from './neighbour.ts'

export const holepunchName = 'ut_holepunch'

/**
 * A reachable peer answers a dial within a round trip; after this the relay is asked beside the dial. BEP 55 would have
 * the dial fail first, which takes it five seconds.
 */
const headStartMs = 1_000
/** For one that another peer has reached by dialling: the dial has failed by then. */
const reachableHeadStartMs = 6_000
/** From `connect` until a handshake came through: it takes its time after the hole is open. */
const wonMs = deadlines.holeMs + deadlines.handshakeMs
/**
 * Waits between the rounds in which all relays are asked; after the last one the peer is given up. libtorrent is deaf to
 * `connect` while it dials us itself, which it does for 18 s: the fifth round finds it ready.
 */
const roundsMs = [4_000, 6_000, 6_000, 6_000, 15_000, 30_000]
/** Peers that are asked for at the same time; the others wait their turn. */
const mostAsked = 8
const turnMs = 500
/** Peers remembered that may need a hole, and relays of each. */
const mostCandidates = 500
const mostRelays = 4
/** Holes punched at once that others have asked for. */
const mostHoles = 16

/** How often strangers may have us do something, over all torrents: so that nobody sprays packets by us. */
export interface PunchLimits {
  readonly connects: Bucket
  readonly introductions: Bucket
}

export function punchLimits (clock: Clock): PunchLimits {
  return { connects: new Bucket(clock, 32, 500), introductions: new Bucket(clock, 100, 100) }
}

export interface HolePunchOptions {
  readonly clock: Clock
  readonly limits: PunchLimits
  readonly onPunch: (role: Role, outcome: 'tried' | 'won') => void
  readonly onRelayed: () => void
  /** Nothing is done in a private torrent: its peers come from its tracker only (BEP 27). */
  readonly isPrivate: () => boolean
  /** May a stranger have us send packets there, or to others? */
  readonly mayDial: (endpoint: Endpoint) => boolean
  /** Are private and loopback addresses like any others? */
  readonly allowPrivateNetworks: boolean
  /** Is it we who are reached there? */
  readonly isOurs: (endpoint: Endpoint) => boolean
  /** Is the peer at this address connected? */
  readonly isConnected: (endpoint: Endpoint) => boolean
  /** Sends fresh SYNs there by uTP for a while, in place of a dial that is under way; false where that is not possible now. */
  readonly punch: (endpoint: Endpoint) => boolean
}

/** We asked a relay, or somebody asked one for us. */
export type Role = 'initiator' | 'target'

/** A peer that PEX has told us of, and that may need a hole. */
interface Candidate {
  readonly endpoint: Endpoint
  readonly relays: Set<Neighbour>
  readonly asked: Set<Neighbour>
  /** Whose answer is awaited. */
  asking: Neighbour | null
  rounds: number
  cancel: () => void
}

/** A hole that is being punched. */
interface Hole {
  readonly role: Role
  readonly endpoint: Endpoint
  isWon: boolean
  readonly cancel: () => void
}

interface Standing {
  /** What this peer may ask of us: introductions as a relay, … */
  readonly rendezvous: Bucket
  /** … holes as a target; … */
  readonly connects: Bucket
  /** … and how often it may be introduced to others. */
  readonly introductions: Bucket
}

/**
 * Hole punching in one torrent (BEP 55): as the initiator, who asks a relay for a peer that cannot be dialled; as the
 * target; and as the relay. It does no I/O of its own.
 */
export class HolePuncher {
  readonly #options: HolePunchOptions
  readonly #neighbours = new Map<Neighbour, Standing>()
  readonly #candidates = new Map<string, Candidate>()
  /** By address alone: through a symmetric NAT the peer comes from another port than the relay knows. */
  readonly #holes = new Map<string, Hole>()
  #isOver = false

  constructor (options: HolePunchOptions) {
    this.#options = options
  }

  /** Peers that a relay was asked for, and no answer yet: what comes of it is worth waiting for. */
  get pendingCount (): number {
    let count = 0
    for (const { asking } of this.#candidates.values()) if (asking !== null) count++
    return count
  }

  add (neighbour: Neighbour): void {
    const { clock, onPunch } = this.#options
    this.#neighbours.set(neighbour, { rendezvous: new Bucket(clock, 20, 1_000), connects: new Bucket(clock, 8, 2_000), introductions: new Bucket(clock, 20, 1_000) })
    for (const [key, candidate] of this.#candidates) if (isAt(neighbour, candidate.endpoint)) this.#forget(key, candidate)
    const hole = this.#holes.get(neighbour.remote.address)
    if (hole === undefined || !neighbour.isUtp) return
    neighbour.isPunched = true
    if (!hole.isWon) onPunch(hole.role, 'won')
    // A second one may come from the other side.
    hole.isWon = true
    const key = textOf(hole.endpoint)
    const candidate = this.#candidates.get(key)
    if (candidate !== undefined) this.#forget(key, candidate)
  }

  remove (neighbour: Neighbour): void {
    this.#neighbours.delete(neighbour)
    for (const [key, candidate] of this.#candidates) {
      candidate.relays.delete(neighbour)
      if (candidate.relays.size === 0) this.#forget(key, candidate)
      else if (candidate.asking === neighbour) this.#askNext(key, candidate)
    }
  }

  close (): void {
    this.#isOver = true
    for (const [key, candidate] of this.#candidates) this.#forget(key, candidate)
    for (const hole of this.#holes.values()) this.#fill(hole)
    this.#neighbours.clear()
  }

  /** PEX has told of a peer, which is being dialled. */
  introduce (endpoint: Endpoint, flags: number, teller: Neighbour): void {
    if ((flags & peerFlags.hasHolepunch) === 0 || !this.#neighbours.has(teller) || !this.#mayPunch(endpoint)) return
    const key = textOf(endpoint)
    const known = this.#candidates.get(key)
    if (known !== undefined) {
      if (known.relays.size < mostRelays) known.relays.add(teller)
      return
    }
    const candidate: Candidate = { endpoint, relays: new Set([teller]), asked: new Set(), asking: null, rounds: 0, cancel: () => {} }
    this.#candidates.set(key, candidate)
    const [oldest] = this.#candidates
    if (this.#candidates.size > mostCandidates && oldest !== undefined) this.#forget(...oldest)
    this.#later(candidate, (flags & peerFlags.isReachable) === 0 ? headStartMs : reachableHeadStartMs, () => { this.#askNext(key, candidate) })
  }

  /** A message of the extension. Nothing is answered but a rendezvous. */
  receive (neighbour: Neighbour, bytes: Uint8Array): void {
    const standing = this.#neighbours.get(neighbour)
    const message = decodeHolepunch(bytes)
    if (this.#isOver || message === null || standing === undefined || !neighbour.supports(holepunchName) || this.#options.isPrivate()) return
    switch (message.type) {
      case 'rendezvous': this.#introduceTo(neighbour, standing, message.endpoint); return
      case 'connect': this.#connect(neighbour, standing, message.endpoint); return
      case 'error': this.#onError(neighbour, message)
    }
  }

  #askNext (key: string, candidate: Candidate): void {
    candidate.cancel()
    candidate.asking = null
    if (!this.#mayPunch(candidate.endpoint)) {
      this.#forget(key, candidate)
      return
    }
    if (this.pendingCount >= mostAsked) {
      this.#later(candidate, turnMs, () => { this.#askNext(key, candidate) })
      return
    }
    const relay = [...candidate.relays].find((relay) => !candidate.asked.has(relay) && relay.supports(holepunchName))
    if (relay === undefined) {
      this.#endRound(key, candidate)
      return
    }
    candidate.asked.add(relay)
    candidate.asking = relay
    if (candidate.asked.size === 1) this.#options.onPunch('initiator', 'tried')
    this.#later(candidate, deadlines.rendezvousMs, () => { this.#askNext(key, candidate) })
    this.#send(relay, { type: 'rendezvous', endpoint: candidate.endpoint, error: 0 })
  }

  /** All relays were asked, or one has answered: later they are asked again. */
  #endRound (key: string, candidate: Candidate): void {
    candidate.cancel()
    candidate.asking = null
    candidate.asked.clear()
    const waitMs = roundsMs[candidate.rounds++]
    // It stays known, so that the next message of a relay does not begin anew.
    if (waitMs !== undefined) this.#later(candidate, waitMs, () => { this.#askNext(key, candidate) })
  }

  #onError (neighbour: Neighbour, { endpoint }: HolepunchMessage): void {
    const key = textOf(endpoint)
    const candidate = this.#candidates.get(key)
    if (candidate !== undefined && candidate.asking === neighbour) this.#askNext(key, candidate)
  }

  #connect (neighbour: Neighbour, standing: Standing, endpoint: Endpoint): void {
    const key = textOf(endpoint)
    const candidate = this.#candidates.get(key)
    const isAsked = candidate !== undefined && candidate.asking === neighbour
    if (isAsked) this.#endRound(key, candidate)
    if (!this.#mayPunch(endpoint) || this.#holes.has(endpoint.address)) return
    if (!isAsked) {
      const targets = [...this.#holes.values()].filter(({ role }) => role === 'target')
      if (targets.length >= mostHoles || !standing.connects.take() || !this.#options.limits.connects.take()) return
    }
    if (!this.#options.punch(endpoint)) return
    if (!isAsked) this.#options.onPunch('target', 'tried')
    const hole: Hole = { role: isAsked ? 'initiator' : 'target', endpoint, isWon: false, cancel: this.#options.clock.after(wonMs, () => { this.#fill(hole) }) }
    this.#holes.set(endpoint.address, hole)
  }

  /** We are the relay: tells both of each other, or the one that asked why not. */
  #introduceTo (asker: Neighbour, standing: Standing, endpoint: Endpoint): void {
    const { limits, onRelayed, isOurs, allowPrivateNetworks } = this.#options
    if (!standing.rendezvous.take()) return
    const fail = (error: number): void => { this.#send(asker, { type: 'error', endpoint, error }) }
    if (isOurs(endpoint) || isAt(asker, endpoint)) return fail(holepunchErrors.noSelf)
    const scope = scopeOf(endpoint.address)
    if (scope === 'other' || (scope !== 'public' && !allowPrivateNetworks)) return fail(holepunchErrors.noSuchPeer)
    const target = [...this.#neighbours.keys()].find((neighbour) => isAt(neighbour, endpoint))
    const from = asker.isUtp ? asker.remote : asker.listening
    if (target === undefined || from === null || !mayTell(from, target.remote) || !mayTell(endpoint, asker.remote)) return fail(holepunchErrors.notConnected)
    if (!target.supports(holepunchName)) return fail(holepunchErrors.noSupport)
    if (this.#neighbours.get(target)?.introductions.take() !== true || !limits.introductions.take()) return
    onRelayed()
    this.#send(asker, { type: 'connect', endpoint, error: 0 })
    this.#send(target, { type: 'connect', endpoint: from, error: 0 })
  }

  /** uTP is IPv4 here. */
  #mayPunch (endpoint: Endpoint): boolean {
    const { isPrivate, isOurs, isConnected, mayDial } = this.#options
    return !this.#isOver && !isPrivate() && !endpoint.address.includes(':') && mayDial(endpoint) && !isOurs(endpoint) && !isConnected(endpoint)
  }

  #send (neighbour: Neighbour, message: HolepunchMessage): void {
    neighbour.send(holepunchName, encodeHolepunch(message))
  }

  #later (candidate: Candidate, ms: number, then: () => void): void {
    candidate.cancel()
    candidate.cancel = this.#options.clock.after(ms, then)
  }

  #forget (key: string, candidate: Candidate): void {
    candidate.cancel()
    candidate.asking = null
    if (this.#candidates.get(key) === candidate) this.#candidates.delete(key)
  }

  #fill (hole: Hole): void {
    hole.cancel()
    if (this.#holes.get(hole.endpoint.address) === hole) this.#holes.delete(hole.endpoint.address)
  }
}
