import type { Clock } from '../clock.ts'
import { parseEndpoint, textOf } from './endpoint.ts'
import { isAt } from './neighbour.ts'
import type { Neighbour } from './neighbour.ts'

/** The other side may close one of two connections so long. */
const graceMs = 3_000
/** Addresses remembered that lead to a peer which is connected by another one. */
const mostAliases = 1_000

/**
 * Keeps one connection to each peer of a torrent. A punched hole gives two, one from each side, and so does a peer that
 * we dial while it dials us.
 */
export class Duplicates {
  readonly #clock: Clock
  readonly #ownPeerId: string
  readonly #neighbours = new Set<Neighbour>()
  /** From an address that was dialled to the peer id that was found there. */
  readonly #aliases = new Map<string, string>()

  constructor (ownPeerId: string, clock: Clock) {
    this.#clock = clock
    this.#ownPeerId = ownPeerId
  }

  /**
   * To be called after the handshake. Of two connections to one peer one is closed, the same at both ends: who has the
   * greater peer id dials. But not at once, and not while the one that would stay is silent: libtorrent has rules before
   * that one, the last of which is a toss, and two that close one each would be left with none. Where the addresses
   * differ both stay, for a peer id is easily borrowed.
   */
  add (neighbour: Neighbour): void {
    for (const other of this.#neighbours) {
      if (other.peerId !== neighbour.peerId || other.remote.address !== neighbour.remote.address) continue
      for (const each of [neighbour, other]) if (each.isOutgoing) this.#remember(textOf(each.remote), each.peerId)
      const isOursToDial = this.#ownPeerId > neighbour.peerId
      this.#settle(isOursToDial === neighbour.isOutgoing ? [neighbour, other] : [other, neighbour])
    }
    this.#neighbours.add(neighbour)
  }

  #settle ([winner, loser]: readonly [Neighbour, Neighbour]): void {
    const before = winner.receivedBytes
    this.#clock.after(graceMs, () => {
      if (!this.#neighbours.has(loser) || !this.#neighbours.has(winner)) return
      if (winner.receivedBytes > before) loser.close()
      else this.#settle([winner, loser])
    })
  }

  remove (neighbour: Neighbour): void {
    this.#neighbours.delete(neighbour)
  }

  /** Is the peer at this address connected already? */
  has (address: string): boolean {
    const endpoint = parseEndpoint(address)
    if (endpoint === null) return false
    const peerId = this.#aliases.get(textOf(endpoint))
    for (const neighbour of this.#neighbours) if (isAt(neighbour, endpoint) || neighbour.peerId === peerId) return true
    return false
  }

  #remember (address: string, peerId: string): void {
    this.#aliases.delete(address)
    this.#aliases.set(address, peerId)
    const [oldest] = this.#aliases.keys()
    if (this.#aliases.size > mostAliases && oldest !== undefined) this.#aliases.delete(oldest)
  }
}
