import { videosOf } from '../torrent/videos.ts'
import { selectFile } from '../torrent/file-selection.ts'
import { episodesOfFiles, parseReleaseName } from './release-name.ts'
import { torrentId } from './protocol.ts'
import type { Metadata, TorrentFile } from '../torrent/metadata.ts'
import type { Torrents } from '../torrent/torrents.ts'
import type { TorrentList } from '../torrent/torrent-list.ts'
import type { Meta, MetaPreview, MetaType, MetaVideo } from './protocol.ts'

export interface LibraryOptions {
  readonly list: Pick<TorrentList, 'infohashes' | 'status'>
  readonly torrents: Pick<Torrents, 'knownMetadata'>
}

/** What a catalog has of a torrent. */
interface Entry {
  readonly preview: MetaPreview
  /** Its names, as they are searched. */
  readonly words: string
  readonly isFinal: boolean
}

export const PAGE_SIZE = 100
/** No catalog is longer: each entry costs a look at the disk once. */
const MOST = 5000
const MAX_VIDEOS = 2000
/** Stremio wants a date of each video; this one is before all others. */
const NO_DATE = '1970-01-01T00:00:00.000Z'

/** What is cached or was added here, as catalogs of an addon. */
export class Library {
  readonly #options: LibraryOptions
  /** Names and kinds do not change once the metadata is known. */
  readonly #entries = new Map<string, Entry>()

  constructor (options: LibraryOptions) {
    this.#options = options
  }

