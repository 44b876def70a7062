import { withTimeout } from '../deadline.ts'
import { CodedError } from '../errors.ts'
import { readRange } from '../read-range.ts'
import { Slots } from '../slots.ts'
import { containerFormatOf, HEAD_BYTES } from './container-format.ts'
import { Loopback } from './loopback.ts'
import { programOf, startProgram } from './program.ts'
import type { SourceFile } from '../source.ts'

/** A stream of a media file: a picture, a sound, a subtitle. */
export interface MediaTrack {
  readonly index: number
  readonly type: 'video' | 'audio' | 'subtitle'
  readonly codec: string
  /** As the file says it, mostly ISO 639-2; null: it does not. */
  readonly language: string | null
  readonly title: string | null
  readonly isDefault: boolean
  readonly isForced: boolean
  /** A cover, not a film. */
  readonly isPicture: boolean
  /** As FFmpeg names it, `High 10`; null here and below: not known, or not for this type. */
  readonly profile: string | null
  /** As the codec counts it: 41 for H.264's 4.1. */
  readonly level: number | null
  readonly width: number | null
  readonly height: number | null
  /** Frames a second. */
  readonly frameRate: number | null
  readonly pixelFormat: string | null
  /** Frames are shown in another order than they stand in the file. */
  readonly isReordered: boolean
  /** When the first of this track is to be seen or heard. */
  readonly startSeconds: number | null
  /** Of this track alone. */
  readonly durationSeconds: number | null
  readonly channels: number | null
  /** Hz. */
  readonly sampleRate: number | null
}

/** What a media file is. */
export interface Media {
  /** FFmpeg's name, or names, of the container. */
  readonly format: string
  /** The one to force. */
  readonly demuxer: string
  readonly durationSeconds: number | null
  /** When its first frame is shown. */
  readonly startSeconds: number
  readonly bitsPerSecond: number | null
  readonly tracks: readonly MediaTrack[]
}

const PROBES_AT_A_TIME = 2
const PROBE_MS = 30_000
const MAX_OUTPUT_BYTES = 1_000_000
const shown = 'format=format_name,duration,start_time,bit_rate:stream=index,codec_type,codec_name,profile,level,width,height,avg_frame_rate,pix_fmt,has_b_frames,channels,sample_rate,start_time,duration:stream_tags=language,title,DURATION:stream_disposition=default,forced,attached_pic'

/** What media files consist of, as ffprobe tells it. */
export class Probe {
  readonly #program: string
  readonly #loopback = new Loopback()
  readonly #slots = new Slots(PROBES_AT_A_TIME)

  private constructor (program: string) {
    this.#program = program
  }

  /** null: there is no ffprobe on this machine's PATH. */
  static async open (path = process.env['PATH'] ?? ''): Promise<Probe | null> {
    const program = await programOf('ffprobe', path)
    return program === null ? null : new Probe(program)
  }

