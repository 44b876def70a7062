import { extname } from 'node:path'
import { episodeOf, videosOf } from '../torrent/videos.ts'
import { namedLanguage } from './language.ts'
import type { Metadata, TorrentFile } from '../torrent/metadata.ts'
import type { NamedLanguage } from './language.ts'

/** Text with times. Not `.sub` and `.sup`, which are pictures, or have frames for times. */
export type SubtitleFormat = 'srt' | 'vtt' | 'ass' | 'ssa'

/** A subtitle file of a torrent. */
export interface SubtitleFile extends NamedLanguage {
  readonly file: TorrentFile
  readonly format: SubtitleFormat
  /** The videos that it belongs to, by their index; empty: nobody can tell. Several where one episode is there twice. */
  readonly videos: readonly number[]
}

/** A torrent with more is no film. */
const MAX_SUBTITLES = 1000
/** So often a name is shortened by a word until it is that of a video. */
const MAX_CUTS = 12

/** The format that the name's extension stands for; null: it is no subtitle file. */
export function subtitleFormatOf (name: string): SubtitleFormat | null {
  const extension = extname(name).slice(1).toLowerCase()
  return extension === 'srt' || extension === 'vtt' || extension === 'ass' || extension === 'ssa' ? extension : null
}

/**
 * The subtitle files of a torrent in its own order, at most 1000, each with the videos that it belongs to: that whose name
 * it begins with (`Show.S01E02.en.srt`), or that names its folder (`Subs/Show.S01E02/2_English.srt`), or of the same
 * episode, or the only one there is.
 */
export function subtitleFilesOf (metadata: Pick<Metadata, 'files'>): SubtitleFile[] {
  const videos = new Videos(videosOf(metadata))
  const found: SubtitleFile[] = []
  for (const file of metadata.files) {
    const format = file.isPadding || file.lengthBytes === 0 ? null : subtitleFormatOf(file.name)
    if (format === null) continue
    const stem = stemOf(file.name)
    const named = videos.named(stem)
    const owners = named?.videos ?? videos.of(file)
    found.push({ file, format, videos: owners, ...namedLanguage(stem, named === null ? null : stem.slice(named.length)) })
    if (found.length === MAX_SUBTITLES) break
  }
  return found
}

/** The videos of a torrent by what subtitles may know them by. */
class Videos {
  readonly #all: readonly TorrentFile[]
  readonly #byStem = new Map<string, number[]>()
  readonly #byEpisode = new Map<string, number[]>()

  constructor (videos: readonly TorrentFile[]) {
    this.#all = videos
    for (const { index, name } of videos) {
      add(this.#byStem, stemOf(name).toLowerCase(), index)
      const episode = episodeKeyOf(name)
      if (episode !== null) add(this.#byEpisode, episode, index)
    }
  }

  /** The videos whose name this one begins with, a whole number of words, and how long that is. */
  named (stem: string): { readonly videos: readonly number[], readonly length: number } | null {
    let text = stem.toLowerCase()
    for (let cuts = 0; cuts < MAX_CUTS && text !== ''; cuts++) {
      const videos = this.#byStem.get(text)
      if (videos !== undefined) return { videos, length: text.length }
      const separator = Math.max(...['.', ' ', '_', '-', '(', '['].map((each) => text.lastIndexOf(each)))
      if (separator <= 0) return null
      text = text.slice(0, separator)
    }
    return null
  }

  /** The videos of a file that is named otherwise. */
  of ({ name, components }: TorrentFile): readonly number[] {
    const folder = components.at(-2) ?? ''
    const [only] = this.#all
    const byFolder = this.#byStem.get(folder.toLowerCase())
    if (byFolder !== undefined) return byFolder
    if (this.#all.length === 1 && only !== undefined) return [only.index]
    const episode = episodeKeyOf(name) ?? episodeKeyOf(folder)
    return episode === null ? [] : this.#byEpisode.get(episode) ?? []
  }
}

function add (map: Map<string, number[]>, key: string, index: number): void {
  const known = map.get(key)
  if (known === undefined) map.set(key, [index])
  else known.push(index)
}

function episodeKeyOf (name: string): string | null {
  const episode = episodeOf(name.slice(0, 1000))
  return episode === null ? null : `${episode.season}x${episode.episode}`
}

function stemOf (name: string): string {
  return name.slice(0, name.length - extname(name).length)
}
