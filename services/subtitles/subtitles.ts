import { CodedError } from '../errors.ts'
import { withTimeout } from '../deadline.ts'
import { deadlines } from '../deadlines.ts'
import { readRange } from '../read-range.ts'
import { Slots } from '../slots.ts'
import { NothingServes } from '../source-walk.ts'
import { describe } from '../torrent/description.ts'
import { selectFile } from '../torrent/file-selection.ts'
import { encodingOf } from './encoding.ts'
import { namedLanguage } from './language.ts'
import { subtitleFilesOf, subtitleFormatOf } from './subtitle-files.ts'
import { toWebVtt } from './webvtt.ts'
import type { SourceChain } from '../source-chain.ts'
import type { SourceFile, StreamRequest } from '../source.ts'
import type { Metadata } from '../torrent/metadata.ts'
import type { Torrents } from '../torrent/torrents.ts'
import type { SubtitleFile, SubtitleFormat } from './subtitle-files.ts'

export interface SubtitlesOptions {
  readonly sources: Pick<SourceChain, 'open' | 'closing'>
  readonly torrents: Pick<Torrents, 'knownMetadata'>
}

/** A subtitle file as it is, or as WebVTT. */
export interface SubtitleText {
  readonly name: string
  readonly format: SubtitleFormat
  readonly bytes: Buffer
  /** WHATWG name of the encoding that the bytes are in. */
  readonly encoding: string
  /** Strong, with its quotes; that of the WebVTT is another. */
  readonly etag: string
  readonly isVerified: boolean
}

/** What a stream request says of where to look. */
export type Where = Pick<StreamRequest, 'infohash' | 'trackers' | 'hops'>

/** A subtitle file is some 100 KB; styled ones bring their fonts. */
export const MAX_SUBTITLE_BYTES = 10_000_000

/** So many are read at a time, over all clients: each is in memory as a whole. */
const CONCURRENCY = 4

/** The subtitle files of torrents. Bytes come through the chain, as a video's do. */
export class Subtitles {
  readonly #options: SubtitlesOptions
  readonly #slots = new Slots(CONCURRENCY)

  constructor (options: SubtitlesOptions) {
    this.#options = options
  }

  /**
   * The subtitle files of a torrent; with `video` those of this file only, and those that nobody can tell of. Looks for the
   * metadata where it is unknown. Throws NothingServes when it cannot be had, FILE_INDEX, or the signal's reason.
   */
  async list (where: Where, video: number | null, signal: AbortSignal): Promise<SubtitleFile[]> {
    const { metadata } = await describe(where, this.#options, signal)
    const files = metadata === null ? [] : subtitleFilesOf(metadata)
    return video === null ? files : files.filter(({ videos }) => videos.length === 0 || videos.includes(video))
  }

  /**
   * The whole of a subtitle file. Throws NothingServes: no source has it, it is none (FILE_INDEX), or larger than 10 MB; or
   * the signal's reason. It is over after `deadlines.subtitleMs`.
   */
  async read (where: Where, fileIndex: number, signal: AbortSignal): Promise<SubtitleText> {
    const late = new CodedError('SOURCE_TIMEOUT', `the subtitle file did not arrive within ${deadlines.subtitleMs / 1000} s`)
    return await withTimeout(deadlines.subtitleMs, () => late, AbortSignal.any([signal, this.#options.sources.closing]),
      async (signal) => await this.#slots.run(async () => await this.#read(where, fileIndex, signal), signal))
  }

  /** As `read`, converted to WebVTT: UTF-8, with an ETag of its own. */
  async readAsWebVtt (where: Where, fileIndex: number, signal: AbortSignal): Promise<SubtitleText> {
    const { bytes, etag, encoding, ...file } = await this.read(where, fileIndex, signal)
    const text = await toWebVtt(new TextDecoder(encoding).decode(bytes), signal)
    return { ...file, format: 'vtt', bytes: Buffer.from(text), encoding: 'utf-8', etag: etag.replace(/"$/, '-vtt"') }
  }

  async #read (where: Where, fileIndex: number, signal: AbortSignal): Promise<SubtitleText> {
    const { sources } = this.#options
    const { infohash, trackers, hops = [] } = where
    const { metadata } = await describe(where, this.#options, signal)
    // Before anybody downloads the beginning of a film.
    if (metadata !== null) checked(selectFile(metadata, fileIndex), fileIndex)
    const { file } = await sources.open({ infohash, fileIndex, trackers, hops, head: { start: 0 } }, signal)
    const format = checked(file, fileIndex)
    const bytes = await readRange(file, { start: 0, end: file.lengthBytes - 1 }, signal)
    const { name, etag, isVerified } = file
    return { name, format, bytes, encoding: encodingOf(bytes, languageOf(metadata, file.name, fileIndex)), etag, isVerified }
  }
}

/** As its name, and the videos beside it, tell. */
function languageOf (metadata: Metadata | null, name: string, fileIndex: number): string | null {
  const listed = metadata === null ? undefined : subtitleFilesOf(metadata).find(({ file }) => file.index === fileIndex)
  return listed?.language ?? namedLanguage(name.replace(/\.[^.]*$/, ''), null).language
}

/** The format of the file; throws where it is no subtitle file, or too large for one. */
function checked ({ name, lengthBytes }: Pick<SourceFile, 'name' | 'lengthBytes'>, fileIndex: number): SubtitleFormat {
  const format = subtitleFormatOf(name)
  if (format === null) throw refused(fileIndex, `is ${JSON.stringify(name.slice(0, 200))}, no subtitle file (srt, vtt, ass, ssa)`)
  if (lengthBytes > MAX_SUBTITLE_BYTES) throw refused(fileIndex, `has ${lengthBytes} bytes, more than the ${MAX_SUBTITLE_BYTES} that a subtitle file may have`)
  return format
}

function refused (fileIndex: number, why: string): NothingServes {
  return new NothingServes([{ source: 'request', code: 'FILE_INDEX', message: `file ${fileIndex} ${why}`, isTemporary: false }])
}
