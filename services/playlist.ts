import { isMedia } from './http/content-type.ts'
import { subtitleFilesOf } from './subtitles/subtitle-files.ts'
import { selectFile } from './torrent/file-selection.ts'
import { videosOf } from './torrent/videos.ts'
import type { Links } from './links.ts'
import type { SubtitleFile } from './subtitles/subtitle-files.ts'
import type { Metadata, TorrentFile } from './torrent/metadata.ts'

/** One line that plays. */
export interface PlaylistEntry {
  readonly title: string
  readonly url: string
  readonly subtitles: readonly string[]
}

/** More than a season, less than what makes a player hang. */
const MAX_ENTRIES = 1000
const MAX_SUBTITLES_EACH = 20
const MAX_TITLE = 300

/** Ends of lines of any kind, other controls, and marks that turn the direction of text. */
const unsafe = /[\p{Cc}\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+/gu

/**
 * What a playlist of a torrent has: the file that was asked for, else all videos in their natural order, else all media,
 * else the default file; at most 1000. Throws FILE_INDEX.
 */
export function playlistOf (metadata: Metadata, fileIndex: number | null, links: Links, trackers: readonly string[]): PlaylistEntry[] {
  const subtitles = subtitleFilesOf(metadata)
  return chosen(metadata, fileIndex).slice(0, MAX_ENTRIES).map(({ index, name }) => ({
    title: name,
    url: links.stream(metadata.infohash, { fileIndex: index, name, trackers }),
    subtitles: subtitles.filter(({ videos }) => videos.includes(index)).slice(0, MAX_SUBTITLES_EACH).map((each) => linkOf(each, metadata.infohash, links))
  }))
}

/**
 * An M3U of these, in UTF-8: no entry's text can add a line of its own. The subtitles stand in `input-slave`, the only
 * option that takes URLs (VLC's own `sub-file` takes paths, and shows an error for what is none), all in one, parted by `#`.
 * Players that read it get them; VLC itself refuses the option of a playlist and says so in its log only.
 */
export function formatM3u (name: string, entries: readonly PlaylistEntry[]): string {
  const lines = entries.flatMap(({ title, url, subtitles }) => [
    `#EXTINF:-1,${oneLine(title)}`,
    ...subtitles.length === 0 ? [] : [`#EXTVLCOPT:input-slave=${subtitles.join('#')}`],
    url
  ])
  return `${['#EXTM3U', `#PLAYLIST:${oneLine(name)}`, ...lines].join('\n')}\n`
}

function chosen (metadata: Metadata, fileIndex: number | null): readonly TorrentFile[] {
  if (fileIndex !== null) return [selectFile(metadata, fileIndex)]
  const videos = videosOf(metadata)
  if (videos.length > 0) return videos
  const media = metadata.files.filter(({ name, isPadding, lengthBytes }) => isMedia(name) && !isPadding && lengthBytes > 0)
  return media.length > 0 ? media : [selectFile(metadata, null)]
}

/** Styled ones as they are; others as WebVTT, which is UTF-8 for certain. */
function linkOf ({ file, format }: SubtitleFile, infohash: string, links: Links): string {
  return links.subtitle(infohash, file.index, { isWebVtt: format === 'srt' || format === 'vtt' })
}

function oneLine (text: string): string {
  return text.slice(0, MAX_TITLE).toWellFormed().replace(unsafe, ' ').trim()
}
