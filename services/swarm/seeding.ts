import { deadlines } from '../deadlines.ts'

/** What the operator says about giving to others. */
export interface SeedingPolicy {
  /** Of what was downloaded, so much is given back; 0: nothing but while downloading. */
  readonly ratio: number
  /** Bytes a second; -1: no limit; 0: nothing is given. */
  readonly uploadLimitBytes: number
}

/** What a torrent has given to peers, and what it has got from wherever, in bytes over all the times it ran. */
export interface Shares {
  readonly uploadedBytes: number
  readonly downloadedBytes: number
}

export const noShares: Shares = { uploadedBytes: 0, downloadedBytes: 0 }

/** What was given of what was got; 0 where there is nothing to give. */
export function ratioOf ({ uploadedBytes, downloadedBytes }: Shares): number {
  return downloadedBytes > 0 ? uploadedBytes / downloadedBytes : 0
}

/** Is it still to give something for what it got? */
export function owes ({ ratio, uploadLimitBytes }: SeedingPolicy, shares: Shares): boolean {
  return uploadLimitBytes !== 0 && shares.downloadedBytes > 0 && ratioOf(shares) < ratio
}

/**
 * May peers have what they ask for now? While something is missing that somebody wants, whatever was given already: peers
 * give to those who give. A little longer, for a reader does not want something all the time.
 *
 * @param notWantedMs how long nothing has been missing; 0: something is.
 */
export function mayUpload (policy: SeedingPolicy, shares: Shares, notWantedMs: number): boolean {
  return policy.uploadLimitBytes !== 0 && (notWantedMs < deadlines.reciprocityMs || owes(policy, shares))
}

/**
 * Should a torrent that nobody reads go on for others?
 *
 * @param quietMs how long no peer has taken anything.
 */
export function isWorthSeeding (policy: SeedingPolicy, shares: Shares, quietMs: number): boolean {
  return quietMs < deadlines.seedQuietMs && owes(policy, shares)
}
