import { abortable } from '../deadline.ts'
import { deadlines } from '../deadlines.ts'
import { isMockHash } from '../mock/mock-hashes.ts'
import { Slots } from '../slots.ts'
import { selectFile } from './file-selection.ts'
import type { CacheIndex } from '../cache/cache-index.ts'
import type { SourceChain } from '../source-chain.ts'
import type { StreamHistory } from '../stream-history.ts'
import type { Swarm } from '../swarm/swarm.ts'
import type { Survey } from '../swarm/survey.ts'
import type { Metadata } from './metadata.ts'
import type { Torrent } from './torrent.ts'
import type { Torrents } from './torrents.ts'

/** Would this source serve it? `unknown`: it would have to be tried. */
export interface SourceOutlook {
  readonly source: string
  readonly outlook: 'yes' | 'likely' | 'unknown' | 'no'
  readonly reason: string
}

/** What is known of a torrent without starting it. */
export interface TorrentHealth {
  readonly infoHash: string
  /** Seeds and leechers that others know of; null: nobody could tell. */
  readonly peers: number | null
  readonly seeds: number | null
  /** Who told; null: nobody. */
  readonly peersFrom: 'trackers' | 'dht' | 'swarm' | null
  readonly isMetadataKnown: boolean
  readonly sources: readonly SourceOutlook[]
  /** Seconds to the first byte, roughly; null: nobody is known to have it. */
  readonly estimatedStart: number | null
  /** What the estimate goes by. */
  readonly basis: string
  /** ISO 8601: the answer may be up to half a minute old. */
  readonly checkedAt: string
}

export interface TorrentHealthOptions {
  readonly torrents: Pick<Torrents, 'get' | 'knownMetadata'>
  readonly cache: Pick<CacheIndex, 'find'>
  readonly sources: Pick<SourceChain, 'names' | 'resting'>
  readonly history: Pick<StreamHistory, 'of'>
  readonly swarm: Pick<Swarm, 'survey' | 'status'> | null
  readonly isMockOn: boolean
  /** Mirrors that are configured for every torrent. */
  readonly mirrors: number
  /** Why sources that download are off, by name. */
  readonly off: { readonly [source: string]: string | undefined }
}

interface Outlook extends SourceOutlook {
  /** Seconds to the first byte from there, and why; null: nobody can tell. */
  readonly start: { readonly seconds: number, readonly basis: string } | null
}

const CACHED_MS = 30_000
const CACHED_LIMIT = 500
/** An addon has some twenty candidates for one film. */
const CONCURRENCY = 16
const MAX_TRACKERS = 40
/** From here on a swarm has somebody with a good line. */
const MANY_SEEDS = 10

/** Looks at torrents that nobody has started: for whoever has to choose one of many. */
export class TorrentsHealth {
  readonly #options: TorrentHealthOptions
  readonly #slots = new Slots(CONCURRENCY)
  readonly #known = new Map<string, { readonly until: number, readonly health: Promise<TorrentHealth> }>()

  constructor (options: TorrentHealthOptions) {
    this.#options = options
  }

  /** Resolves within `deadlines.healthMs`, for the default file; the same answer for half a minute. Starts nothing. */
  async of (infohash: string, trackers: readonly string[], signal: AbortSignal): Promise<TorrentHealth> {
    const key = JSON.stringify([infohash, trackers])
    const now = performance.now()
    const known = this.#known.get(key)
    if (known !== undefined && known.until > now) return await abortable(known.health, signal)
    const health = this.#look(infohash, trackers)
    this.#known.delete(key)
    this.#known.set(key, { until: now + CACHED_MS, health })
    health.catch(() => { this.#known.delete(key) })
    const [oldest] = this.#known.keys()
    if (oldest !== undefined && this.#known.size > CACHED_LIMIT) this.#known.delete(oldest)
    return await abortable(health, signal)
  }

  async #look (infohash: string, trackers: readonly string[]): Promise<TorrentHealth> {
    const { torrents, cache, swarm } = this.#options
    const torrent = torrents.get(infohash)
    const metadata = await torrents.knownMetadata(infohash)
    const isCached = await cache.find(infohash, null, metadata) !== null
    const isMock = this.#options.isMockOn && isMockHash(infohash)
    const survey = isCached || isMock || swarm === null ? null : await this.#survey(infohash, metadata, [...trackers, ...torrent?.hints.trackers ?? []])
    const peers = peersOf(survey, torrent)
    const outlooks = [
      this.#cache(isCached, torrent),
      ...this.#options.isMockOn ? [outlookOfMock(isMock)] : [],
      this.#p2p(infohash, isMock, peers, metadata, torrent),
      this.#http(infohash, isMock, metadata, torrent)
    ]
    const [first] = outlooks.flatMap(({ start }) => start === null ? [] : [start]).sort((a, b) => a.seconds - b.seconds)
    return {
      infoHash: infohash,
      ...peers,
      isMetadataKnown: metadata !== null,
      sources: outlooks.map(({ source, outlook, reason }) => ({ source, outlook, reason })),
      estimatedStart: first?.seconds ?? null,
      basis: first?.basis ?? 'nobody is known to have it',
      checkedAt: new Date().toISOString()
    }
  }

  /** null: nobody could tell in time. Never rejects. */
  async #survey (infohash: string, metadata: Metadata | null, hinted: readonly string[]): Promise<Survey | null> {
    const { trackers: own = [], isPrivate = false } = metadata ?? {}
    // Of a private one nobody else is told.
    const trackers = [...new Set([...own, ...isPrivate ? [] : hinted])].slice(0, MAX_TRACKERS)
    const signal = AbortSignal.timeout(deadlines.healthMs)
    return await this.#slots.run(async () => await this.#options.swarm?.survey({ infohash, trackers, isPrivate }, signal) ?? null, signal).catch(() => null)
  }

  #cache (isCached: boolean, torrent: Torrent | null): Outlook {
    if (isCached) return { source: 'cache', outlook: 'yes', reason: 'it is in the cache', start: { seconds: 0.1, basis: 'it is in the cache' } }
    const store = torrent?.store ?? null
    const isBegun = store !== null && store.contiguousBytesFrom(selectFile(store.metadata, null).index, 0, 1) > 0
    if (isBegun) return { source: 'cache', outlook: 'likely', reason: 'its beginning is here', start: { seconds: 0.2, basis: 'its beginning is here' } }
    return { source: 'cache', outlook: 'no', reason: 'it is not in the cache', start: null }
  }

