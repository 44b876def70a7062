import type { Clock } from '../clock.ts'
import { Bucket } from './bucket.ts'
import { isSameEndpoint, mayTell, textOf } from './endpoint.ts'
import type { Endpoint } from './endpoint.ts'
import { peerFlags } from './neighbour.ts'
import type { Neighbour } from './neighbour.ts'
import { decodePex, encodePex } from './pex-message.ts'

/** BEP 11 allows one message a minute. libtorrent hangs up on who sends more. */
const intervalMs = 61_000
/** A new peer hears of the others after this: who came with it has said by then where it listens. */
const firstMs = 1_000
const tickMs = 500
const mostAdded = 50
const mostDropped = 50
/** Messages that a peer may send at once, and how soon one more: clocks differ, and slow links deliver two together. */
const mostMessages = 4
const messageEveryMs = 30_000

export const pexName = 'ut_pex'

/**
 * Peer exchange of one torrent (BEP 11): tells each peer that takes part of the others, at the address at which they
 * take connections, and says whom peers tell us of. What they tell of is not judged here.
 */
export class Pex {
  readonly #clock: Clock
  readonly #isPrivate: () => boolean
  readonly #onPeer: (endpoint: Endpoint, flags: number, teller: Neighbour) => void
  readonly #talks = new Map<Neighbour, Talk>()
  #cancelTick: (() => void) | null = null

  /**
   * @param isPrivate asked again and again: a magnet does not say it (BEP 27). Nothing is told or heard then.
   * @param onPeer called for each peer of a message.
   */
  constructor (clock: Clock, isPrivate: () => boolean, onPeer: (endpoint: Endpoint, flags: number, teller: Neighbour) => void) {
    this.#clock = clock
    this.#isPrivate = isPrivate
    this.#onPeer = onPeer
  }

  add (neighbour: Neighbour): void {
    this.#talks.set(neighbour, { told: new Map(), dueAt: this.#clock.now() + firstMs, heard: new Bucket(this.#clock, mostMessages, messageEveryMs) })
    this.#cancelTick ??= this.#clock.after(tickMs, () => { this.#tick() })
  }

  remove (neighbour: Neighbour): void {
    this.#talks.delete(neighbour)
    if (this.#talks.size === 0) this.close()
  }

  receive (neighbour: Neighbour, bytes: Uint8Array): void {
    if (this.#isPrivate() || this.#talks.get(neighbour)?.heard.take() !== true) return
    for (const { endpoint, flags } of decodePex(bytes)?.added ?? []) {
      if (!isSameEndpoint(endpoint, neighbour.listening)) this.#onPeer(endpoint, flags, neighbour)
    }
  }

  close (): void {
    this.#cancelTick?.()
    this.#cancelTick = null
  }

  #tick (): void {
    this.#cancelTick = this.#clock.after(tickMs, () => { this.#tick() })
    if (this.#isPrivate()) return
    const now = this.#clock.now()
    for (const [neighbour, talk] of this.#talks) {
      if (talk.dueAt <= now && neighbour.supports(pexName)) this.#tell(neighbour, talk, now)
    }
  }

  /** What is no news needs no message; then the next one may come at any time. */
  #tell (neighbour: Neighbour, talk: Talk, now: number): void {
    const here = new Map<string, { endpoint: Endpoint, flags: number }>()
    for (const other of this.#talks.keys()) {
      const endpoint = other.listening
      if (other === neighbour || other.peerId === neighbour.peerId || endpoint === null || !mayTell(endpoint, neighbour.remote)) continue
      const isReachable = other.isOutgoing && !other.isPunched
      here.set(textOf(endpoint), { endpoint, flags: other.flags | (isReachable ? peerFlags.isReachable : 0) })
    }
    const added = [...here].filter(([key]) => !talk.told.has(key)).slice(0, mostAdded)
    const dropped = [...talk.told].filter(([key]) => !here.has(key)).slice(0, mostDropped)
    if (added.length === 0 && dropped.length === 0) return
    for (const [key, { endpoint }] of added) talk.told.set(key, endpoint)
    for (const [key] of dropped) talk.told.delete(key)
    talk.dueAt = now + intervalMs
    neighbour.send(pexName, encodePex({ added: added.map(([, peer]) => peer), dropped: dropped.map(([, endpoint]) => endpoint) }))
  }
}

interface Talk {
  /** Who it was told of and not yet that they went. */
  readonly told: Map<string, Endpoint>
  dueAt: number
  readonly heard: Bucket
}
