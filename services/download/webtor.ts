import { CodedError } from '../errors.ts'
import { retryAfterMs } from './range-reply.ts'
import { deadlines } from '../deadlines.ts'
import type { Fetcher, Reply } from './fetcher.ts'
import type { MirrorFault } from './mirror.ts'

export interface WebtorAccess {
  /** Where the REST API is, without a query. */
  readonly url: string
  /** X-Token: a JWT. */
  readonly token: string | null
  /** X-Api-Key. */
  readonly apiKey: string | null
}

/** A file or folder, as `/list` and an export name it. Older servers say no index. */
export interface WebtorItem {
  readonly id: string | null
  readonly path: string | null
  readonly size: number | null
  readonly index: number | null
  readonly isFile: boolean
}

export interface WebtorExport {
  readonly url: URL
  /** It is on the operator's own host, so the address guard does not ask about it. */
  readonly isTrusted: boolean
  /** When its token ends, milliseconds since 1970; null: it does not say. */
  readonly expiresAt: number | null
  readonly item: WebtorItem
}

/** The API said no, or something that it should not say. */
export class WebtorRefusal extends Error {
  readonly verdict: MirrorFault['verdict']

  constructor (verdict: MirrorFault['verdict']) {
    super(verdict.why)
    this.name = 'WebtorRefusal'
    this.verdict = verdict
  }
}

interface Ask {
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  /** With it the request is a POST. */
  readonly body?: string | Buffer
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

/** The API itself gives up the search for metadata after three minutes. */
const ANSWER_LIMIT_BYTES = 4 * 1024 * 1024
const LIST_LIMIT = 1000
const LIST_MAX_ITEMS = 100_000
/** Where it says that it is busy and not for how long. */
const BUSY_MS = 5000
const NO_METADATA_MS = 60_000
const SAID_LENGTH = 200

/**
 * The REST API of WebTor.io (webtor-io/rest-api), the hosted one or one's own. All methods throw WebtorRefusal, HTTP_TIMEOUT,
 * SOURCE_FAILED or the signal's reason. While it has said that it is busy (429, 503) it is not asked.
 */
export class Webtor {
  readonly #base: URL
  readonly #access: WebtorAccess
  readonly #fetcher: Fetcher
  #busyUntil = -Infinity

  constructor (access: WebtorAccess, fetcher: Fetcher) {
    this.#base = new URL(access.url)
    this.#access = access
    this.#fetcher = fetcher
  }