  #p2p (infohash: string, isMock: boolean, { peers, seeds }: Peers, metadata: Metadata | null, torrent: Torrent | null): Outlook {
    const { swarm, off } = this.#options
    const no = (reason: string): Outlook => ({ source: 'p2p', outlook: 'no', reason, start: null })
    if (off['p2p'] !== undefined) return no(off['p2p'])
    if (isMock) return no('test hashes never reach the network')
    if (swarm === null || swarm.status.state !== 'ready') return no(swarm?.status.reason ?? 'it is switched off')
    const connected = torrent?.peersConnected ?? 0
    if (connected > 0) return { source: 'p2p', outlook: 'likely', reason: `${connected} peers are connected`, start: { seconds: 1, basis: 'peers are connected' } }
    const resting = this.#restingOf(infohash, 'p2p')
    if (resting !== null) return no(resting)
    if (peers === null) return { source: 'p2p', outlook: 'unknown', reason: 'no tracker and no DHT node told of peers in time', start: null }
    if (peers === 0) return no('no tracker and no DHT node knows a peer')
    const seconds = (seeds ?? 0) >= MANY_SEEDS ? 3 : (seeds ?? 0) > 0 ? 6 : 15
    const known = seeds === null ? `${peers} peers are known` : `${peers} peers are known, ${seeds} of them seeds`
    return { source: 'p2p', outlook: 'likely', reason: known, start: { seconds: metadata === null ? seconds + 3 : seconds, basis: metadata === null ? `${known}; metadata has to come first` : known } }
  }

  #http (infohash: string, isMock: boolean, metadata: Metadata | null, torrent: Torrent | null): Outlook {
    const { off, mirrors, history } = this.#options
    const source = 'http-fallback'
    const no = (reason: string): Outlook => ({ source, outlook: 'no', reason, start: null })
    if (off[source] !== undefined) return no(off[source])
    if (isMock) return no('test hashes never reach the network')
    const resting = this.#restingOf(infohash, source)
    if (resting !== null) return no(resting)
    const seeds = (metadata?.webSeeds.length ?? 0) + (metadata?.httpSeeds.length ?? 0) + (torrent?.hints.webSeeds.size ?? 0) + (torrent?.hints.acceptableSources.size ?? 0)
    const last = history.of(infohash).start
    const timing = last?.source === source ? last.timings.find((each) => each.source === source) : undefined
    if (timing !== undefined) {
      return { source, outlook: 'likely', reason: 'it delivered when it was asked last', start: { seconds: Math.max(0.1, Math.round(timing.durationMs / 100) / 10), basis: 'as long as it took last' } }
    }
    if (seeds > 0) return { source, outlook: 'likely', reason: `the torrent names ${seeds} web seeds`, start: { seconds: 2, basis: 'the torrent has web seeds' } }
    if (mirrors === 0 && metadata !== null) return no('the torrent names no web seed, and no mirror is configured')
    if (mirrors === 0) return { source, outlook: 'unknown', reason: 'whether the torrent names web seeds is not known', start: null }
    return { source, outlook: 'unknown', reason: `${mirrors} mirrors are configured; whether they have it is not known`, start: null }
  }

  #restingOf (infohash: string, source: string): string | null {
    return this.#options.sources.resting(infohash).find((refusal) => refusal.source === source)?.message ?? null
  }
}

type Peers = Pick<TorrentHealth, 'peers' | 'seeds' | 'peersFrom'>

/** The largest number that somebody told; what trackers say knows seeds from others. */
function peersOf (survey: Survey | null, torrent: Torrent | null): Peers {
  const { seeds = null, leechers = null, dhtPeers = null } = survey ?? {}
  const fromTrackers = seeds === null ? null : seeds + (leechers ?? 0)
  const connected = torrent?.peersConnected ?? 0
  const most = Math.max(fromTrackers ?? 0, dhtPeers ?? 0, connected)
  if (fromTrackers !== null && fromTrackers === most) return { peers: most, seeds, peersFrom: 'trackers' }
  if (dhtPeers !== null && dhtPeers === most) return { peers: most, seeds: seeds === 0 ? null : seeds, peersFrom: 'dht' }
  return connected > 0 ? { peers: most, seeds: null, peersFrom: 'swarm' } : { peers: null, seeds: null, peersFrom: null }
}

function outlookOfMock (isMock: boolean): Outlook {
  return isMock
    ? { source: 'mock', outlook: 'yes', reason: 'it is a test hash', start: { seconds: 0.1, basis: 'it is a test hash' } }
    : { source: 'mock', outlook: 'no', reason: 'it is no test hash', start: null }
}
