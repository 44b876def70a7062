import { CodedError } from '../errors.ts'
import { decode } from '../torrent/bencode.ts'
import { deadlines } from '../deadlines.ts'
import type { Fetcher } from '../download/fetcher.ts'
import type { Bencoded, Dictionary } from '../torrent/bencode.ts'

export type AnnounceEvent = 'started' | 'stopped' | 'completed'

export interface Announcement {
  /** 40 hex digits. */
  readonly infohash: string
  /** 40 hex digits. */
  readonly peerId: string
  readonly port: number
  readonly uploaded: number
  readonly downloaded: number
  readonly left: number
  readonly userAgent: string
}

export interface HttpTrackerOptions {
  readonly url: URL
  /** The operator configured it. Its redirects are not trusted. */
  readonly isTrusted: boolean
  readonly fetcher: Pick<Fetcher, 'get'>
  readonly announcement: () => Announcement
  readonly onPeer: (address: string) => void
  /** After the peers of an answer. */
  readonly onAnswer: () => void
  readonly onProblem: (message: string) => void
}

const MAX_REPLY_BYTES = 1024 * 1024
const MAX_PEERS = 1000
const WANTED_PEERS = 50
const INTERVAL_SECONDS = { least: 60, usual: 900, most: 3600 }

/** One HTTP tracker (BEP 3, 7, 23) of one torrent, asked again as often as it says. A reply is believed nothing and bounded. */
export class HttpTracker {
  readonly #options: HttpTrackerOptions
  readonly #over = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #trackerId: Buffer | null = null
  #isAsking = false
  #hasAnswered = false

  constructor (options: HttpTrackerOptions) {
    this.#options = options
  }

  start (): void {
    void this.#ask('started')
  }