  /** A page of what is here of this type, what was added last first; `search`: with all of its words in a name. */
  async catalog (type: string, { search = '', skip = 0 }: { readonly search?: string, readonly skip?: number }): Promise<MetaPreview[]> {
    const words = plain(search).split(' ').filter((word) => word !== '')
    const found: MetaPreview[] = []
    let left = skip
    for (const infohash of (await this.#options.list.infohashes()).slice(0, MOST)) {
      const { preview, words: own } = await this.#entry(infohash)
      if (preview.type !== type || !words.every((word) => own.includes(word))) continue
      if (left-- > 0) continue
      found.push(preview)
      if (found.length === PAGE_SIZE) break
    }
    return found
  }

  async #entry (infohash: string): Promise<Entry> {
    const known = this.#entries.get(infohash)
    if (known?.isFinal === true) return known
    const metadata = await this.#options.torrents.knownMetadata(infohash)
    const name = metadata?.name ?? (await this.#options.list.status(infohash))?.name ?? infohash
    const preview = previewOf(infohash, name, metadata)
    const files = metadata === null ? [] : videosOf(metadata).slice(0, 50).map((file) => file.name)
    const entry = { preview, words: plain([name, preview.name, ...files].join(' ')), isFinal: metadata !== null }
    if (this.#entries.size >= 2 * MOST) this.#entries.clear()
    this.#entries.set(infohash, entry)
    return entry
  }
}

/** An episode of a torrent, or one of several videos of it. */
export interface PlacedVideo {
  readonly file: TorrentFile
  readonly season: number
  readonly episode: number
  /** false: no name in the torrent tells any season. */
  readonly isSeasonKnown: boolean
}

const placed = new WeakMap<object, readonly PlacedVideo[] | null>()

/**
 * The videos of a torrent by season and episode, as their names tell; those that name none come as specials (season 0) of
 * a series, one after the other. null: it is no series.
 */
export function episodesOf (metadata: Pick<Metadata, 'files'>): readonly PlacedVideo[] | null {
  const known = placed.get(metadata)
  const found = known === undefined ? placeEpisodes(videosOf(metadata).slice(0, MAX_VIDEOS)) : known
  placed.set(metadata, found)
  return found
}

function placeEpisodes (videos: readonly TorrentFile[]): PlacedVideo[] | null {
  const episodes = episodesOfFiles(videos.map(({ path }) => path))
  const places = videos.map((file, i) => ({ file, place: episodes[i] ?? null }))
  const named = places.filter(({ place }) => place !== null).length
  // A film with extras, one of which has a number.
  if (named === 0 || named * 2 < places.length) return null
  const hasSeasons = places.some(({ place }) => (place?.season ?? 0) > 0)
  let specials = 0
  return places
    .map(({ file, place }) => place === null
      ? { file, season: 0, episode: 10_000 + ++specials, isSeasonKnown: true }
      : { file, episode: place.episode, season: place.season === 0 && !hasSeasons ? 1 : place.season, isSeasonKnown: hasSeasons })
    .sort((a, b) => a.season - b.season || a.episode - b.episode)
}

/** What is told of a torrent. `prefix`: that of the id by which it was asked for. */
export function metaOf (infohash: string, name: string, metadata: Metadata | null, prefix?: string): Meta {
  const of = prefix === undefined ? {} : { prefix }
  const preview = { ...previewOf(infohash, name, metadata), id: torrentId(infohash, of) }
  const type = prefix === 'bt:' ? 'other' : preview.type
  const videos = metadata === null ? [] : videosOf(metadata)
  const meta = { ...preview, type, description: describe(name, metadata) }
  if (metadata === null || (videos.length < 2 && preview.type !== 'series')) return { ...meta, behaviorHints: { defaultVideoId: meta.id } }
  const released = metadata.createdAt?.toISOString() ?? NO_DATE
  const places = episodesOf(metadata) ?? videos.slice(0, MAX_VIDEOS).map((file, i) => ({ file, season: 1, episode: i + 1 }))
  const seen = new Set<string>()
  const listed: MetaVideo[] = []
  for (const { file, season, episode } of places) {
    const place = `${season}:${episode}`
    // The same episode in another quality is another stream of it.
    if (seen.has(place)) continue
    seen.add(place)
    listed.push({ id: torrentId(infohash, { ...of, fileIndex: file.index }), title: file.name.slice(0, 300), released, season, episode })
  }
  // A film is what its largest video is; extras stand beside it.
  return preview.type === 'movie' ? { ...meta, videos: listed, behaviorHints: { defaultVideoId: torrentId(infohash, { ...of, fileIndex: selectFile(metadata, null).index }) } } : { ...meta, videos: listed }
}

/** The file that an episode's id names, and others of the same episode; without an index the one that is played by default, then the other videos. */
export function filesFor (metadata: Metadata, fileIndex: number | null): TorrentFile[] {
  const first = selectFile(metadata, fileIndex)
  const videos = videosOf(metadata)
  const places = episodesOf(metadata)
  const own = places?.find(({ file }) => file === first)
  const others = own !== undefined
    ? places?.filter(({ season, episode }) => season === own.season && episode === own.episode).map(({ file }) => file) ?? []
    : fileIndex === null ? videos : []
  return [...new Set([first, ...others])].slice(0, 20)
}

/** The file of a torrent that is this episode; null: none is, or nobody can tell. */
export function fileOfEpisode (metadata: Pick<Metadata, 'files'>, { season, episode }: { readonly season: number | null, readonly episode: number }): TorrentFile | null {
  const matches = episodesOf(metadata)?.filter((video) => video.episode === episode && (season === null || !video.isSeasonKnown || video.season === season)) ?? []
  return matches.map(({ file }) => file).sort((a, b) => b.lengthBytes - a.lengthBytes)[0] ?? null
}

function previewOf (infohash: string, name: string, metadata: Metadata | null): MetaPreview {
  const release = parseReleaseName(name)
  const type = typeOf(release, metadata)
  return {
    id: torrentId(infohash),
    type,
    name: release.title,
    ...release.year === null ? {} : { releaseInfo: String(release.year) },
    description: name.slice(0, 300)
  }
}

function typeOf (release: ReturnType<typeof parseReleaseName>, metadata: Metadata | null): MetaType {
  if (metadata === null) return release.isPack || release.episode !== null ? 'series' : 'other'
  if (videosOf(metadata).length === 0) return 'other'
  return episodesOf(metadata) === null ? 'movie' : 'series'
}

function describe (name: string, metadata: Metadata | null): string {
  const files = metadata === null ? 'Its list of files is not known yet.' : `${metadata.files.filter(({ isPadding }) => !isPadding).length} files`
  return `${name.slice(0, 300)}\n${files}`
}

/** Without case, accents and punctuation: as people search. */
function plain (text: string): string {
  return text.normalize('NFKD').replace(/\p{M}+/gu, '').toLowerCase().replace(/[^\p{L}\p{N}]+/gu, ' ').trim().slice(0, 5000)
}
