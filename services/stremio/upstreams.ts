import { abortable } from '../deadline.ts'
import { deadlines } from '../deadlines.ts'
import { CodedError } from '../errors.ts'
import { viaOf } from '../download/via.ts'
import { isWebReady } from './library-streams.ts'
import { fileOfEpisode } from './library.ts'
import { episodeOfId } from './protocol.ts'
import { asUrlStream, parseStreams } from './upstream-stream.ts'
import type { CacheIndex } from '../cache/cache-index.ts'
import type { Fetcher } from '../download/fetcher.ts'
import type { Alternative, Links } from '../links.ts'
import type { Log } from '../log.ts'
import type { TorrentsHealth } from '../torrent/torrent-health.ts'
import type { Torrents } from '../torrent/torrents.ts'
import type { UpstreamStream, UpstreamTorrent } from './upstream-stream.ts'

export interface UpstreamsOptions {
  readonly fetcher: Pick<Fetcher, 'get'>
  readonly cache: Pick<CacheIndex, 'find'>
  readonly torrents: Pick<Torrents, 'knownMetadata'>
  readonly health: Pick<TorrentsHealth, 'of'>
  /** The name of this server among others (services/download/via.ts). */
  readonly hop: string
  readonly log: Log
}

/** Another addon whose torrents are offered as streams of this server. */
export interface UpstreamAddon {
  /** Of its manifest. */
  readonly url: string
  /** The operator named it: it may be in his own network. */
  readonly isTrusted: boolean
}

export interface UpstreamQuestion {
  readonly type: string
  readonly id: string
  /** As the client sent it, still encoded; empty: none. */
  readonly extra: string
  /** The servers that the client's own request came through. */
  readonly hops: readonly string[]
}

interface Candidate {
  readonly stream: UpstreamStream
  readonly addon: number
  fileIndex: number | null
  name: string | null
  rank: Rank
}

/** Cached ones come first, dead ones last. */
type Rank = 'cached' | 'open' | 'dead'
const ranks: Readonly<Record<Rank, number>> = { cached: 0, open: 1, dead: 2 }
const marks: Readonly<Record<Rank, string>> = { cached: '⚡ ', open: '', dead: '💤 ' }

const MAX_ANSWER_BYTES = 2_000_000
const MAX_STREAMS = 500
/** Of so many torrents it is asked who has them; the others stay where they are. */
const MAX_CHECKED = 32
const MAX_ALTERNATIVES = 2

/** Asks other addons, and makes their torrents streams of this server. */
export class Upstreams {
  readonly #options: UpstreamsOptions

  constructor (options: UpstreamsOptions) {
    this.#options = options
  }

