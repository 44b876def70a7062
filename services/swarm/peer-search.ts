import type { Dht } from 'webtorrent'
import { deadlines } from '../deadlines.ts'
import type { Trackers } from './trackers.ts'

export interface PeerSearchOptions {
  readonly infohash: string
  /** Where there is one. */
  readonly dht: Dht | null
  readonly trackers: Pick<Trackers, 'update'>
  /** BEP 27: neither the DHT nor anybody but its trackers is asked. */
  readonly isPrivate: () => boolean
  readonly now?: () => number
}

/**
 * Looks for peers of a torrent once more: when there are none, in growing intervals, and at once when somebody wants
 * something again. By itself that is done every quarter of an hour, however empty the first answer was.
 */
export class PeerSearch {
  readonly #options: PeerSearchOptions
  readonly #dhtPatience: Patience
  /** Longer: trackers are few and asked by everybody. */
  readonly #trackerPatience: Patience
  readonly #now: () => number
  #isDhtAsked = false
  #isOver = false
  #askedAt: number

  constructor (options: PeerSearchOptions) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
    this.#askedAt = this.#now()
    this.#dhtPatience = new Patience(4_000, 300_000, this.#now)
    this.#trackerPatience = new Patience(15_000, 900_000, this.#now)
    const { dht } = options
    // Nodes that are known answer without the bootstrap ones, which may be gone.
    if (dht === null || options.isPrivate()) this.#isDhtAsked = true
    else if (dht.ready || dht.nodes.count() > 0) this.#askDht()
    else dht.once('ready', () => { this.#askDht() })
  }

  /** Has the DHT been asked, so that who it knows is known here, too? True where there is nothing to ask. */
  get isDhtAsked (): boolean {
    return this.#isDhtAsked
  }

  /** To be called every few seconds. */
  watch (hasPeers: boolean): void {
    if (hasPeers) {
      this.#dhtPatience.reset()
      this.#trackerPatience.reset()
      return
    }
    if (this.#dhtPatience.isOver()) this.#askDht()
    if (this.#trackerPatience.isOver()) this.#askTrackers()
  }

  /** Somebody wants something again after a while in which nobody did. Trackers that were asked a moment ago are spared. */
  wake (): void {
    if (this.#now() - this.#askedAt < deadlines.announceAgainMs) return
    this.#askDht()
    this.#askTrackers()
  }

  close (): void {
    this.#isOver = true
  }

  #askDht (): void {
    const { dht, infohash, isPrivate } = this.#options
    if (dht === null || isPrivate() || this.#isOver) return
    dht.lookup(infohash, () => { this.#isDhtAsked = true })
  }

  #askTrackers (): void {
    this.#askedAt = this.#now()
    this.#options.trackers.update()
  }
}

/** A wait that doubles each time it is over. */
class Patience {
  readonly #firstMs: number
  readonly #lastMs: number
  readonly #now: () => number
  #ms: number
  #since: number

  constructor (firstMs: number, lastMs: number, now: () => number) {
    this.#firstMs = firstMs
    this.#lastMs = lastMs
    this.#now = now
    this.#ms = firstMs
    this.#since = now()
  }

  reset (): void {
    this.#ms = this.#firstMs
    this.#since = this.#now()
  }

  /** Is it over? Then the next one, twice as long, begins. */
  isOver (): boolean {
    if (this.#now() - this.#since < this.#ms) return false
    this.#since = this.#now()
    this.#ms = Math.min(this.#ms * 2, this.#lastMs)
    return true
  }
}
