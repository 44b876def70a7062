import type { Media, MediaTrack } from '../media/probe.ts'

/** What a player says that it can play, in FFmpeg's names. */
export interface Abilities {
  readonly videoCodecs: readonly string[]
  readonly audioCodecs: readonly string[]
  readonly maxAudioChannels: number
  /** It could not play what it should have: nothing is copied. */
  readonly isForced: boolean
  /** Video that is transcoded is at most so wide. */
  readonly maxWidth: number
}

/** One track, and what becomes of it. Its name in addresses says all of it, so that addresses hold over restarts. */
export type Rendition =
  { readonly kind: 'video', readonly track: number, readonly maxWidth: number | 'copy' } |
  { readonly kind: 'audio', readonly track: number, readonly channels: number | 'copy' } |
  { readonly kind: 'subtitle', readonly track: number }

/** What a master playlist offers. */
export interface Choice {
  readonly video: Rendition | null
  readonly audio: readonly Rendition[]
  readonly subtitles: readonly Rendition[]
}

/** Video that is copied is cut at keyframes: the next one from so many seconds on. */
const COPIED_SECONDS = 6
/** Each is held in memory until the player has it: of much in a second there is less of it. */
const COPIED_BYTES = 8 * 1024 * 1024
/** What is transcoded has this rate at most. */
export const TRANSCODED_BITS_PER_SECOND = 6_000_000
/** What a copied video takes at its peak, as far as anybody knows: so many times the container's mean. */
export const PEAK = 1.5
/** Frames of 1024 samples at 48 kHz, so that segments of AAC end where frames do. */
export const AAC_FRAMES = 288
export const AAC_RATE = 48_000
/** A transcoded one takes a slow machine as long as it plays. */
const TRANSCODED_SECONDS = 4
const TEXT_SECONDS = 12
/** An index with such a gap does not tell of each keyframe, or there are none: one segment would be half the film. */
const MAX_KEYFRAME_GAP_SECONDS = 30
/** Of copied sound, before it begins and after it ends. */
const MAX_SILENCE_SECONDS = 1
/** What is left at the end belongs to the segment before. */
const LEAST_SECONDS = 0.5

/** The names that clients have for what FFmpeg calls so; others are not put into fragments. */
const videoNames: Readonly<Record<string, readonly string[]>> = { h264: ['h264'], hevc: ['hevc', 'h265'], vp9: ['vp9'], av1: ['av1'] }
/** MP3 is not among them: browsers that say so play no mp4 with it. */
const copiedAudio: ReadonlySet<string> = new Set(['aac', 'ac3', 'eac3', 'flac', 'opus'])
const textCodecs: ReadonlySet<string> = new Set(['subrip', 'ass', 'ssa', 'mov_text', 'webvtt', 'text'])

/**
 * What of this file this player gets, and how.
 *
 * @param mostBytes of a segment; what may have more in one is not copied.
 */
export function renditionsFor (media: Media, keyframes: readonly number[] | null, abilities: Abilities, mostBytes = Infinity): Choice {
  const video = media.tracks.find(({ type, isPicture }) => type === 'video' && !isPicture)
  const sounds = media.tracks.filter(({ type }) => type === 'audio')
  const isCopied = video !== undefined && canCopyVideo(video, media, keyframes, abilities) && mostBytesOf(media, copiedVideo(video), longestOf(cutsOf(media, copiedVideo(video), keyframes) ?? [])) <= mostBytes
  // Players switch between sounds of one codec: it is that of all of them, or it is AAC.
  const isOneCodec = new Set(sounds.map(({ codec }) => codec)).size === 1
  return {
    video: video === undefined ? null : { kind: 'video', track: video.index, maxWidth: isCopied ? 'copy' : abilities.maxWidth },
    audio: sounds.map((sound) => ({ kind: 'audio', track: sound.index, channels: canCopyAudio(sound, media, isOneCodec, abilities) ? 'copy' : channelsFor(sound, abilities) })),
    // Of the file's beginning only: the limit of what is read of it counts from there.
    subtitles: shiftOf(media) !== 0 ? [] : media.tracks.filter(({ type, codec }) => type === 'subtitle' && textCodecs.has(codec)).map(({ index }) => ({ kind: 'subtitle', track: index }))
  }
}

/** Where the segments begin and, last of all, end, in seconds; null: it is not known how long it is, or it cannot be cut. */
export function cutsOf (media: Media, rendition: Rendition, keyframes: readonly number[] | null): number[] | null {
  const { durationSeconds: whole } = media
  if (whole === null || whole <= 0 || whole > 48 * 3600) return null
  // Video of our own ends where the last frame does: a segment without one is none. Sound goes on in silence.
  const own = rendition.kind === 'video' ? media.tracks.find(({ index }) => index === rendition.track)?.durationSeconds ?? whole : whole
  const duration = own > 1 ? Math.min(whole, own) : whole
  if (rendition.kind === 'video' && rendition.maxWidth === 'copy') return keyframes === null ? null : cutsAt(keyframes, duration, Math.min(COPIED_SECONDS, COPIED_BYTES * 8 / Math.max(1, media.bitsPerSecond ?? 1)))
  const seconds = rendition.kind === 'subtitle' ? TEXT_SECONDS : rendition.kind === 'video' ? TRANSCODED_SECONDS : rendition.channels === 'copy' ? COPIED_SECONDS : AAC_FRAMES * 1024 / AAC_RATE
  const count = Math.max(1, Math.ceil((duration - LEAST_SECONDS) / seconds))
  return [...Array.from({ length: count }, (_, index) => index * seconds), duration]
}