  /** Asks now; does nothing while it is being asked. */
  update (): void {
    if (!this.#isAsking) void this.#ask(this.#hasAnswered ? null : 'started')
  }

  complete (): void {
    void this.#ask('completed')
  }

  /** Says goodbye where it knows us. Resolves when that is said, or cannot be. */
  async stop (): Promise<void> {
    clearTimeout(this.#timer)
    this.#over.abort(new Error('the torrent left'))
    if (!this.#hasAnswered && !this.#isAsking) return
    await this.#announce('stopped', AbortSignal.timeout(deadlines.trackerMs)).catch(() => { /* nobody can do anything about it */ })
  }

  async #ask (event: AnnounceEvent | null): Promise<void> {
    if (this.#over.signal.aborted) return
    clearTimeout(this.#timer)
    this.#isAsking = true
    let seconds = INTERVAL_SECONDS.usual
    try {
      const reply = await this.#announce(event, AbortSignal.any([this.#over.signal, AbortSignal.timeout(deadlines.trackerMs)]))
      if (this.#over.signal.aborted) return
      this.#hasAnswered = true
      const id = reply.get('tracker id')
      if (Buffer.isBuffer(id) && id.length <= 1024) this.#trackerId = id
      const wanted = reply.get('interval')
      if (typeof wanted === 'number') seconds = Math.min(Math.max(wanted, INTERVAL_SECONDS.least), INTERVAL_SECONDS.most)
      for (const peer of peersOf(reply)) this.#options.onPeer(peer)
      this.#options.onAnswer()
    } catch (error) {
      if (!this.#over.signal.aborted) this.#options.onProblem(error instanceof Error ? error.message : String(error))
    } finally {
      this.#isAsking = false
      if (!this.#over.signal.aborted) {
        clearTimeout(this.#timer)
        this.#timer = setTimeout(() => { this.update() }, seconds * 1000)
        this.#timer.unref()
      }
    }
  }

  async #announce (event: AnnounceEvent | null, signal: AbortSignal): Promise<Dictionary> {
    const { url, isTrusted, fetcher, announcement } = this.#options
    const { infohash, peerId, port, uploaded, downloaded, left, userAgent } = announcement()
    const target = new URL(url)
    const query = [
      `info_hash=${percentEncoded(Buffer.from(infohash, 'hex'))}`, `peer_id=${percentEncoded(Buffer.from(peerId, 'hex'))}`,
      `port=${port}`, `uploaded=${uploaded}`, `downloaded=${downloaded}`, `left=${left}`, 'compact=1', `numwant=${event === 'stopped' ? 0 : WANTED_PEERS}`,
      ...(event === null ? [] : [`event=${event}`]),
      ...(this.#trackerId === null ? [] : [`trackerid=${percentEncoded(this.#trackerId)}`])
    ]
    target.search = [...(url.search === '' ? [] : [url.search.slice(1)]), ...query].join('&')
    return await askTracker(target, { isTrusted, fetcher, userAgent, signal })
  }
}

/** The dictionary that a tracker answers with. Throws what went wrong, the tracker's own words included. */
export async function askTracker (url: URL, { isTrusted, fetcher, userAgent, signal }: {
  readonly isTrusted: boolean, readonly fetcher: Pick<Fetcher, 'get'>, readonly userAgent: string, readonly signal: AbortSignal
}): Promise<Dictionary> {
  const reply = await fetcher.get(url, { isTrusted, signal, headers: { 'user-agent': userAgent }, headersTimeoutMs: deadlines.trackerMs })
  try {
    if (reply.status !== 200) throw new CodedError('SOURCE_FAILED', `${url.host}: status ${reply.status}`)
    const { value } = decode(await read(reply.body))
    if (!(value instanceof Map)) throw new CodedError('SOURCE_FAILED', `${url.host}: the answer is no dictionary`)
    const failure = value.get('failure reason')
    if (Buffer.isBuffer(failure)) throw new CodedError('SOURCE_FAILED', `${url.host}: ${failure.toString().slice(0, 200)}`)
    return value
  } finally {
    reply.discard()
  }
}

/** The peers of a reply as `ip:port`: compact (BEP 23), IPv6 (BEP 7), or a list of dictionaries (BEP 3). What is none is left out. */
export function peersOf (reply: Dictionary): string[] {
  const peers = reply.get('peers')
  const found = [
    ...Buffer.isBuffer(peers) ? compact(peers, 4) : Array.isArray(peers) ? peers.slice(0, MAX_PEERS).flatMap(listed) : [],
    ...compact(reply.get('peers6'), 16)
  ]
  return found.slice(0, MAX_PEERS)
}

function compact (bytes: Bencoded | undefined, addressBytes: 4 | 16): string[] {
  if (!Buffer.isBuffer(bytes)) return []
  const peers: string[] = []
  const step = addressBytes + 2
  for (let at = 0; at + step <= bytes.length && peers.length < MAX_PEERS; at += step) {
    const address = bytes.subarray(at, at + addressBytes)
    const port = bytes.readUInt16BE(at + addressBytes)
    peers.push(addressBytes === 4 ? `${address.join('.')}:${port}` : `[${address.toString('hex').replace(/.{4}(?=.)/g, '$&:')}]:${port}`)
  }
  return peers
}

function listed (peer: Bencoded): string[] {
  if (!(peer instanceof Map)) return []
  const [ip, port] = [peer.get('ip'), peer.get('port')]
  if (!Buffer.isBuffer(ip) || ip.length > 45 || typeof port !== 'number') return []
  const host = ip.toString('latin1')
  return [host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`]
}

async function read (body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  let lengthBytes = 0
  for await (const chunk of body) {
    lengthBytes += chunk.length
    if (lengthBytes > MAX_REPLY_BYTES) throw new CodedError('SOURCE_FAILED', `the answer is larger than ${MAX_REPLY_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, lengthBytes)
}

/** Every byte, for trackers compare texts (RFC 3986 section 2.3 names those that need it not). */
export function percentEncoded (bytes: Buffer): string {
  return [...bytes].map((byte) => {
    const character = String.fromCharCode(byte)
    return /[\w.~-]/.test(character) ? character : `%${byte.toString(16).padStart(2, '0').toUpperCase()}`
  }).join('')
}
