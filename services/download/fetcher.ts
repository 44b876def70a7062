import { Agent, errors, request } from 'undici'
import { abortable } from '../deadline.ts'
import { CodedError } from '../errors.ts'
import { checkUrl, guardedLookup } from './address-guard.ts'
import { deadlines } from '../deadlines.ts'
import type { Dispatcher } from 'undici'

export interface FetcherOptions {
  /** Lifts the address guard for everything this fetcher gets. */
  readonly allowPrivateNetworks: boolean
}

export interface GetOptions {
  /** The operator configured this URL: the guard does not ask about it. Its redirects are never trusted. */
  readonly isTrusted: boolean
  readonly headers?: Readonly<Record<string, string>>
  readonly signal: AbortSignal
  readonly maxRedirects?: number
  /** From the request (waiting for a connection included) to the reply's headers, for each hop. */
  readonly headersTimeoutMs?: number
  /** Silence in the middle of the body. Time in which nobody reads does not count. */
  readonly bodyTimeoutMs?: number
}

export interface Reply {
  readonly status: number
  /** Lower-case names; repeated fields are joined by `, ` (RFC 9110 section 5.3). */
  readonly headers: Readonly<Record<string, string | undefined>>
  /** Where the reply came from, redirects followed. */
  readonly url: URL
  /**
   * The bytes, to be iterated once; each chunk belongs to whoever took it. Throws HTTP_TIMEOUT, SOURCE_FAILED, or the
   * signal's reason. Ending the iteration early gives the connection back or closes it, as discard() does.
   */
  readonly body: AsyncGenerator<Buffer, void, void>
  /** For a reply whose body nobody wants: reads what little is left, or closes the connection. Idempotent, does not wait. */
  discard (): void
}

type Body = Dispatcher.ResponseData['body']

interface Pools {
  readonly h1: Agent
  readonly h2: Agent
}

const REDIRECTS = new Set([301, 302, 303, 307, 308])
const CONNECTIONS_PER_ORIGIN = 8
/** So much of an unwanted body is read to keep its connection; more, or a slower one, costs a new connection instead. */
const DISCARD_LIMIT_BYTES = 16 * 1024
const DISCARD_TIMEOUT_MS = 1000
const DEFAULT_HEADERS = { 'user-agent': 'Self-Streme', accept: '*/*', 'accept-encoding': 'identity' }
/**
 * For URLs that somebody else chose: a server of ours in this network, this one among them, must not take the request for one
 * of its own people.
 */
const FOR_OTHERS = { via: '1.1 self-streme' }
const MAX_H2_ORIGINS = 1000
const H2_STREAMS = 8
const H2_WINDOW_BYTES = 1024 * 1024

const UNKNOWN_SIGNER = 'nobody whom this machine trusts has signed its TLS certificate (NODE_EXTRA_CA_CERTS names a file with further ones to trust)'
/** What the codes of Node and OpenSSL mean to the person who has to act. */
const TLS_FAULTS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'its TLS certificate has expired',
  CERT_NOT_YET_VALID: 'its TLS certificate is not valid yet, or the clock of this machine is wrong',
  CERT_REVOKED: 'its TLS certificate was revoked',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its TLS certificate is for another name',
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_SIGNER,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_SIGNER,
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_SIGNER,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_SIGNER,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_SIGNER,
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS there (http instead of https?)',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'it does not speak TLS there (http instead of https?)'
}

/**
 * GET, and now and then POST, for everything the server asks others for over HTTP. Two connection pools that never mix: URLs of the operator, and URLs
 * that somebody else chose (a torrent, a magnet, a redirect), whose sockets reach public addresses only.
 */
export class Fetcher {
  readonly #trusted: Pools
  readonly #guarded: Pools
  readonly #allowPrivateNetworks: boolean
  /** Origins that refused HTTP/1.1, the latest. */
  readonly #h2Origins = new Set<string>()

  constructor ({ allowPrivateNetworks }: FetcherOptions) {
    const connect = { timeout: deadlines.headersMs }
    this.#allowPrivateNetworks = allowPrivateNetworks
    this.#trusted = openPools(connect)
    this.#guarded = openPools(allowPrivateNetworks ? connect : { ...connect, lookup: guardedLookup })
  }