  /**
   * What a file is; null: no media that is let in. It is over after 30 s. Throws SOURCE_FAILED or SOURCE_TIMEOUT where nobody
   * can tell, what reading throws, or the signal's reason.
   */
  async media (file: SourceFile, signal: AbortSignal): Promise<Media | null> {
    return await withTimeout(PROBE_MS, () => new CodedError('SOURCE_TIMEOUT', `ffprobe did not end within ${PROBE_MS / 1000} s`), signal,
      async (signal) => await this.#slots.run(async () => await this.#media(file, signal), signal))
  }

  /** The tracks of a file; none where it is no media that is let in. Throws as `media` does. */
  async tracks (file: SourceFile, signal: AbortSignal): Promise<readonly MediaTrack[]> {
    return (await this.media(file, signal))?.tracks ?? []
  }

  async close (): Promise<void> {
    await this.#loopback.close()
  }

  async #media (file: SourceFile, signal: AbortSignal): Promise<Media | null> {
    const demuxer = containerFormatOf(await readRange(file, { start: 0, end: Math.min(HEAD_BYTES, file.lengthBytes) - 1 }, signal))
    if (demuxer === null) return null
    const { url, release } = await this.#loopback.lend(file, signal)
    try {
      return mediaOf(await this.#run(['-v', 'error', '-protocol_whitelist', 'http,tcp', '-f', demuxer, '-show_entries', shown, '-of', 'json', url], signal), demuxer)
    } finally {
      release()
    }
  }

  async #run (args: readonly string[], signal: AbortSignal): Promise<string> {
    signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const child = await startProgram(this.#program, args, ['ignore', 'pipe', 'ignore'])
    const stop = (): void => { child.kill('SIGKILL') }
    signal.addEventListener('abort', stop, { once: true })
    if (signal.aborted) stop()
    const chunks: Buffer[] = []
    let length = 0
    child.stdout?.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      length += chunk.length
      if (length > MAX_OUTPUT_BYTES) stop()
    })
    child.once('close', (code) => {
      if (signal.aborted) reject(signal.reason)
      else if (code === 0) resolve(Buffer.concat(chunks).toString())
      else reject(new CodedError('SOURCE_FAILED', 'ffprobe cannot read it'))
    })
    try {
      return await promise
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }
}

function mediaOf (output: string, demuxer: string): Media {
  const { format, streams }: Record<string, unknown> = Object(JSON.parse(output))
  const { format_name: name, duration, start_time: start, bit_rate: bits }: Record<string, unknown> = Object(format)
  return {
    format: textOf(name) ?? demuxer,
    demuxer,
    durationSeconds: numberOf(duration),
    startSeconds: numberOf(start) ?? 0,
    bitsPerSecond: numberOf(bits),
    tracks: (Array.isArray(streams) ? streams : []).flatMap(trackOf)
  }
}

function trackOf (stream: unknown): MediaTrack[] {
  const { index, codec_type: type, codec_name: codec, tags, disposition, ...more }: Record<string, unknown> = Object(stream)
  if (typeof index !== 'number' || (type !== 'video' && type !== 'audio' && type !== 'subtitle')) return []
  const { language, title, DURATION: tagged }: Record<string, unknown> = Object(tags)
  const { default: isDefault, forced, attached_pic: picture }: Record<string, unknown> = Object(disposition)
  const [, frames, seconds] = /^(\d{1,9})\/(\d{1,9})$/.exec(textOf(more['avg_frame_rate']) ?? '') ?? []
  const level = numberOf(more['level'])
  return [{
    index,
    type,
    codec: textOf(codec) ?? 'unknown',
    // What says that it says nothing.
    language: language === 'und' ? null : textOf(language),
    title: textOf(title),
    isDefault: isDefault === 1,
    isForced: forced === 1,
    isPicture: picture === 1,
    profile: textOf(more['profile']),
    level: level !== null && level > 0 ? level : null,
    width: numberOf(more['width']),
    height: numberOf(more['height']),
    frameRate: Number(frames) > 0 && Number(seconds) > 0 ? Number(frames) / Number(seconds) : null,
    pixelFormat: textOf(more['pix_fmt']),
    isReordered: more['has_b_frames'] !== 0,
    startSeconds: numberOf(more['start_time']),
    durationSeconds: numberOf(more['duration']) ?? secondsOf(tagged),
    channels: numberOf(more['channels']),
    sampleRate: numberOf(more['sample_rate'])
  }]
}

function textOf (value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value.slice(0, 500) : null
}

/** As Matroska has it: 00:40:00.020000000. */
function secondsOf (value: unknown): number | null {
  const [, hours, minutes, seconds] = /^(\d{1,3}):(\d\d):(\d\d(?:\.\d{1,9})?)$/.exec(textOf(value) ?? '') ?? []
  return seconds === undefined ? null : (Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)
}

function numberOf (value: unknown): number | null {
  const number = typeof value === 'number' || typeof value === 'string' ? Number(value) : NaN
  return Number.isFinite(number) ? number : null
}
