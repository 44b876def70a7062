import { codecOf } from './codecs.ts'
import { nameOf, PEAK, TRANSCODED_BITS_PER_SECOND } from './renditions.ts'
import type { Media, MediaTrack } from '../media/probe.ts'
import type { Choice, Rendition } from './renditions.ts'

const AUDIO_BITS_PER_SECOND = 200_000

/**
 * The master playlist (RFC 8216 section 4.3.4), with relative addresses.
 *
 * @param query what each address has behind it, with its question mark.
 */
export function masterPlaylist (media: Media, { video, audio, subtitles }: Choice, query: string): string {
  const trackOf = ({ track }: Rendition): MediaTrack | undefined => media.tracks.find(({ index }) => index === track)
  const main = video ?? audio[0]
  const picture = video === null ? undefined : trackOf(video)
  const lines = ['#EXTM3U', '#EXT-X-VERSION:7', '#EXT-X-INDEPENDENT-SEGMENTS']
  const groups = [['AUDIO', 'audio', video === null ? [] : audio], ['SUBTITLES', 'subtitles', subtitles]] as const
  for (const [type, group, renditions] of groups) {
    const names = new Set<string>()
    const chosen = type === 'AUDIO' ? renditions.find((each) => trackOf(each)?.isDefault === true) ?? renditions[0] : undefined
    for (const rendition of renditions) {
      const track = trackOf(rendition)
      if (track === undefined) continue
      lines.push(`#EXT-X-MEDIA:${attributes({
        TYPE: type,
        'GROUP-ID': quoted(group),
        NAME: quoted(ownName(track, names)),
        ...track.language === null || !/^[a-zA-Z]{2,8}(?:-[a-zA-Z0-9-]{1,20})?$/.test(track.language) ? {} : { LANGUAGE: quoted(track.language) },
        DEFAULT: rendition === chosen ? 'YES' : 'NO',
        AUTOSELECT: 'YES',
        ...type === 'SUBTITLES' ? { FORCED: track.isForced ? 'YES' : 'NO' } : {},
        ...rendition.kind === 'audio' ? { CHANNELS: quoted(String(rendition.channels === 'copy' ? track.channels ?? 2 : rendition.channels)) } : {},
        URI: quoted(`${nameOf(rendition)}.m3u8${query}`)
      })}`)
    }
  }
  if (main === undefined) return `${lines.join('\n')}\n`
  const codecs = new Set([main, ...audio].flatMap((each) => {
    const track = trackOf(each)
    return (track === undefined ? null : codecOf(track, each)) ?? []
  }))
  lines.push(`#EXT-X-STREAM-INF:${attributes({
    BANDWIDTH: String(bandwidthOf(media, main)),
    CODECS: quoted([...codecs].join(',')),
    ...picture === undefined || main.kind !== 'video' ? {} : sizeOf(picture, main.maxWidth),
    ...video !== null && audio.length > 0 ? { AUDIO: quoted('audio') } : {},
    ...subtitles.length > 0 ? { SUBTITLES: quoted('subtitles') } : {}
  })}`, `${nameOf(main)}.m3u8${query}`)
  return `${lines.join('\n')}\n`
}

/** Addresses may be long, and films, too. */
const MAX_PLAYLIST_BYTES = 16 * 1024 * 1024

/** A media playlist (RFC 8216 section 4.3.3) of all segments between these cuts, in seconds; null: it would be too long. */
export function mediaPlaylist (rendition: Rendition, cuts: readonly number[], query: string): string | null {
  if (cuts.length * (query.length + 50) > MAX_PLAYLIST_BYTES) return null
  const name = nameOf(rendition)
  const lengths = cuts.slice(1).map((cut, index) => cut - (cuts[index] ?? 0))
  const kind = rendition.kind === 'subtitle' ? 'vtt' : 'm4s'
  return `${[
    '#EXTM3U',
    '#EXT-X-VERSION:7',
    `#EXT-X-TARGETDURATION:${Math.ceil(Math.max(1, ...lengths))}`,
    '#EXT-X-MEDIA-SEQUENCE:0',
    '#EXT-X-PLAYLIST-TYPE:VOD',
    '#EXT-X-INDEPENDENT-SEGMENTS',
    ...rendition.kind === 'subtitle' ? [] : [`#EXT-X-MAP:URI=${quoted(`${name}/init.mp4${query}`)}`],
    ...lengths.flatMap((length, index) => [`#EXTINF:${length.toFixed(6)},`, `${name}/${index}.${kind}${query}`]),
    '#EXT-X-ENDLIST'
  ].join('\n')}\n`
}

/** What it takes at its peak. */
function bandwidthOf ({ bitsPerSecond }: Media, main: Rendition): number {
  if (main.kind === 'video' && main.maxWidth !== 'copy') return TRANSCODED_BITS_PER_SECOND + AUDIO_BITS_PER_SECOND
  return Math.max(AUDIO_BITS_PER_SECOND, Math.round((bitsPerSecond ?? TRANSCODED_BITS_PER_SECOND) * PEAK))
}

function sizeOf ({ width, height, frameRate }: MediaTrack, maxWidth: number | 'copy'): Record<string, string> {
  if (width === null || height === null || width <= 0 || height <= 0) return {}
  const scale = maxWidth === 'copy' ? 1 : Math.min(1, maxWidth / width)
  const even = (length: number): number => scale === 1 ? length : 2 * Math.round(length * scale / 2)
  return { RESOLUTION: `${even(width)}x${even(height)}`, ...frameRate === null ? {} : { 'FRAME-RATE': frameRate.toFixed(3) } }
}

/** Each of a group has another one (section 4.3.4.1.1). */
function ownName ({ title, language, index }: MediaTrack, taken: Set<string>): string {
  const name = title ?? (language === null ? null : displayName(language)) ?? `Track ${index}`
  const own = taken.has(name) ? `${name} (${index})` : name
  taken.add(own)
  return own
}

const languages = new Intl.DisplayNames(['en'], { type: 'language', fallback: 'code' })

function displayName (language: string): string {
  try {
    return languages.of(language) ?? language
  } catch {
    return language
  }
}

function attributes (values: Readonly<Record<string, string>>): string {
  return Object.entries(values).map(([name, value]) => `${name}=${value}`).join(',')
}

/** A quoted string has neither quotes nor line breaks (section 4.2). */
function quoted (text: string): string {
  // eslint-disable-next-line no-control-regex
  return `"${text.replace(/["\u0000-\u001f\u007f]/g, "'")}"`
}