  /**
   * The reply to a GET, redirects followed, whatever its status. Throws ADDRESS_REFUSED, HTTP_TIMEOUT, SOURCE_FAILED
   * (no connection, reset, TLS, too many redirects), or the signal's reason.
   */
  async get (url: URL, options: GetOptions): Promise<Reply> {
    const { signal, maxRedirects = 3 } = options
    let isTrusted = options.isTrusted || this.#allowPrivateNetworks
    let headers: Record<string, string> = { ...DEFAULT_HEADERS, ...options.isTrusted ? {} : FOR_OTHERS, ...options.headers }
    let target = url
    for (let redirects = 0; ; redirects++) {
      const reply = await this.#hop(target, { ...options, headers, isTrusted })
      const location = REDIRECTS.has(reply.status) ? reply.headers['location'] : undefined
      if (location === undefined) return reply
      reply.discard()
      signal.throwIfAborted()
      if (redirects === maxRedirects) throw new CodedError('SOURCE_FAILED', `${url.host} redirects more than ${maxRedirects} times`)
      const next = URL.parse(location, target.href)
      if (next === null) throw new CodedError('SOURCE_FAILED', `${target.host} redirects to something that is no URL`)
      headers = { ...FOR_OTHERS, ...next.origin === target.origin ? headers : withoutCredentials(headers) }
      target = next
      isTrusted = this.#allowPrivateNetworks
    }
  }

  /** The reply to a POST, whatever its status: redirects are not followed. Throws as get() does. */
  async post (url: URL, body: string | Buffer, options: Omit<GetOptions, 'maxRedirects'>): Promise<Reply> {
    const isTrusted = options.isTrusted || this.#allowPrivateNetworks
    return await this.#hop(url, { ...options, headers: { ...DEFAULT_HEADERS, ...options.headers }, isTrusted, content: body })
  }

  /** Closes every connection; what is still being read fails. */
  async close (): Promise<void> {
    await Promise.all([this.#trusted, this.#guarded].flatMap(({ h1, h2 }) => [h1.destroy(), h2.destroy()]))
  }

  async #hop (url: URL, { isTrusted, headers, signal, headersTimeoutMs = deadlines.headersMs, bodyTimeoutMs = deadlines.bodyMs, content }: GetOptions & { headers: Record<string, string>, content?: string | Buffer }): Promise<Reply> {
    signal.throwIfAborted()
    if (isTrusted) checkScheme(url)
    else checkUrl(url)
    // undici's own limits begin at the socket; this one also bounds the lookup and the wait for a free connection.
    const deadline = new AbortController()
    const timer = setTimeout(() => {
      deadline.abort(new CodedError('HTTP_TIMEOUT', `${url.host} did not answer within ${headersTimeoutMs} ms`))
    }, headersTimeoutMs)
    const either = AbortSignal.any([signal, deadline.signal])
    try {
      const pending = this.#request(url, isTrusted ? this.#trusted : this.#guarded, {
        method: content === undefined ? 'GET' : 'POST',
        ...(content === undefined ? {} : { body: content }),
        headers: { ...basicAuthorization(url), ...headers },
        signal: either,
        headersTimeout: 0,
        bodyTimeout: bodyTimeoutMs
      })
      // undici hears the signal only once it has a connection.
      const { statusCode, headers: received, body } = await abortable(pending, either).catch((error: unknown) => {
        pending.then(({ body }) => { body.on('error', () => {}).destroy() }, () => {})
        throw error
      })
      body.on('error', () => {}) // an error that comes while nobody reads is told by the next read
      return { status: statusCode, headers: joined(received), url, body: bytesOf(body, url, either), discard: () => { discard(body) } }
    } catch (error) {
      throw reasonOf(error, url, either)
    } finally {
      clearTimeout(timer)
    }
  }

  /** Over HTTP/1.1, or over HTTP/2 where the server wants nothing else. */
  async #request (url: URL, { h1, h2 }: Pools, options: Omit<Dispatcher.RequestOptions<null>, 'origin' | 'path'>): Promise<Dispatcher.ResponseData> {
    const target = withoutUser(url)
    if (!this.#h2Origins.has(url.origin)) {
      try {
        return await request(target, { ...options, dispatcher: h1 })
      } catch (error) {
        if (codeOf(error) !== 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL') throw error
        const [oldest] = this.#h2Origins
        if (oldest !== undefined && this.#h2Origins.size >= MAX_H2_ORIGINS) this.#h2Origins.delete(oldest)
        this.#h2Origins.add(url.origin)
      }
    }
    return await request(target, { ...options, dispatcher: h2 })
  }
}

