import { CodedError } from '../errors.ts'
import { parseInfohash } from './infohash.ts'
import { httpUrls, trackerUrls } from './urls.ts'

/** What a magnet link says (BEP 9, BEP 53). All of it is a stranger's word: no URL or peer here was checked by the address guard. */
export interface Magnet {
  /** 40 lower-case hex digits. */
  readonly infohash: string
  /** `dn` */
  readonly name: string | null
  /** `tr` */
  readonly trackers: readonly string[]
  /** `xs`: where the `.torrent` is, http(s) only. */
  readonly exactSources: readonly string[]
  /** `ws`: web seeds (BEP 19), http(s) only. */
  readonly webSeeds: readonly string[]
  /** `as`: where the content itself is, http(s) only. */
  readonly acceptableSources: readonly string[]
  /** `x.pe`: `host:port` or `[address]:port`. */
  readonly peers: readonly string[]
  /** `so`: zero-based file indexes, ascending; empty when the link does not choose. */
  readonly selectOnly: readonly number[]
}

const maxLength = 100_000
const maxTrackers = 20
const maxSources = 20
const maxPeers = 50

/** As many as a torrent may have files. */
const maxSelected = 100_000

/**
 * Parses a magnet link. Values keep a raw `=`, may be encoded badly, and parameters may be numbered (`tr.1`); unknown
 * parameters, repetitions and URLs of other schemes are left out.
 *
 * Throws CodedError MAGNET_INVALID whose message says what is wrong and what to do.
 */
export function parseMagnet (uri: string): Magnet {
  const text = uri.trim()
  if (!/^magnet:\?/i.test(text)) throw invalid('it does not start with "magnet:?"; copy the whole link')
  if (text.length > maxLength) throw invalid(`it has ${text.length} characters, more than ${maxLength}; leave trackers out`)
  const values = valuesOf(text.slice('magnet:?'.length))
  const all = (key: string): string[] => values.get(key) ?? []
  return {
    infohash: infohashOf(all('xt')),
    name: all('dn').find(name => name !== '') ?? null,
    trackers: trackerUrls(all('tr'), maxTrackers),
    exactSources: httpUrls(all('xs'), maxSources),
    webSeeds: httpUrls(all('ws'), maxSources),
    acceptableSources: httpUrls(all('as'), maxSources),
    peers: [...new Set(all('x.pe').filter(isPeer))].slice(0, maxPeers),
    selectOnly: selectionOf(all('so'))
  }
}

/** A magnet link that every client reads: all values percent-encoded but for `x.pe` and `so`, which some do not decode. */
export function formatMagnet (magnet: Pick<Magnet, 'infohash'> & Partial<Magnet>): string {
  const pairs = [`xt=urn:btih:${magnet.infohash}`]
  const add = (key: string, value: string): number => pairs.push(`${key}=${encodeURIComponent(value.toWellFormed())}`)
  if (magnet.name !== undefined && magnet.name !== null) add('dn', magnet.name)
  for (const url of magnet.trackers ?? []) add('tr', url)
  for (const url of magnet.exactSources ?? []) add('xs', url)
  for (const url of magnet.webSeeds ?? []) add('ws', url)
  for (const url of magnet.acceptableSources ?? []) add('as', url)
  for (const peer of magnet.peers ?? []) if (isPeer(peer)) pairs.push(`x.pe=${peer}`)
  if (magnet.selectOnly !== undefined && magnet.selectOnly.length > 0) pairs.push(`so=${rangesOf(magnet.selectOnly)}`)
  return `magnet:?${pairs.join('&')}`
}

/** Values by key in lower case, without the number of `tr.1` and without the `amp;` of a link copied out of HTML. */
function valuesOf (query: string): Map<string, string[]> {
  const values = new Map<string, string[]>()
  for (const pair of query.split('&')) {
    const equals = pair.indexOf('=')
    if (equals === -1) continue
    const key = pair.slice(0, equals).toLowerCase().replace(/^amp;/, '').replace(/\.\d+$/, '')
    const raw = pair.slice(equals + 1)
    // a plus is a space in a name, and itself in a URL
    const value = percentDecoded(key === 'dn' ? raw.replaceAll('+', ' ') : raw)
    const known = values.get(key)
    if (known === undefined) values.set(key, [value])
    else known.push(value)
  }
  return values
}

/** Unlike decodeURIComponent, URLSearchParams throws at nothing; its reading of `+` is kept out. */
function percentDecoded (text: string): string {
  return new URLSearchParams(`value=${text.replaceAll('+', '%2B')}`).get('value') ?? ''
}

function infohashOf (topics: readonly string[]): string {
  let malformed: string | null = null
  for (const topic of topics) {
    const hash = /^urn:btih:(.*)$/is.exec(topic.trim())?.[1]
    if (hash === undefined) continue
    const infohash = parseInfohash(hash)
    if (infohash !== null) return infohash
    malformed = hash
  }
  if (malformed !== null) {
    throw invalid(`its infohash "${malformed.slice(0, 80)}" is neither 40 hex digits nor 32 base32 characters; copy the whole link`)
  }
  if (topics.some(topic => /^urn:btmh:/i.test(topic.trim()))) {
    throw invalid('it names a BitTorrent v2 torrent only (urn:btmh); use a link that also has the v1 infohash (xt=urn:btih:…)')
  }
  throw invalid('it has no infohash (xt=urn:btih:…); copy the whole link')
}

function isPeer (text: string): boolean {
  const port = /^(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\]):(\d{1,5})$/i.exec(text)?.[1]
  return port !== undefined && Number(port) >= 1 && Number(port) <= 65535
}

/** BEP 53: `0,2,4,6-8`, both ends included. What is malformed or beyond any torrent is left out. */
function selectionOf (lists: readonly string[]): number[] {
  const ranges: Array<{ first: number, last: number }> = []
  for (const part of lists.join(',').split(',')) {
    const range = /^(\d{1,15})(?:-(\d{1,15}))?$/.exec(part.trim())
    if (range === null) continue
    ranges.push({ first: Number(range[1]), last: Math.min(Number(range[2] ?? range[1]), maxSelected - 1) })
  }
  // in order, so that a thousand ranges over the same files cost no more than one
  ranges.sort((a, b) => a.first - b.first)
  const selected: number[] = []
  let next = 0
  for (const { first, last } of ranges) {
    for (let index = Math.max(first, next); index <= last; index++) selected.push(index)
    next = Math.max(next, last + 1)
  }
  return selected
}

function rangesOf (indexes: readonly number[]): string {
  const ranges: Array<{ first: number, last: number }> = []
  for (const index of [...new Set(indexes)].sort((a, b) => a - b)) {
    const range = ranges.at(-1)
    if (range !== undefined && range.last === index - 1) range.last = index
    else ranges.push({ first: index, last: index })
  }
  return ranges.map(({ first, last }) => first === last ? `${first}` : `${first}-${last}`).join(',')
}

function invalid (what: string): CodedError {
  return new CodedError('MAGNET_INVALID', `this magnet link cannot be used: ${what}`)
}
