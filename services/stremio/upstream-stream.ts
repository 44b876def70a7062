import { CodedError } from '../errors.ts'
import { parseInfohash } from '../torrent/infohash.ts'
import { parseMagnet } from '../torrent/magnet.ts'
import { trackerUrls } from '../torrent/urls.ts'
import { isModest, isRecord } from './json-record.ts'
import type { Magnet } from '../torrent/magnet.ts'

/** A stream of another addon, as far as it was understood. */
export interface UpstreamStream {
  /** As it came. */
  readonly fields: Readonly<Record<string, unknown>>
  /** null: it is no torrent, and passes as it is. */
  readonly torrent: UpstreamTorrent | null
}

export interface UpstreamTorrent {
  readonly infohash: string
  readonly fileIndex: number | null
  readonly trackers: readonly string[]
  /** Of the file. */
  readonly name: string | null
  readonly lengthBytes: number | null
  readonly bingeGroup: string | null
}

/** What a stream plays from, where it is no torrent (stremio-addon-sdk, docs/api/responses/stream.md). */
const otherKinds = ['url', 'ytId', 'externalUrl', 'playerFrameUrl', 'nzbUrl', 'rarUrls', 'zipUrls', '7zipUrls', 'tgzUrls', 'tarUrls']
/** What is the server's business once the stream is one of its own. */
const torrentFields = new Set(['infoHash', 'fileIdx', 'fileMustInclude', 'sources', ...otherKinds])
/** What a client must not be sent to by an addon: something to run, or a file of its own machine. */
const refusedSchemes: ReadonlySet<string> = new Set(['javascript:', 'data:', 'vbscript:', 'file:', 'blob:', 'about:'])
const addresses = ['url', 'externalUrl', 'playerFrameUrl', 'nzbUrl']
/** Of another kind they would have a client refuse the whole list. */
const texts = ['name', 'title', 'description']
const MAX_STREAMS = 200
const MAX_TRACKERS = 20
/** As it stands in an address, which may have some thousand characters. */
const MAX_TRACKER_LENGTH = 300

/** The streams in an addon's answer, at most 200; what is none is left out. null: it is no answer of an addon. */
export function parseStreams (answer: unknown): UpstreamStream[] | null {
  const streams = isRecord(answer) ? answer['streams'] : null
  return Array.isArray(streams) ? streams.slice(0, MAX_STREAMS).flatMap((stream: unknown) => parseStream(stream) ?? []) : null
}

function parseStream (fields: unknown): UpstreamStream | null {
  if (!isRecord(fields) || !isModest(fields) || !addresses.every((name) => isHarmless(fields[name])) || !texts.every((name) => isText(fields[name]))) return null
  const { infoHash, fileIdx, sources } = fields
  const magnet = magnetOf(fields['url'])
  if (magnet === null && (infoHash === undefined || infoHash === null)) return otherKinds.some((kind) => fields[kind] !== undefined && fields[kind] !== null) ? { fields, torrent: null } : null
  const infohash = magnet?.infohash ?? (typeof infoHash === 'string' ? parseInfohash(infoHash) : null)
  if (infohash === null) return null
  const hints = hintsOf(fields)
  const { filename, videoSize, bingeGroup } = hints
  const listed = Array.isArray(sources) ? sources.slice(0, 100).filter((source) => typeof source === 'string') : []
  return {
    fields,
    torrent: {
      infohash,
      fileIndex: isCount(fileIdx) && fileIdx < 1_000_000 ? fileIdx : magnet?.selectOnly[0] ?? null,
      trackers: (magnet?.trackers ?? trackerUrls(listed.flatMap((source) => source.startsWith('tracker:') ? [source.slice('tracker:'.length)] : []), 100)).filter((tracker) => encodeURIComponent(tracker).length <= MAX_TRACKER_LENGTH).slice(0, MAX_TRACKERS),
      name: typeof filename === 'string' && filename !== '' ? filename : null,
      lengthBytes: isCount(videoSize) && videoSize > 0 ? videoSize : null,
      bingeGroup: typeof bingeGroup === 'string' && bingeGroup !== '' ? bingeGroup : null
    }
  }
}

/** The stream's texts and hints with the URL of this server in place of the torrent. `mark` comes before its name. */
export function asUrlStream ({ fields }: UpstreamStream, { url, mark, isWebReady, name }: { readonly url: string, readonly mark: string, readonly isWebReady: boolean, readonly name: string | null }): Record<string, unknown> {
  const rest = Object.fromEntries(Object.entries(fields).filter(([key]) => !torrentFields.has(key)))
  return {
    ...rest,
    name: `${mark}${typeof fields['name'] === 'string' ? fields['name'] : 'Self-Streme'}`,
    url,
    behaviorHints: { ...hintsOf(fields), ...name === null ? {} : { filename: name }, notWebReady: !isWebReady }
  }
}

function hintsOf ({ behaviorHints }: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return isRecord(behaviorHints) ? behaviorHints : {}
}

/** Some addons have their torrents as links. null: it is none. */
function magnetOf (url: unknown): Magnet | null {
  if (typeof url !== 'string' || !/^magnet:/i.test(url)) return null
  try {
    return parseMagnet(url)
  } catch (error) {
    if (error instanceof CodedError) return null
    throw error
  }
}

/** Absent is harmless, too. */
function isHarmless (address: unknown): boolean {
  if (address === undefined || address === null) return true
  return typeof address === 'string' && !refusedSchemes.has(URL.parse(address)?.protocol ?? '')
}

/** Absent is one, too. */
function isText (text: unknown): boolean {
  return text === undefined || text === null || typeof text === 'string'
}

function isCount (value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
