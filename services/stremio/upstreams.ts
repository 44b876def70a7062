import { abortable } from '../deadline.ts'
import { deadlines } from '../deadlines.ts'
import { CodedError } from '../errors.ts'
import { askAddon } from './ask-addon.ts'
import { isWebReady } from './library-streams.ts'
import { episodeOfId } from './protocol.ts'
import { isOffered } from './upstream-manifest.ts'
import { asUrlStream, parseStreams } from './upstream-stream.ts'
import { parseSubtitles } from './upstream-subtitles.ts'
import { wishedFile } from './wished-file.ts'
import type { CacheIndex } from '../cache/cache-index.ts'
import type { Fetcher } from '../download/fetcher.ts'
import type { Alternative, Links } from '../links.ts'
import type { Log } from '../log.ts'
import type { TorrentsHealth } from '../torrent/torrent-health.ts'
import type { Torrents } from '../torrent/torrents.ts'
import type { UpstreamAddon } from './ask-addon.ts'
import type { UpstreamManifest } from './upstream-manifest.ts'
import type { UpstreamManifests } from './upstream-manifests.ts'
import type { UpstreamStream, UpstreamTorrent } from './upstream-stream.ts'

export interface UpstreamsOptions {
  readonly fetcher: Pick<Fetcher, 'get'>
  readonly cache: Pick<CacheIndex, 'find'>
  readonly torrents: Pick<Torrents, 'knownMetadata'>
  readonly health: Pick<TorrentsHealth, 'of'>
  readonly manifests: Pick<UpstreamManifests, 'of'>
  /** The name of this server among others (services/download/via.ts). */
  readonly hop: string
  readonly log: Log
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
const MAX_SUBTITLES = 500
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
    const checks = new Map<string, Promise<boolean>>()
    const { lists, isComplete } = await this.#askAll(addons, question, signal, async (addon, index, limit): Promise<Candidate[]> => {
      const manifest = await this.#manifestOf(addon, question, limit)
      // Where nobody knows what it has it is asked.
      if (manifest !== null && !isOffered(manifest.streams, question.type, question.id)) return []
      const streams = parseStreams(await this.#ask(addon, 'stream', question, limit) ?? { streams: [] })
      if (streams === null) throw new CodedError('SOURCE_FAILED', 'its answer has no list of streams')
      const candidates = streams.map((stream) => ({ stream, addon: index, fileIndex: stream.torrent?.fileIndex ?? null, name: stream.torrent?.name ?? null, rank: 'open' as const }))
      await Promise.all(candidates.map(async (candidate) => { await this.#judge(candidate, question.id, checks, limit) }))
      return candidates
    })
    return { streams: present(lists.flat(), question.id, links), isComplete }
  }

  /** The subtitles of those of these addons that say they have some of it; bounded as `streams` is. Rejects with the signal's reason only. */
  async subtitles (addons: readonly UpstreamAddon[], question: UpstreamQuestion, signal: AbortSignal): Promise<{ readonly subtitles: object[], readonly isComplete: boolean }> {
    const { lists, isComplete } = await this.#askAll(addons, question, signal, async (addon, _index, limit) => {
      const manifest = await this.#manifestOf(addon, question, limit)
      if (manifest === null) throw new CodedError('SOURCE_FAILED', 'its manifest is not known')
      if (!isOffered(manifest.subtitles, question.type, question.id)) return []
      const subtitles = parseSubtitles(await this.#ask(addon, 'subtitles', question, limit) ?? { subtitles: [] })
      if (subtitles === null) throw new CodedError('SOURCE_FAILED', 'its answer has no list of subtitles')
      return subtitles
    })
    const byUrl = new Map(lists.flat().map((subtitle) => [subtitle.url, subtitle]))
    return { subtitles: [...byUrl.values()].slice(0, MAX_SUBTITLES), isComplete }
  }

