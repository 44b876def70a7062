import { createHash } from 'node:crypto'
import { CodedError } from '../errors.ts'
import { getBytes, getTorrent } from './torrent-get.ts'
import { expand } from './mirrors.ts'
import { webtorHeaders, webtorUrl } from './webtor.ts'
import type { Metadata } from '../torrent/metadata.ts'
import type { Fetcher } from './fetcher.ts'
import type { WebtorAccess } from './webtor.ts'

/** One way to a torrent's metadata by its infohash. */
export interface MetadataWay {
  /** Tells it from the other ways; holds no secret. */
  readonly id: string
  /** For people: the host. */
  readonly name: string
  /** `scheme://host:port` that is asked. */
  readonly origin: string
  /** Throws as getTorrent does. */
  ask (infohash: string, options: Asking): Promise<Metadata>
}

export interface Asking {
  readonly fetcher: Fetcher
  readonly signal: AbortSignal
  /** For each request, redirects and body included. */
  readonly timeoutMs: number
}

const SEARCH_LIMIT_BYTES = 1024 * 1024
const MAX_ITEMS = 3
/** An identifier of the Internet Archive: letters, digits, `_`, `-` and `.`, at most 100, none of the last two first. */
const ITEM = /^[a-z0-9_][\w.-]{0,99}$/i

/**
 * The operator's caches of `.torrent` files: URLs with `{hash}` (lower case) or `{HASH}` (upper case). One whose path
 * ends in `/advancedsearch.php` is the search of an Internet Archive, whose answer names the item that has the torrent.
 */
export function templateWays (templates: readonly string[], infohash: string): MetadataWay[] {
  return templates.flatMap((template, i) => {
    const url = URL.parse(expand(template, { hash: infohash, HASH: infohash.toUpperCase() }))
    if (url === null) return []
    const ask: MetadataWay['ask'] = url.pathname.endsWith('/advancedsearch.php')
      ? async (infohash, options) => await askArchive(url, infohash, options)
      : async (infohash, options) => await getTorrent(url, infohash, { ...options, isTrusted: true })
    return [{ id: `template ${i}`, name: url.host, origin: url.origin, ask }]
  })
}

/** A WebTor.io REST API keeps the `.torrent` of what it knows: `GET /resource/{hash}.torrent`. */
export function webtorWay (access: WebtorAccess): MetadataWay[] {
  const { host, origin } = new URL(access.url)
  return [{
    id: 'webtor',
    name: host,
    origin,
    async ask (infohash, options) {
      return await getTorrent(webtorUrl(access, `resource/${infohash}.torrent`), infohash, { ...options, headers: webtorHeaders(access), isTrusted: true })
    }
  }]
}

/** URLs of this very `.torrent` that a stranger named (`xs` of a magnet): the address guard looks at them. */
export function exactWays (urls: readonly string[]): MetadataWay[] {
  return urls.flatMap((text) => {
    const url = URL.parse(text)
    if (url === null) return []
    const ask: MetadataWay['ask'] = async (infohash, options) => await getTorrent(url, infohash, { ...options, isTrusted: false })
    return [{ id: `xs ${createHash('sha1').update(url.href).digest('base64')}`, name: url.host, origin: url.origin, ask }]
  })
}

/**
 * The Internet Archive knows its items' torrents by infohash (search field `btih`), and has each at
 * `/download/{item}/{item}_archive.torrent`, from where it redirects to one of its machines.
 */
async function askArchive (search: URL, infohash: string, options: Asking): Promise<Metadata> {
  const items = itemsOf(await getBytes(search, SEARCH_LIMIT_BYTES, { ...options, isTrusted: true }))
  if (items.length === 0) throw new CodedError('METADATA_NOT_FOUND', 'no item has this torrent')
  try {
    return await Promise.any(items.map(async (item) => {
      const url = new URL(`download/${item}/${item}_archive.torrent`, search)
      return await getTorrent(url, infohash, { ...options, isTrusted: true })
    }))
  } catch (error) {
    throw error instanceof AggregateError ? error.errors[0] : error
  }
}

/** `{ "response": { "docs": [{ "identifier": … }] } }` */
function itemsOf (answer: Buffer): string[] {
  const docs = valueAt(valueAt(jsonOf(answer), 'response'), 'docs')
  if (!Array.isArray(docs)) throw new CodedError('SOURCE_FAILED', 'the answer is no result of a search')
  const items = docs.map((doc: unknown) => valueAt(doc, 'identifier'))
  return [...new Set(items.filter((item) => typeof item === 'string').filter((item) => ITEM.test(item)))].slice(0, MAX_ITEMS)
}

function jsonOf (bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch (error) {
    throw new CodedError('SOURCE_FAILED', 'the answer is no JSON', { cause: error })
  }
}

function valueAt (value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? Object.entries(value).find(([name]) => name === key)?.[1] : undefined
}
