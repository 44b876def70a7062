import { parseEndpoint, textOf } from './endpoint.ts'
import { isAt } from './neighbour.ts'
import type { Neighbour } from './neighbour.ts'

/** Addresses remembered that lead to a peer which is connected by another one. */
const mostAliases = 1_000

/**
 * Keeps one connection to each peer of a torrent. A punched hole gives two, one from each side, and so does a peer that
 * we dial while it dials us.
 */
export class Duplicates {
  readonly #ownPeerId: string
  readonly #neighbours = new Set<Neighbour>()
  /** From an address that was dialled to the peer id that was found there. */
  readonly #aliases = new Map<string, string>()

  constructor (ownPeerId: string) {
    this.#ownPeerId = ownPeerId
  }

  /**
   * To be called after the handshake. Of two connections to one peer it closes one, the same that libtorrent closes at
   * the other end: who has the greater peer id dials. Where the addresses differ both stay, for a peer id is easily
   * borrowed, and would end a good connection.
   */
  add (neighbour: Neighbour): void {
    for (const other of this.#neighbours) {
      if (other.peerId !== neighbour.peerId || other.remote.address !== neighbour.remote.address) continue
      const isOursToDial = this.#ownPeerId > neighbour.peerId
      const loser = isOursToDial === neighbour.isOutgoing ? other : neighbour
      if (loser.isOutgoing) this.#remember(textOf(loser.remote), loser.peerId)
      this.#neighbours.delete(loser)
      loser.close()
      if (loser === neighbour) return
    }
    this.#neighbours.add(neighbour)
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
