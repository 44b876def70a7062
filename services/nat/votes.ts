import { mostCommon } from './discover.ts'

export interface Sighting {
  readonly address: string
  /** Null where only the address was told. */
  readonly port: number | null
}

/** So many strangers have to agree, … */
const quorum = 3
/** … of the latest that said something. Few, so that a new address shows itself soon. */
const electorate = 12
/** Fewer who agree on the port than this part have each seen another. */
const portShare = 0.5

/**
 * Where strangers say that they see us. One of them may lie or be mistaken, so it takes several; each counts once, with
 * what it said last.
 */
export class Votes {
  readonly #sightings = new Map<string, Sighting>()

  /** @param voter its address. Gives whether that made a difference. */
  add (voter: string, sighting: Sighting): boolean {
    const before = JSON.stringify(this.winner)
    this.#sightings.delete(voter)
    this.#sightings.set(voter, sighting)
    const [oldest] = this.#sightings.keys()
    if (this.#sightings.size > electorate && oldest !== undefined) this.#sightings.delete(oldest)
    return JSON.stringify(this.winner) !== before
  }

  /** The address of the majority, null without one. `port`: null where they differ, `isSamePort` null where too few told any. */
  get winner (): { readonly address: string, readonly port: number | null, readonly isSamePort: boolean | null } | null {
    const sightings = [...this.#sightings.values()]
    const address = mostCommon(sightings.map(({ address }) => address))
    if (address === null || address.count < quorum || address.count * 2 <= sightings.length) return null
    const ports = sightings.flatMap((sighting) => sighting.address === address.value && sighting.port !== null ? [String(sighting.port)] : [])
    const port = mostCommon(ports)
    const isAgreed = port !== null && port.count > ports.length * portShare
    return { address: address.value, port: isAgreed ? Number(port.value) : null, isSamePort: ports.length < quorum ? null : isAgreed }
  }

  clear (): void {
    this.#sightings.clear()
  }
}
