/** What OpenSubtitles knows a video by. */
export interface VideoHash {
  readonly size: number
  /** 16 hex digits. */
  readonly hash: string
}

/** So much of both ends counts. */
export const HASHED_BYTES = 65_536

/**
 * OpenSubtitles' hash of a file: its size, and the 64 KiB at either end as little-endian numbers of 64 bits, added up modulo
 * 2^64. A shorter file is both ends.
 *
 * @param read gives the bytes from `start` to `end`, inclusive.
 */
export async function videoHash (size: number, read: (start: number, end: number) => Promise<Buffer>): Promise<VideoHash> {
  const length = Math.min(size, HASHED_BYTES)
  const ends = length === 0 ? [] : [await read(0, length - 1), await read(size - length, size - 1)]
  let sum = BigInt(size)
  for (const end of ends) {
    for (let at = 0; at + 8 <= end.length; at += 8) sum += end.readBigUInt64LE(at)
  }
  return { size, hash: (sum & 0xffff_ffff_ffff_ffffn).toString(16).padStart(16, '0') }
}