function cutsAt (keyframes: readonly number[], duration: number, seconds: number): number[] {
  const cuts = [0]
  let last = keyframes[0] ?? 0
  for (const time of keyframes) {
    if (time < last + seconds || time > duration - LEAST_SECONDS) continue
    cuts.push(time)
    last = time
  }
  return [...cuts, duration]
}

/** What time is counted from: most files begin near 0, those cut from a broadcast anywhere. */
export function shiftOf ({ startSeconds }: Media): number {
  return Math.abs(startSeconds) > 0.5 ? startSeconds : 0
}

/** What so many seconds of a rendition may have at most, as far as anybody knows before they are made. */
export function mostBytesOf (media: Media, rendition: Rendition, seconds: number): number {
  const isCopied = rendition.kind === 'video' ? rendition.maxWidth === 'copy' : rendition.kind === 'audio' && rendition.channels === 'copy'
  const { bitsPerSecond: mean } = media
  if (rendition.kind === 'video') return seconds * (isCopied ? (mean ?? 0) * PEAK : TRANSCODED_BITS_PER_SECOND) / 8
  // Six channels without loss.
  return seconds * (isCopied ? Math.min((mean ?? 0) * PEAK, 6_000_000) : 400_000) / 8
}

function copiedVideo ({ index }: MediaTrack): Rendition {
  return { kind: 'video', track: index, maxWidth: 'copy' }
}

function longestOf (cuts: readonly number[]): number {
  return cuts.slice(1).reduce((most, cut, index) => Math.max(most, cut - (cuts[index] ?? 0)), 0)
}

/** As addresses have it. */
export function nameOf (rendition: Rendition): string {
  if (rendition.kind === 'video') return `video${rendition.track}-${rendition.maxWidth === 'copy' ? 'copy' : `h264-${rendition.maxWidth}`}`
  if (rendition.kind === 'audio') return `audio${rendition.track}-${rendition.channels === 'copy' ? 'copy' : `aac-${rendition.channels}`}`
  return `subtitle${rendition.track}`
}

/** null: no name of a rendition. */
export function renditionNamed (name: string): Rendition | null {
  const [, kind, track, copied, width, channels] = /^(video|audio|subtitle)(\d{1,4})(?:-(?:(copy)|h264-(\d{2,4})|aac-([126])))?$/.exec(name) ?? []
  const base = { track: Number(track) }
  if (kind === 'video' && (copied ?? width) !== undefined) return { kind, ...base, maxWidth: copied === undefined ? Number(width) : 'copy' }
  if (kind === 'audio' && (copied ?? channels) !== undefined) return { kind, ...base, channels: copied === undefined ? Number(channels) : 'copy' }
  if (kind === 'subtitle' && (copied ?? width ?? channels) === undefined) return { kind, ...base }
  return null
}

function canCopyVideo (video: MediaTrack, media: Media, keyframes: readonly number[] | null, { videoCodecs, isForced }: Abilities): boolean {
  if (isForced || keyframes === null || media.durationSeconds === null) return false
  if (videoNames[video.codec]?.some((name) => videoCodecs.includes(name)) !== true) return false
  // What browsers mean by H.264 ends here.
  if (video.codec === 'h264' && !/^yuvj?420p$/.test(video.pixelFormat ?? '')) return false
  const gaps = [...keyframes.slice(1), media.durationSeconds].map((time, index) => time - (keyframes[index] ?? 0))
  return (keyframes[0] ?? 0) < MAX_KEYFRAME_GAP_SECONDS && gaps.every((gap) => gap <= MAX_KEYFRAME_GAP_SECONDS)
}

function canCopyAudio (sound: MediaTrack, media: Media, isOneCodec: boolean, { audioCodecs, maxAudioChannels, isForced }: Abilities): boolean {
  const { codec, channels } = sound
  // Others have frames with heads of their own, and their video is transcoded anyway.
  const isPlain = media.demuxer === 'matroska' || media.demuxer === 'mov'
  return !isForced && isPlain && !hasSilence(sound, media) && (isOneCodec || codec === 'aac') && copiedAudio.has(codec) && audioCodecs.includes(codec) && channels !== null && channels <= maxAudioChannels
}

/** Is there a while of the film in which this track has nothing? Players stop there, or leave it out; sound of our own is silent. */
function hasSilence ({ startSeconds, durationSeconds }: MediaTrack, media: Media): boolean {
  const end = durationSeconds !== null && durationSeconds > 0 ? durationSeconds : media.durationSeconds ?? 0
  return (startSeconds ?? 0) - media.startSeconds > MAX_SILENCE_SECONDS || end < (media.durationSeconds ?? 0) - MAX_SILENCE_SECONDS
}

function channelsFor ({ channels }: MediaTrack, { maxAudioChannels }: Abilities): number {
  if ((channels ?? 2) >= 6 && maxAudioChannels >= 6) return 6
  return Math.min(channels ?? 2, maxAudioChannels, 2) === 1 ? 1 : 2
}
