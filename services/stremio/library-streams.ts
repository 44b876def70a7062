import { formatBytes } from '../format.ts'
import { subtitleFilesOf } from '../subtitles/subtitle-files.ts'
import { addonLanguage } from './languages.ts'
import { filesFor } from './library.ts'
import { parseReleaseName } from './release-name.ts'
import type { Links } from '../links.ts'
import type { Metadata } from '../torrent/metadata.ts'
import type { AddonSubtitle, UrlStream } from './protocol.ts'

const MAX_SUBTITLES = 50

/** The streams of a torrent that is here, or was asked for by its id. `isCached` tells of a file whether it is in the cache. Throws FILE_INDEX. */
export async function streamsOf (metadata: Metadata, fileIndex: number | null, links: Links, isCached: (fileIndex: number) => Promise<boolean>): Promise<UrlStream[]> {
  const { infohash } = metadata
  return await Promise.all(filesFor(metadata, fileIndex).map(async ({ index, name, lengthBytes }) => {
    const { resolution } = parseReleaseName(name)
    const url = links.stream(infohash, { fileIndex: index, name, isForAddon: true })
    return {
      name: [await isCached(index) ? '⚡ Self-Streme' : 'Self-Streme', ...resolution === null ? [] : [resolution]].join('\n'),
      description: `${name}\n${formatBytes(lengthBytes)}`,
      url,
      subtitles: subtitlesOf(metadata, index, links),
      behaviorHints: {
        notWebReady: !isWebReady(url, name),
        bingeGroup: `selfstreme-${infohash}`,
        filename: name,
        videoSize: lengthBytes
      }
    }
  }))
}

/** The one stream of a torrent of which nothing is known yet but its infohash. */
export function unknownStream (infohash: string, fileIndex: number | null, links: Links): UrlStream {
  return {
    name: 'Self-Streme',
    description: 'Its list of files is not known yet: what plays is its largest video.',
    url: links.stream(infohash, { fileIndex, isForAddon: true }),
    behaviorHints: { notWebReady: true, bingeGroup: `selfstreme-${infohash}` }
  }
}

/** The subtitle files that belong to a video of the torrent, as WebVTT where they are no styled ones. */
export function subtitlesOf (metadata: Metadata, fileIndex: number, links: Links): AddonSubtitle[] {
  return subtitleFilesOf(metadata)
    .filter(({ videos }) => videos.length === 0 || videos.includes(fileIndex))
    .slice(0, MAX_SUBTITLES)
    .map(({ file, language, format }) => ({
      id: `selfstreme:${metadata.infohash}:${file.index}`,
      url: links.subtitle(metadata.infohash, file.index, { isWebVtt: format === 'srt' || format === 'vtt' }),
      lang: addonLanguage(language)
    }))
}

/** Do browsers play this as it is, on an https page, too? */
export function isWebReady (url: string, name: string): boolean {
  return url.startsWith('https:') && /\.(?:mp4|m4v)$/i.test(name)
}