  /** What `work` gives for each addon; of those that fail or are late, nothing. */
  async #askAll<T> (addons: readonly UpstreamAddon[], { type, id }: UpstreamQuestion, signal: AbortSignal, work: (addon: UpstreamAddon, index: number, limit: AbortSignal) => Promise<T[]>): Promise<{ readonly lists: T[][], readonly isComplete: boolean }> {
    if (!/^[\w-]{1,40}$/.test(type) || id.length > 300) return { lists: [], isComplete: true }
    const late = new AbortController()
    const timer = setTimeout(() => { late.abort(new CodedError('HTTP_TIMEOUT', `it did not answer within ${deadlines.upstreamsMs} ms`)) }, deadlines.upstreamsMs)
    const limit = AbortSignal.any([signal, late.signal])
    let isComplete = true
    try {
      const lists = await Promise.all(addons.map(async (addon, index): Promise<T[]> => {
        try {
          return await work(addon, index, limit)
        } catch (error) {
          signal.throwIfAborted()
          isComplete = false
          // Only the host: the rest of the address may be somebody's key.
          this.#options.log.info({ addon: URL.parse(addon.url)?.host, reason: error instanceof Error ? error.message : String(error) }, 'an addon did not answer')
          return []
        }
      }))
      signal.throwIfAborted()
      return { lists, isComplete: isComplete && !late.signal.aborted }
    } finally {
      clearTimeout(timer)
    }
  }

  /** null: it cannot be had now, or takes too long. */
  async #manifestOf (addon: UpstreamAddon, { hops }: UpstreamQuestion, signal: AbortSignal): Promise<UpstreamManifest | null> {
    const waiting = AbortSignal.any([signal, AbortSignal.timeout(deadlines.manifestWaitMs)])
    const found = await this.#options.manifests.of(addon, hops, waiting).catch(() => null)
    signal.throwIfAborted()
    return found instanceof CodedError ? null : found
  }

  /** undefined: it has nothing of this kind. */
  async #ask (addon: UpstreamAddon, resource: 'stream' | 'subtitles', { type, id, extra, hops }: UpstreamQuestion, signal: AbortSignal): Promise<unknown> {
    const { fetcher, hop } = this.#options
    const path = `${resource}/${type}/${encodeURIComponent(id)}${extra === '' ? '' : `/${extra}`}.json`
    return await abortable(askAddon(addon, path, { fetcher, hop, hops, mostBytes: MAX_ANSWER_BYTES, signal }), signal)
  }

  /** Finds out what can be known of a torrent in the time that is left; never rejects. */
  async #judge (candidate: Candidate, id: string, checks: Map<string, Promise<boolean>>, signal: AbortSignal): Promise<void> {
    const { torrent } = candidate.stream
    if (torrent === null) return
    const { infohash, trackers } = torrent
    try {
      const metadata = await abortable(this.#options.torrents.knownMetadata(infohash), signal)
      if (metadata !== null && candidate.fileIndex === null) candidate.fileIndex = wishedFile(metadata, { episode: episodeOfId(id), fileName: torrent.name })?.index ?? null
      if (metadata !== null && candidate.fileIndex !== null) candidate.name = metadata.files[candidate.fileIndex]?.name ?? candidate.name
      if (await this.#options.cache.find(infohash, candidate.fileIndex, metadata, signal) !== null) {
        candidate.rank = 'cached'
        return
      }
      if (!checks.has(infohash) && checks.size >= MAX_CHECKED) return
      const check = checks.get(infohash) ?? this.#options.health.of(infohash, trackers, signal).then(({ sources }) => sources.every(({ outlook }) => outlook === 'no'))
      checks.set(infohash, check)
      if (await abortable(check, signal)) candidate.rank = 'dead'
    } catch (error) {
      // Else it is not known in time, and stays where its addon has put it.
      if (error instanceof CodedError && error.code === 'FILE_INDEX') candidate.rank = 'dead'
    }
  }
}

function present (candidates: readonly Candidate[], id: string, links: Links): object[] {
  const episode = episodeOfId(id)
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
    const url = links.stream(infohash, { fileIndex, ...name === null ? {} : { name }, wish: { episode, fileName: fileIndex === null ? torrent.name : null }, trackers, isForAddon: true, alternatives: alternativesTo(candidate, torrent, kinds) })
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
