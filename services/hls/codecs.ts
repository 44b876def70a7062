import type { MediaTrack } from '../media/probe.ts'
import type { Rendition } from './renditions.ts'

/** H.264 as it is transcoded: High, of any level that such a width needs. */
const TRANSCODED = 'avc1.640032'
const AAC_LC = 'mp4a.40.2'

const avcProfiles: Readonly<Record<string, string>> = { Baseline: '4200', 'Constrained Baseline': '42e0', Main: '4d00', Extended: '5800', High: '6400', 'Constrained High': '640c' }
const aacProfiles: Readonly<Record<string, string>> = { LC: '2', 'HE-AAC': '5', 'HE-AACv2': '29' }
const others: Readonly<Record<string, string>> = { ac3: 'ac-3', eac3: 'ec-3', flac: 'fLaC', opus: 'Opus' }

/** What CODECS calls a track (RFC 6381 section 3; the codecs' own bindings to mp4); null: nothing, as for subtitles. */
export function codecOf (track: MediaTrack, rendition: Rendition): string | null {
  if (rendition.kind === 'subtitle') return null
  if (rendition.kind === 'audio') return rendition.channels !== 'copy' ? AAC_LC : others[track.codec] ?? `mp4a.40.${aacProfiles[track.profile ?? ''] ?? '2'}`
  if (rendition.maxWidth !== 'copy') return TRANSCODED
  const { codec, profile, level, pixelFormat } = track
  const isDeep = /10le|12le/.test(pixelFormat ?? '')
  const bits = isDeep ? '10' : '08'
  if (codec === 'hevc') return `hvc1.${profile === 'Main 10' || isDeep ? '2.4' : '1.6'}.L${level ?? 120}.B0`
  if (codec === 'vp9') return `vp09.0${/\d/.exec(profile ?? '')?.[0] ?? '0'}.${level ?? 41}.${bits}`
  if (codec === 'av1') return `av01.0.${String(level ?? 8).padStart(2, '0')}M.${bits}`
  return `avc1.${avcProfiles[profile ?? ''] ?? '6400'}${(level ?? 40).toString(16).padStart(2, '0')}`
}
