import { createHmac, timingSafeEqual } from 'node:crypto'
import { clientKey } from './near-client.ts'
import { keyFor } from './token.ts'

/** What a signed URL has in its query. */
export interface UrlSignature {
  /** Seconds since 1970. */
  readonly expires: number
  /** It counts for one client's address only. */
  readonly isBound: boolean
  readonly mac: string
}

/** How long a link counts that was handed out without anybody saying how long: a film with its pauses. */
const LIFE_SECONDS = 86_400
const ROUNDING_SECONDS = 3600

/**
 * Signs URLs of one torrent, for players, which can send no token. Whoever has such a URL may stream that torrent, by
 * any of its addresses, until it expires.
 */
export class UrlSigner {
  readonly #key: Buffer
  readonly #now: () => number

  /**
   * @param secret STREAM_SIGNING_KEY; servers that share it take each other's links.
   * @param now milliseconds since 1970.
   */
  constructor (secret: string, now: () => number = Date.now) {
    this.#key = keyFor('stream', secret)
    this.#now = now
  }

  /**
   * The query for a URL of this torrent, `exp=…&sig=…`. Without a time of its own it is the same for an hour, so that lists do not change
   * with every look at them.
   *
   * @param expires seconds since 1970.
   * @param address the only client that may use it.
   */
  sign (infohash: string, { expires = this.#defaultExpiry(), address = null }: { readonly expires?: number, readonly address?: string | null } = {}): string {
    const bound = address === null ? '' : '&ip=1'
    return `exp=${expires}${bound}&sig=${this.#mac(infohash, expires, address).toString('base64url')}`
  }

  /** Does it open this torrent to a client with this address? */
  check (infohash: string, { expires, isBound, mac }: UrlSignature, address: string): 'valid' | 'expired' | 'wrong' {
    const own = this.#mac(infohash, expires, isBound ? address : null)
    const given = Buffer.from(mac, 'base64url')
    if (given.length !== own.length || !timingSafeEqual(given, own)) return 'wrong'
    return this.secondsLeft(expires) > 0 ? 'valid' : 'expired'
  }

  /** Not below 0. */
  secondsLeft (expires: number): number {
    return Math.max(0, Math.floor(expires - this.#now() / 1000))
  }

  #defaultExpiry (): number {
    return Math.ceil((this.#now() / 1000 + LIFE_SECONDS) / ROUNDING_SECONDS) * ROUNDING_SECONDS
  }

  #mac (infohash: string, expires: number, address: string | null): Buffer {
    return createHmac('sha256', this.#key).update(`1\n${infohash}\n${expires}\n${address === null ? '' : clientKey(address)}`).digest()
  }
}

/** The signature of a request's address; null: it has none. */
export function signatureOf (url: string): UrlSignature | null {
  const at = url.indexOf('?')
  if (at === -1 || !url.includes('sig=', at)) return null
  const query = new URLSearchParams(url.slice(at + 1))
  const [mac, expires] = [query.get('sig') ?? '', query.get('exp') ?? '']
  return /^[\w-]{43}$/.test(mac) && /^\d{1,12}$/.test(expires) ? { mac, expires: Number(expires), isBound: query.get('ip') === '1' } : null
}

/** As it was in the address. */
export function queryOf ({ expires, isBound, mac }: UrlSignature): string {
  return `exp=${expires}${isBound ? '&ip=1' : ''}&sig=${mac}`
}
