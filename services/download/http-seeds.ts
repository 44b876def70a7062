import { maxRetryAfterMs } from './range-reply.ts'
import type { Metadata } from '../torrent/metadata.ts'
import type { Reply } from './fetcher.ts'
import type { Mirror, MirrorFault } from './mirror.ts'

/** What BEP 17 has a client wait where the seed names no time. */
const DEFAULT_WAIT_MS = 30_000
const LONGEST_WAIT_TEXT = 32

/**
 * The torrent's HTTP seeds (BEP 17 `httpseeds`): scripts that are asked for a piece of the torrent, or a part of one, by
 * infohash and number. They give one piece at a time, and no Range.
 */
export function httpSeedMirrors (metadata: Metadata): Mirror[] {
  return metadata.httpSeeds.flatMap((seed) => {
    const script = URL.parse(seed)
    if (script === null) return []
    return [{
      name: script.host,
      mayHave: () => true,
      async request ({ file, start, end }) {
        const { pieceLength, lengthBytes } = metadata
        const first = file.offset + start
        const piece = Math.floor(first / pieceLength)
        const pieceStart = piece * pieceLength
        const pieceEnd = Math.min(pieceStart + pieceLength, lengthBytes) - 1
        const last = Math.min(file.offset + end, pieceEnd)
        const isWhole = first === pieceStart && last === pieceEnd
        const url = new URL(script)
        const ranges = isWhole ? '' : `&ranges=${first - pieceStart}-${last - pieceStart}`
        url.search = `${script.search === '' ? '?' : `${script.search}&`}info_hash=${percentEncoded(metadata.infohash)}&piece=${piece}${ranges}`
        url.hash = ''
        return { url, isTrusted: false, headers: {}, end: last - file.offset, reply: 'exact' }
      }
    }]
  })
}

/** What a 503 of such a seed says: its body is the number of seconds to wait, as text. */
export async function busySeed ({ body }: Pick<Reply, 'body'>): Promise<MirrorFault['verdict']> {
  let text = ''
  try {
    for await (const chunk of body) {
      text += chunk.toString('latin1')
      if (text.length > LONGEST_WAIT_TEXT) break
    }
  } catch { /* it is busy, whatever it meant to say about that */ }
  const seconds = /^\s*(\d{1,9})\s*$/.exec(text)?.[1]
  const waitMs = seconds === undefined ? DEFAULT_WAIT_MS : Number(seconds) * 1000
  return { kind: 'failed', why: 'status 503', isBusy: true, retryAfterMs: Math.min(waitMs, maxRetryAfterMs) }
}

/** The 20 bytes, as a query has them. */
function percentEncoded (infohash: string): string {
  return infohash.replace(/../g, '%$&')
}