  /** For people: the host. */
  get name (): string { return this.#base.host }

  /**
   * Hands over a magnet link, or the bytes of a `.torrent`; resolves with the torrent's id there, once the API has its
   * metadata. For a magnet that it does not know it asks its own swarm, for minutes.
   */
  async add (resource: string | Buffer, signal: AbortSignal): Promise<string> {
    // With the slash: without it the answer is a redirect.
    const { status, value } = await this.#ask({ path: 'resource/', body: resource, timeoutMs: deadlines.webtorMetadataMs, signal })
    if (status !== 200) throw this.#refused(status, value)
    const id = text(value, 'id')
    if (id === null) throw failed('it names no resource')
    return id.toLowerCase()
  }

  /**
   * The address of a file of it, by its number in the torrent or by its id there. Null where the API knows no such content:
   * older ones know no numbers.
   */
  async export (id: string, contentId: string, signal: AbortSignal): Promise<WebtorExport | null> {
    const path = `resource/${encodeURIComponent(id)}/export/${encodeURIComponent(contentId)}`
    const { status, value } = await this.#ask({ path, query: { types: 'download' }, timeoutMs: deadlines.webtorMs, signal })
    if (status === 400 || status === 404 || status === 500) return null
    if (status !== 200) throw this.#refused(status, value)
    // Where no domain is set up the address begins with the path.
    const url = URL.parse(text(field(field(value, 'exports'), 'download'), 'url') ?? '', this.#base.href)
    if (url === null || !/^https?:$/.test(url.protocol) || url.href === this.#base.href) throw failed('it exports no address')
    return {
      url,
      isTrusted: url.hostname === this.#base.hostname,
      expiresAt: expiryOf(url.searchParams.get('token') ?? ''),
      item: itemOf(field(value, 'source'))
    }
  }

  /** What is in it, files and folders, in the torrent's order. */
  async * list (id: string, signal: AbortSignal): AsyncGenerator<WebtorItem, void, void> {
    for (let offset = 0; offset < LIST_MAX_ITEMS; offset += LIST_LIMIT) {
      const query = { output: 'list', limit: String(LIST_LIMIT), offset: String(offset) }
      const { status, value } = await this.#ask({ path: `resource/${encodeURIComponent(id)}/list`, query, timeoutMs: deadlines.webtorMs, signal })
      if (status !== 200) throw this.#refused(status, value)
      const items = field(value, 'items')
      if (!Array.isArray(items)) return
      for (const item of items) yield itemOf(item)
      if (items.length < LIST_LIMIT) return
    }
  }

  async #ask ({ path, query = {}, body, timeoutMs, signal }: Ask): Promise<{ status: number, value: unknown }> {
    const busyMs = this.#busyUntil - performance.now()
    if (busyMs > 0) throw failed('it is busy', busyMs)
    const url = webtorUrl(this.#access, path)
    url.search = new URLSearchParams(query).toString()
    const deadline = new AbortController()
    const timer = setTimeout(() => { deadline.abort(new CodedError('HTTP_TIMEOUT', `${url.host} did not answer within ${timeoutMs} ms`)) }, timeoutMs)
    try {
      const options = { isTrusted: true, headers: webtorHeaders(this.#access), signal: AbortSignal.any([signal, deadline.signal]), headersTimeoutMs: timeoutMs }
      const reply = body === undefined ? await this.#fetcher.get(url, options) : await this.#fetcher.post(url, body, options)
      try {
        if (reply.status === 429 || reply.status === 503) {
          const waitMs = retryAfterMs(reply.headers['retry-after']) || BUSY_MS
          this.#busyUntil = performance.now() + waitMs
          throw failed(`it is busy (status ${reply.status})`, waitMs)
        }
        return { status: reply.status, value: await readJson(reply) }
      } finally {
        reply.discard()
      }
    } finally {
      clearTimeout(timer)
    }
  }

  #refused (status: number, value: unknown): WebtorRefusal {
    const said = this.#said(value)
    if (status === 401 || status === 403) return notHere(`it refuses us (status ${status}${said}): WEBTOR_TOKEN or WEBTOR_API_KEY is missing, wrong or has expired, or the content is blocked there`)
    if (status === 408 || status === 504) return failed(`it found no metadata in time (status ${status})`, NO_METADATA_MS)
    if (status >= 300 && status < 400) return notHere(`it redirects (status ${status}): WEBTOR_URL is not where the API is`)
    return status >= 500 ? failed(`status ${status}${said}`) : notHere(`status ${status}${said}`)
  }

  /** Its words, without what must not be shown. */
  #said (value: unknown): string {
    let words = text(value, 'error') ?? ''
    for (const secret of [this.#access.token, this.#access.apiKey]) if (secret !== null) words = words.replaceAll(secret, '…')
    // eslint-disable-next-line no-control-regex
    words = words.replace(/[\0-\x1f\x7f]+/g, ' ').trim().slice(0, SAID_LENGTH)
    return words === '' ? '' : `, ${words}`
  }
}

/** Where `path` of the API is. */
export function webtorUrl ({ url: base }: WebtorAccess, path: string): URL {
  const url = new URL(base)
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/${path}`
  return url
}

/** What the API knows us by. RapidAPI, a market of APIs, has headers of its own and takes no others. */
export function webtorHeaders ({ url, token, apiKey }: WebtorAccess): Record<string, string> {
  const { hostname } = new URL(url)
  if (hostname.endsWith('.rapidapi.com')) return { 'x-rapidapi-host': hostname, ...(apiKey === null ? {} : { 'x-rapidapi-key': apiKey }) }
  return { ...(token === null ? {} : { 'x-token': token }), ...(apiKey === null ? {} : { 'x-api-key': apiKey }) }
}

/** null: it is no JSON. */
async function readJson ({ status, body }: Reply): Promise<unknown> {
  const chunks: Buffer[] = []
  let lengthBytes = 0
  for await (const chunk of body) {
    lengthBytes += chunk.length
    if (lengthBytes > ANSWER_LIMIT_BYTES) throw failed(`its answer has more than ${ANSWER_LIMIT_BYTES} bytes`)
    chunks.push(chunk)
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString())
  } catch {
    if (status === 200) throw failed('its answer is no JSON: WEBTOR_URL is not where the API is')
    return null
  }
}

function itemOf (value: unknown): WebtorItem {
  return { id: text(value, 'id'), path: text(value, 'path'), size: number(value, 'size'), index: number(value, 'index'), isFile: text(value, 'type') !== 'directory' }
}

/** The `exp` of a JWT (RFC 7519 section 4.1.4) in milliseconds; null: it has none. Nobody is believed anything for it. */
function expiryOf (token: string): number | null {
  try {
    const seconds = number(JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()), 'exp')
    return seconds === null ? null : seconds * 1000
  } catch {
    return null
  }
}

function field (value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Object.entries(value).find(([key]) => key === name)?.[1] : undefined
}

function text (value: unknown, name: string): string | null {
  const found = field(value, name)
  return typeof found === 'string' ? found : null
}

function number (value: unknown, name: string): number | null {
  const found = field(value, name)
  return typeof found === 'number' && Number.isFinite(found) ? found : null
}

function failed (why: string, retryAfterMs = 0): WebtorRefusal {
  return new WebtorRefusal({ kind: 'failed', why, isBusy: false, retryAfterMs })
}

function notHere (why: string): WebtorRefusal {
  return new WebtorRefusal({ kind: 'not-here', why })
}
