import { isVideo } from '../http/content-type.ts'
import type { Metadata, TorrentFile } from './metadata.ts'

/** Season and episode, as numbers; an episode may be the first of several in one file. */
export interface Episode {
  readonly season: number
  readonly episode: number
}

const byPath = new Intl.Collator('en', { numeric: true, sensitivity: 'base' })

/** A sample says so in its name or folder, and is short: there are films called Sample. */
const sampleName = /(?:^|[^\p{L}\p{N}])sample(?:$|[^\p{L}\p{N}])/iu
const SAMPLE_SHARE = 0.1

/** The season's own number of digits is bounded, so that no year or resolution is taken for an episode. */
const episodeForms = [
  /(?:^|[^\p{L}\p{N}])s(\d{1,2})[ ._-]{0,3}e(\d{1,4})(?!\d)/iu,
  /(?:^|[^\p{L}\p{N}])(\d{1,2})x(\d{2,3})(?!\p{L}|\d)/iu
]

const videos = new WeakMap<object, readonly TorrentFile[]>()

/** The videos of a torrent that people watch, in the natural order of their paths (2 before 10): no padding, no empty files, no samples. */
export function videosOf (metadata: Pick<Metadata, 'files'>): readonly TorrentFile[] {
  const known = videos.get(metadata)
  if (known !== undefined) return known
  const all = metadata.files.filter(({ isPadding, lengthBytes, name }) => !isPadding && lengthBytes > 0 && isVideo(name))
  const largest = all.reduce((most, { lengthBytes }) => Math.max(most, lengthBytes), 0)
  const watched = all.filter(({ path, lengthBytes }) => !(sampleName.test(path) && lengthBytes < largest * SAMPLE_SHARE))
  const sorted = watched.sort((a, b) => byPath.compare(a.path, b.path) || a.index - b.index)
  videos.set(metadata, sorted)
  return sorted
}

/** The video after this one, in the order of `videosOf`; null: it is the last, or none of them. */
export function videoAfter (metadata: Pick<Metadata, 'files'>, fileIndex: number): TorrentFile | null {
  const all = videosOf(metadata)
  const place = all.findIndex(({ index }) => index === fileIndex)
  return place === -1 ? null : all[place + 1] ?? null
}

/** Season and episode as file names have them (`S01E02`, `s1.e2`, `1x02`); null: the name has none. */
export function episodeOf (name: string): Episode | null {
  for (const form of episodeForms) {
    const [, season, episode] = form.exec(name) ?? []
    if (season !== undefined && episode !== undefined) return { season: Number(season), episode: Number(episode) }
  }
  return null
}
