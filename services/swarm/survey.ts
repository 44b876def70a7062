import { isIPv4 } from 'node:net'
import { Client } from 'bittorrent-tracker'
import { abortable } from '../deadline.ts'
import { deadlines } from '../deadlines.ts'
import { checkTracker } from '../download/address-guard.ts'
import { askTracker, percentEncoded } from './http-tracker.ts'
import { publicV4, readTracker } from './trackers.ts'
import type { Fetcher } from '../download/fetcher.ts'
import type { Dictionary } from '../torrent/bencode.ts'
import type { Dht } from 'webtorrent'

/** What others know of a swarm that nobody joined for it. */
export interface Survey {
  /** Seeds and leechers of the tracker that knows of most; null: none has told. */
  readonly seeds: number | null
  readonly leechers: number | null
  /** Addresses that the DHT has; null: it could not be asked. */
  readonly dhtPeers: number | null
  readonly trackersAsked: number
  readonly trackersAnswered: number
}

export interface SurveyOptions {
  readonly infohash: string
  readonly trackers: readonly string[]
  /** Those that the operator configured. */
  readonly trusted: ReadonlySet<string>
  readonly allowPrivateNetworks: boolean
  readonly fetcher: Pick<Fetcher, 'get'>
  readonly dht: Dht | null
  readonly userAgent: string
}

interface Scraped {
  readonly seeds: number
  readonly leechers: number
}

const MAX_TRACKERS = 8
/** So many are plenty, and more a lie. */
const MOST = 10_000_000
/** Where to scrape is where to announce, with another word (BEP 48). */
const announceWord = /\/announce(?=[^/]*$)/

/**
 * Asks up to eight trackers how many peers there are (scrape: BEP 48, and BEP 15 for UDP; WebSocket trackers are left
 * out) and the DHT who they are (get_peers, BEP 5). Nothing is announced, so nobody hears of us as a peer. Resolves after
 * `deadlines.surveyMs` at the latest, with what is known by then.
 */
export async function survey (options: SurveyOptions): Promise<Survey> {
  const stop = new AbortController()
  const timer = setTimeout(() => { stop.abort(new Error('the survey is over')) }, deadlines.surveyMs)
  try {
    const trackers = options.trackers.filter((tracker) => !/^ws/i.test(tracker)).slice(0, MAX_TRACKERS)
    const [scraped, dhtPeers] = await Promise.all([
      Promise.all(trackers.map(async (tracker) => await scrape(tracker, options, stop.signal).catch(() => null))),
      options.dht === null ? null : countPeers(options.dht, options.infohash, stop.signal)
    ])
    const answers = scraped.filter((answer) => answer !== null)
    const [best] = answers.toSorted((a, b) => b.seeds + b.leechers - a.seeds - a.leechers)
    return { seeds: best?.seeds ?? null, leechers: best?.leechers ?? null, dhtPeers, trackersAsked: trackers.length, trackersAnswered: answers.length }
  } finally {
    clearTimeout(timer)
    stop.abort()
  }
}

async function scrape (tracker: string, options: SurveyOptions, signal: AbortSignal): Promise<Scraped> {
  const { trusted, allowPrivateNetworks } = options
  const isTrusted = trusted.has(tracker) || allowPrivateNetworks
  const { protocol, url } = readTracker(tracker)
  if (!isTrusted) checkTracker(url, protocol)
  if (protocol !== 'udp:') return await scrapeHttp(new URL(tracker), isTrusted, options, signal)
  const port = url.port === '' ? 80 : url.port
  if (isTrusted) return await scrapeUdp(`udp://${url.hostname}:${port}`, options, signal)
  const [address] = await abortable(publicV4(url.hostname), signal)
  if (address === undefined || !isIPv4(address)) throw new Error(`${url.hostname} resolves to no public address of another machine`)
  return await scrapeUdp(`udp://${address}:${port}`, options, signal)
}

async function scrapeHttp (url: URL, isTrusted: boolean, { infohash, fetcher, userAgent }: SurveyOptions, signal: AbortSignal): Promise<Scraped> {
  if (!announceWord.test(url.pathname)) throw new Error('this tracker cannot be scraped')
  url.pathname = url.pathname.replace(announceWord, '/scrape')
  const hash = Buffer.from(infohash, 'hex')
  url.search = [...url.search === '' ? [] : [url.search.slice(1)], `info_hash=${percentEncoded(hash)}`].join('&')
  const files = (await askTracker(url, { isTrusted, fetcher, userAgent, signal })).get('files')
  const key = hash.toString('latin1')
  // Trackers in JavaScript send the key as UTF-8.
  const file = files instanceof Map ? files.get(key) ?? files.get(Buffer.from(key).toString('latin1')) : undefined
  // It knows of nobody, and says so by leaving it out.
  if (file === undefined) return { seeds: 0, leechers: 0 }
  if (!(file instanceof Map)) throw new Error('the answer is none')
  return { seeds: countIn(file, 'complete'), leechers: countIn(file, 'incomplete') }
}

async function scrapeUdp (announce: string, { infohash, userAgent }: SurveyOptions, signal: AbortSignal): Promise<Scraped> {
  const client = new Client({ infoHash: infohash, peerId: '2d5353303030302d303030303030303030303030', announce: [announce], port: 1, userAgent, wrtc: false })
  const { promise, resolve, reject } = Promise.withResolvers<Scraped>()
  for (const event of ['error', 'warning']) client.on(event, reject)
  client.on('scrape', (answer: unknown) => {
    const facts = typeof answer === 'object' && answer !== null ? new Map(Object.entries(answer)) : new Map<string, unknown>()
    resolve({ seeds: bounded(facts.get('complete')), leechers: bounded(facts.get('incomplete')) })
  })
  try {
    client.scrape()
    return await abortable(promise, signal)
  } finally {
    // Errors that come late have nobody else to take them.
    client.on('error', () => {})
    client.destroy()
  }
}

/** How many addresses the DHT has; null: no node of it is known. Never rejects. */
async function countPeers (dht: Dht, infohash: string, signal: AbortSignal): Promise<number | null> {
  if (dht.nodes.count() === 0) return null
  const found = new Set<string>()
  const onPeer = (peer: unknown, hash: unknown): void => {
    if (found.size >= MOST || !Buffer.from(hash instanceof Uint8Array ? hash : []).equals(Buffer.from(infohash, 'hex'))) return
    if (typeof peer === 'object' && peer !== null && 'host' in peer && 'port' in peer) found.add(`${String(peer.host)}:${String(peer.port)}`)
  }
  const over = Promise.withResolvers<undefined>()
  dht.on('peer', onPeer)
  const abort = dht.lookup(infohash, () => { over.resolve(undefined) })
  try {
    await abortable(over.promise, signal).catch(() => {})
  } finally {
    abort()
    dht.off('peer', onPeer)
  }
  return found.size
}

function countIn (file: Dictionary, key: string): number {
  return bounded(file.get(key))
}

function bounded (count: unknown): number {
  return typeof count === 'number' && Number.isSafeInteger(count) ? Math.min(Math.max(count, 0), MOST) : 0
}
