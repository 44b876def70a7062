import type { Torrent, Wire } from 'webtorrent'
import { chokeAll, unchokeInterested, serveThrough } from './internals/uploads.ts'
import type { WireTaker } from './internals/uploads.ts'
import { isWorthSeeding, mayUpload } from './seeding.ts'
import type { SeedingPolicy, Shares } from './seeding.ts'
import type { UploadQueue } from './upload-queue.ts'

export interface ExchangeOptions {
  readonly policy: SeedingPolicy
  /** Before this stay in the swarm. */
  readonly before: Shares
  /** Of all torrents. */
  readonly uploads: UploadQueue<WireTaker>
  readonly now?: () => number
}

/** It takes a while to count what is here. */
const countMs = 1_000

/** What a torrent gives to its peers, what it gets from them, and when it stops giving. */
export class Exchange {
  readonly #torrent: Torrent
  readonly #options: ExchangeOptions
  readonly #isWanting: () => boolean
  readonly #now: () => number
  #receivedBytes = 0
  #uploadedBytes = 0
  #hereBytes = 0
  #countedAt = -Infinity
  #wantedAt = -Infinity
  #gaveAt: number
  #isGiving: boolean

  /** @param isWanting is something missing that somebody wants? */
  constructor (torrent: Torrent, options: ExchangeOptions, isWanting: () => boolean) {
    this.#torrent = torrent
    this.#options = options
    this.#isWanting = isWanting
    this.#now = options.now ?? performance.now.bind(performance)
    this.#gaveAt = this.#now()
    this.#isGiving = options.policy.uploadLimitBytes !== 0
  }

  /** Of this stay: blocks from peers, verified or not. */
  get receivedBytes (): number {
    return this.#receivedBytes
  }

  /** Of this stay: blocks to peers. */
  get uploadedBytes (): number {
    return this.#uploadedBytes
  }

  /** With what was before. What came from elsewhere counts as got, too. */
  get shares (): Shares {
    const { before } = this.#options
    return {
      uploadedBytes: before.uploadedBytes + this.#uploadedBytes,
      downloadedBytes: Math.max(before.downloadedBytes + this.#receivedBytes, this.#hereBytes)
    }
  }

  /** Should it go on for others, when nobody here needs it? */
  get isSeeding (): boolean {
    return isWorthSeeding(this.#options.policy, this.shares, this.#now() - this.#gaveAt)
  }

  /** In the 'wire' event. */
  onWire (wire: Wire): void {
    serveThrough(this.#torrent, wire, this.#options.uploads, () => {
      this.update()
      return this.#isGiving
    })
    wire.on('download', (bytes: number) => { this.#receivedBytes += bytes })
    wire.on('upload', (bytes: number) => {
      this.#uploadedBytes += bytes
      this.#gaveAt = this.#now()
      this.update()
    })
  }

  /** Looks whether it is to give, and tells the peers. */
  update (): void {
    const now = this.#now()
    if (!this.#torrent.ready) return
    if (now - this.#countedAt >= countMs) {
      this.#countedAt = now
      this.#hereBytes = this.#torrent.downloaded
    }
    if (this.#isWanting()) this.#wantedAt = now
    const isGiving = mayUpload(this.#options.policy, this.shares, now - this.#wantedAt)
    if (isGiving === this.#isGiving) return
    this.#isGiving = isGiving
    if (isGiving) unchokeInterested(this.#torrent)
    else chokeAll(this.#torrent)
  }
}
