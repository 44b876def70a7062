/** What the Stremio addon protocol speaks of, as far as this server gives it (stremio-addon-sdk, docs/api/responses). */

export type MetaType = 'movie' | 'series' | 'other'

/** An entry of a catalog. */
export interface MetaPreview {
  readonly id: string
  readonly type: MetaType
  readonly name: string
  readonly poster?: string
  readonly posterShape?: 'square'
  readonly releaseInfo?: string
  readonly description?: string
}

export interface MetaVideo {
  readonly id: string
  readonly title: string
  /** ISO 8601. */
  readonly released: string
  readonly season: number
  readonly episode: number
}

export interface Meta extends MetaPreview {
  readonly videos?: readonly MetaVideo[]
  readonly behaviorHints?: { readonly defaultVideoId: string }
}

export interface AddonSubtitle {
  readonly id: string
  readonly url: string
  /** ISO 639-2, or a word. */
  readonly lang: string
}

/** A stream that plays by its URL. */
export interface UrlStream {
  readonly name: string
  readonly description: string
  readonly url: string
  readonly subtitles?: readonly AddonSubtitle[]
  readonly behaviorHints: {
    /** It is not https, or no MP4: browsers need help with it. */
    readonly notWebReady: boolean
    readonly bingeGroup?: string
    readonly filename?: string
    readonly videoSize?: number
  }
}

/** Ids of what is here begin so: `selfstreme:<infohash>` and, for one file of it, `:<fileIndex>`. */
const OWN_PREFIX = 'selfstreme:'
/** Those of Stremio itself, for a magnet that somebody pasted. */
const TORRENT_PREFIX = 'bt:'

export const ownPrefixes: readonly string[] = [OWN_PREFIX, TORRENT_PREFIX]

export interface TorrentId {
  readonly prefix: string
  readonly infohash: string
  readonly fileIndex: number | null
}

/** The torrent, and perhaps the file of it, that an id stands for; null: it is none of ours. */
export function parseTorrentId (id: string): TorrentId | null {
  const [, prefix, infohash, index] = /^(selfstreme:|bt:)([0-9a-f]{40})(?::(\d{1,6}))?$/i.exec(id) ?? []
  if (prefix === undefined || infohash === undefined) return null
  return { prefix: prefix.toLowerCase(), infohash: infohash.toLowerCase(), fileIndex: index === undefined ? null : Number(index) }
}

export function torrentId (infohash: string, { prefix = OWN_PREFIX, fileIndex = null }: { readonly prefix?: string, readonly fileIndex?: number | null } = {}): string {
  return `${prefix}${infohash}${fileIndex === null ? '' : `:${fileIndex}`}`
}

/** The season and episode that an id of a series ends in, as `tt0386676:1:2`; ids of other catalogs may have no season, as `kitsu:12:3`. */
export function episodeOfId (id: string): { readonly season: number | null, readonly episode: number } | null {
  const [, season, episode] = /^[a-z]+:?\d+(?::(\d{1,4}))?:(\d{1,5})$/.exec(id) ?? []
  return episode === undefined ? null : { season: season === undefined ? null : Number(season), episode: Number(episode) }
}
