import { AAC_FRAMES, AAC_RATE, shiftOf, TRANSCODED_BITS_PER_SECOND } from './renditions.ts'
import type { Media } from '../media/probe.ts'
import type { Rendition } from './renditions.ts'

/** So much later than in the file everything is: the first frames are decoded before 0, which fragments cannot say. */
export const TIMELINE_SECONDS = 10
/** What is decoded before the first frame that counts. Files without an index are entered anywhere, not at a keyframe. */
const RUN_UP_SECONDS = 0.5
const BLIND_RUN_UP_SECONDS = 12
/** An encoder of AAC that begins in the middle needs a few frames until it sounds as if it had not. */
const AAC_RUN_UP_FRAMES = 4
/** Subtitles that are still to be seen began before. */
export const TEXT_RUN_UP_SECONDS = 12
/** FFmpeg looks for keyframes so long before the place that it is sent to, where frames are reordered. */
const REORDER_SECONDS = 3 / 23

/** From when to when, in seconds. */
export interface Span {
  readonly start: number
  readonly end: number
  readonly isLast: boolean
  /** The keyframe after the first; null: none is known. */
  readonly nextKeyframe: number | null
}

/**
 * What FFmpeg is told for a part of a rendition (version 5.1 or later): it writes a fragment for each frame to its standard output,
 * from before the span on, and mostly on behind it: whoever reads stops it. Of subtitles it writes WebVTT, and to descriptor 3
 * which frame of the video it has come to.
 */
export function ffmpegArguments (url: string, media: Media, rendition: Rendition, span: Span): string[] {
  const shift = shiftOf(media)
  const from = entryOf(media, rendition, span)
  return [
    '-v', 'error', '-nostdin', '-copyts', '-seek_timestamp', '1',
    ...shift === 0 ? [] : ['-itsoffset', decimal(-shift)],
    // What comes before the span is left out below; FFmpeg itself counts the beginning of the file twice.
    ...from <= 0 ? [] : ['-noaccurate_seek', '-ss', decimal(from + shift)],
    '-protocol_whitelist', 'http,tcp', '-f', media.demuxer, '-i', url,
    '-map', `0:${rendition.track}`, '-map_metadata', '-1', '-map_chapters', '-1',
    ...outputOf(media, rendition, span)
  ]
}

function entryOf ({ demuxer, tracks }: Media, rendition: Rendition, { start, nextKeyframe }: Span): number {
  if (start <= 0) return 0
  if (rendition.kind === 'subtitle') return start - TEXT_RUN_UP_SECONDS
  if (rendition.kind === 'video' && rendition.maxWidth === 'copy') {
    const isReordered = tracks.some(({ index, isReordered }) => index === rendition.track && isReordered)
    const late = isReordered ? REORDER_SECONDS + 0.001 : 0.001
    return nextKeyframe === null || nextKeyframe > start + late + 0.01 ? start + late : start
  }
  const isBlind = demuxer === 'mpegts' || demuxer === 'mpeg'
  return start - (isBlind ? BLIND_RUN_UP_SECONDS : RUN_UP_SECONDS)
}

const fragments = ['-avoid_negative_ts', 'disabled', '-use_editlist', '0', '-output_ts_offset', String(TIMELINE_SECONDS), '-max_muxing_queue_size', '1024', '-flush_packets', '1', '-f', 'mp4', '-movflags', '+frag_every_frame+empty_moov+default_base_moof+frag_discont+delay_moov', 'pipe:1']

function outputOf (media: Media, rendition: Rendition, { start, end, isLast }: Span): string[] {
  const track = media.tracks.find(({ index }) => index === rendition.track)
  if (rendition.kind === 'subtitle') {
    const video = media.tracks.find(({ type, isPicture }) => type === 'video' && !isPicture)
    return ['-c:s', 'webvtt', '-flush_packets', '1', '-f', 'webvtt', 'pipe:1', ...video === undefined ? [] : ['-map', `0:${video.index}`, '-c', 'copy', '-copypriorss', '1', '-flush_packets', '1', '-f', 'framecrc', 'pipe:3']]
  }
  if (rendition.kind === 'video') {
    if (rendition.maxWidth === 'copy') return ['-c', 'copy', '-copypriorss', '1', '-video_track_timescale', '90000', ...track?.codec === 'hevc' ? ['-tag:v', 'hvc1'] : [], ...fragments]
    // No frame is decoded before it is shown, so that segments fit each other.
    const filters = [`trim=start=${decimal(start)}${isLast ? '' : `:end=${decimal(end)}`}`, `scale=w='min(${rendition.maxWidth},trunc(iw/2)*2)':h=-2`, 'format=yuv420p']
    return ['-vf', filters.join(','), '-fps_mode', 'passthrough', '-enc_time_base', '1:90000', '-video_track_timescale', '90000', '-c:v', 'libx264', '-preset', 'veryfast', '-crf', '23', '-maxrate', String(TRANSCODED_BITS_PER_SECOND), '-bufsize', String(2 * TRANSCODED_BITS_PER_SECOND), '-bf', '0', '-g', '600', ...fragments]
  }
  if (rendition.channels === 'copy') return ['-c', 'copy', '-copypriorss', '1', ...track?.codec === 'flac' || track?.codec === 'opus' ? ['-strict', '-2'] : [], ...fragments]
  const first = Math.max(0, Math.round(start * AAC_RATE / 1024) - AAC_RUN_UP_FRAMES) * 1024
  // Silence where there is no sound, so that each segment is as long as it says. One frame more, for the encoder holds one back.
  const last = (isLast ? Math.ceil(end * AAC_RATE / 1024) : Math.round(start * AAC_RATE / 1024) + AAC_FRAMES) * 1024 + 1024
  // Twice: the place of the first sample is counted at the rate that comes in.
  const filters = [`aresample=${AAC_RATE}`, `atrim=start_pts=${first}`, `aresample=async=1:first_pts=${first}`, 'apad', `atrim=end_pts=${last}`]
  return ['-af', filters.join(','), '-c:a', 'aac', '-ac', String(rendition.channels), '-b:a', rendition.channels === 6 ? '384k' : '160k', ...fragments]
}

function decimal (seconds: number): string {
  return seconds.toFixed(6)
}
