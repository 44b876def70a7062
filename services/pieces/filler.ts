import type { CodedError } from '../errors.ts'
import type { Demand } from './demand.ts'

/** How far a download has come. Bytes, seconds. */
export interface DownloadProgress {
  /** Of the files that the store keeps: how many of their bytes are verified, whoever brought them. */
  readonly verifiedBytes: number
  readonly totalBytes: number
  /** Of this download, over the last seconds. */
  readonly bytesPerSecond: number
  /** null: nothing comes. */
  readonly secondsLeft: number | null
  /** The mirrors that it is being fetched from, by name. */
  readonly mirrors: readonly string[]
}

/**
 * What fills a torrent's piece store: the swarm, or an HTTP download. A filler looks at its demand and brings verified
 * pieces into the store; nothing is ever read from a filler.
 */
export interface Filler {
  readonly name: string
  readonly demand: Demand
  /** Bytes received for this torrent since the filler began, verified or not; it only grows. Progress is measured by it. */
  readonly receivedBytes: number
  /** Swarm peers that are connected; 0 for what has no peers. */
  readonly peersConnected: number
  /** Is there anybody who may still deliver (a connected peer, a mirror that has not failed)? */
  readonly isHopeful: boolean
  /** Everybody who might know of somebody was asked, and there is nobody. It goes on looking. */
  readonly isBarren?: boolean
  /** It gives to others what is here, and it is worth going on when nobody reads. */
  readonly isSeeding?: boolean
  /** Why it gave up for good, or null. */
  readonly failure: CodedError | null
  /** Looks at its demand once more, as if it had just changed. Safe at any time, and cheap where nothing did. */
  reassert? (): void
  /** One line for people: `12 peers known, 3 connected`, `mirror example.org at 2.5 MB/s`. */
  readonly state: string
  /** The numbers behind that, of a filler that fetches from mirrors. */
  readonly progress?: DownloadProgress
}