  /**
   * What these addons have, in their order, cached ones first, dead ones last: all that is there after `deadlines.upstreamsMs`,
   * sooner when all have answered. `isComplete`: none of them failed or was too late. Rejects with the signal's reason only.
   */
  async streams (addons: readonly UpstreamAddon[], question: UpstreamQuestion, links: Links, signal: AbortSignal): Promise<{ readonly streams: object[], readonly isComplete: boolean }> {
    if (!/^[\w-]{1,40}$/.test(question.type) || question.id.length > 300) return { streams: [], isComplete: true }
    const late = new AbortController()
    const timer = setTimeout(() => { late.abort(new CodedError('HTTP_TIMEOUT', `it did not answer within ${deadlines.upstreamsMs} ms`)) }, deadlines.upstreamsMs)
    const limit = AbortSignal.any([signal, late.signal])
    const checks = new Map<string, Promise<boolean>>()
    let isComplete = true
    try {
      const lists = await Promise.all(addons.map(async (addon, index): Promise<Candidate[]> => {
        try {
          const streams = await abortable(this.#ask(addon, question, limit), limit)
          const candidates = streams.map((stream) => ({ stream, addon: index, fileIndex: stream.torrent?.fileIndex ?? null, name: stream.torrent?.name ?? null, rank: 'open' as const }))
          await Promise.all(candidates.map(async (candidate) => { await this.#judge(candidate, question.id, checks, limit) }))
          return candidates
        } catch (error) {
          signal.throwIfAborted()
          isComplete = false
          // Only the host: the rest of the address may be somebody's key.
          this.#options.log.info({ addon: URL.parse(addon.url)?.host, reason: error instanceof Error ? error.message : String(error) }, 'an addon did not answer')
          return []
        }
      }))
      signal.throwIfAborted()
      return { streams: present(lists.flat(), links), isComplete: isComplete && !late.signal.aborted }
    } finally {
      clearTimeout(timer)
    }
  }

  async #ask ({ url, isTrusted }: UpstreamAddon, { type, id, extra, hops }: UpstreamQuestion, signal: AbortSignal): Promise<UpstreamStream[]> {
    const target = streamUrl(url, type, id, extra)
    if (target === null) throw new CodedError('SOURCE_FAILED', 'its address is none of a manifest')
    const reply = await this.#options.fetcher.get(target, { isTrusted, signal, headers: { accept: 'application/json', via: viaOf(hops, this.#options.hop) } })
    // It has nothing of this kind.
    if (reply.status === 404) {
      reply.discard()
      return []
    }
    if (reply.status !== 200) {
      reply.discard()
      throw new CodedError('SOURCE_FAILED', `it answered ${reply.status}`)
    }
    const chunks: Buffer[] = []
    let length = 0
    for await (const chunk of reply.body) {
      length += chunk.length
      if (length > MAX_ANSWER_BYTES) throw new CodedError('SOURCE_FAILED', `its answer has more than ${MAX_ANSWER_BYTES} bytes`)
      chunks.push(chunk)
    }
    const streams = parseStreams(parseJson(Buffer.concat(chunks).toString()))
    if (streams === null) throw new CodedError('SOURCE_FAILED', 'its answer has no list of streams')
    return streams
  }

  /** Finds out what can be known of a torrent in the time that is left; never rejects. */
  async #judge (candidate: Candidate, id: string, checks: Map<string, Promise<boolean>>, signal: AbortSignal): Promise<void> {
    const { torrent } = candidate.stream
    if (torrent === null) return
    const { infohash, trackers } = torrent
    try {
      const metadata = await abortable(this.#options.torrents.knownMetadata(infohash), signal)
      const episode = episodeOfId(id)
      if (metadata !== null && candidate.fileIndex === null && episode !== null) candidate.fileIndex = fileOfEpisode(metadata, episode)?.index ?? null
      if (metadata !== null && candidate.fileIndex !== null) candidate.name = metadata.files[candidate.fileIndex]?.name ?? candidate.name
      if (await this.#options.cache.find(infohash, candidate.fileIndex, metadata, signal) !== null) {
        candidate.rank = 'cached'
        return
      }
      if (!checks.has(infohash) && checks.size >= MAX_CHECKED) return
      const check = checks.get(infohash) ?? this.#options.health.of(infohash, trackers, signal).then(({ sources }) => sources.every(({ outlook }) => outlook === 'no'))
      checks.set(infohash, check)
      if (await abortable(check, signal)) candidate.rank = 'dead'
    } catch {
      // Not known in time: it stays where its addon has put it.
    }
  }
}

function present (candidates: readonly Candidate[], links: Links): object[] {
  const seen = new Set<string>()
  const unique = candidates.filter(({ stream: { torrent }, fileIndex }) => {
    if (torrent === null) return true
    const key = `${torrent.infohash}:${fileIndex}`
    return !seen.has(key) && seen.add(key)
  })
  const sorted = unique.toSorted((a, b) => ranks[a.rank] - ranks[b.rank]).slice(0, MAX_STREAMS)
  const kinds = new Map(sorted.map((candidate) => [candidate, kindOf(candidate)]))
  return sorted.map((candidate) => {
    const { stream, fileIndex, name, rank } = candidate
    const { torrent } = stream
    if (torrent === null) return stream.fields
    const { infohash, trackers } = torrent
    const url = links.stream(infohash, { fileIndex, ...name === null ? {} : { name }, trackers, isForAddon: true, alternatives: alternativesTo(candidate, torrent, kinds) })
    return asUrlStream(stream, { url, mark: marks[rank], isWebReady: isWebReady(url, name ?? ''), name })
  })
}

/** The next torrents of the same addon and kind: what that says belongs together, else what has the same resolution. */
function alternativesTo (candidate: Candidate, { infohash, bingeGroup }: UpstreamTorrent, kinds: ReadonlyMap<Candidate, string | null>): Alternative[] {
  const kind = kinds.get(candidate)
  return [...kinds].flatMap(([other, otherKind]) => {
    const { stream: { torrent }, fileIndex, rank, addon } = other
    if (torrent === null || torrent.infohash === infohash || rank === 'dead' || addon !== candidate.addon) return []
    const isSame = bingeGroup === null ? torrent.bingeGroup === null && otherKind === kind : torrent.bingeGroup === bingeGroup
    return isSame ? [{ infohash: torrent.infohash, fileIndex }] : []
  }).slice(0, MAX_ALTERNATIVES)
}

/** Its resolution, as far as its texts tell; found by one expression, for there may be hundreds. */
function kindOf ({ stream: { fields }, name }: Candidate): string | null {
  const text = [name, fields['name'], fields['title'], fields['description']].filter((each) => typeof each === 'string').map((each) => each.slice(0, 500)).join(' ')
  const [, lines] = /(?<![\p{L}\p{N}])(\d{3,4}[pi]|4k|uhd)(?![\p{L}\p{N}])/iu.exec(text) ?? []
  return lines === undefined ? null : /^(?:4k|uhd)$/i.test(lines) ? '2160p' : lines.toLowerCase()
}

/** Where an addon is asked for streams, by the address of its manifest. null: that is none. */
function streamUrl (manifest: string, type: string, id: string, extra: string): URL | null {
  const url = URL.parse(manifest.replace(/^stremio:/i, 'https:'))
  if (url === null || !url.pathname.endsWith('/manifest.json')) return null
  url.pathname = `${url.pathname.slice(0, -'/manifest.json'.length)}/stream/${type}/${encodeURIComponent(id)}${extra === '' ? '' : `/${extra}`}.json`
  return url
}

function parseJson (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