/**
 * HTTP/1.1 wherever the server takes it: a connection of its own for each piece is what lets a slow or hanging one be
 * given up alone. Over HTTP/2 requests share a connection; its windows are large enough for streams that nobody reads
 * just now not to hold up the others.
 */
function openPools (connect: object): Pools {
  const options = { connections: CONNECTIONS_PER_ORIGIN, pipelining: 1, connect }
  const h2Options = { maxConcurrentStreams: H2_STREAMS, settings: { initialWindowSize: H2_WINDOW_BYTES }, connectionWindowSize: 2 * H2_STREAMS * H2_WINDOW_BYTES }
  return { h1: new Agent({ ...options, allowH2: false }), h2: new Agent({ ...options, allowH2: true, h2Options }) }
}

async function * bytesOf (body: Body, url: URL, signal: AbortSignal): AsyncGenerator<Buffer, void, void> {
  try {
    yield * body.iterator({ destroyOnReturn: false })
  } catch (error) {
    throw reasonOf(error, url, signal)
  } finally {
    discard(body)
  }
}

function discard (body: Body): void {
  if (body.destroyed) return
  let left = DISCARD_LIMIT_BYTES
  const timer = setTimeout(() => { body.destroy() }, DISCARD_TIMEOUT_MS)
  body.once('close', () => { clearTimeout(timer) })
  body.on('data', (chunk: Buffer) => {
    left -= chunk.length
    if (left < 0) body.destroy()
  })
  body.resume()
}

/** Why a request or its body failed: the signal's reason when that aborted, else a coded sentence that names the host only. */
function reasonOf (error: unknown, url: URL, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason
  if (error instanceof CodedError) return error
  if (error instanceof errors.BodyTimeoutError || error instanceof errors.ConnectTimeoutError) {
    return new CodedError('HTTP_TIMEOUT', error instanceof errors.BodyTimeoutError ? `${url.host} fell silent` : `${url.host} cannot be reached`, { cause: error })
  }
  const code = codeOf(error)
  const tlsFault = TLS_FAULTS[code] ?? (/^ERR_(?:SSL|TLS)_/.test(code) ? `TLS failed (${code})` : undefined)
  if (tlsFault !== undefined) return new CodedError('SOURCE_FAILED', `${url.host}: ${tlsFault}`, { cause: error })
  // Several addresses that all failed make an AggregateError, whose message is empty.
  const message = error instanceof Error ? error.message || code || error.name : String(error)
  return new CodedError('SOURCE_FAILED', `${url.host}: ${message}`, { cause: error })
}

function codeOf (error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}

function checkScheme (url: URL): void {
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new CodedError('ADDRESS_REFUSED', `${url.protocol} is not http or https`)
}

function withoutUser (url: URL): URL {
  const plain = new URL(url)
  plain.username = ''
  plain.password = ''
  return plain
}

/** `http://user:password@host/` of the operator, as every HTTP client understands it (RFC 7617). */
function basicAuthorization (url: URL): Record<string, string> {
  if (url.username === '' && url.password === '') return {}
  const credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`
  return { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` }
}

function withoutCredentials (headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !/^(authorization|cookie|x-token|x-api-key|x-rapidapi-key)$/i.test(name)))
}

function joined (headers: Record<string, string | string[] | undefined>): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), Array.isArray(value) ? value.join(', ') : value]))
}
