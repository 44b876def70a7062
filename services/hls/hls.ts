import { abortable, withTimeout } from '../deadline.ts'
import { asCoded, CodedError } from '../errors.ts'
import { NothingServes } from '../source-walk.ts'
import { ffmpegArguments } from './arguments.ts'
import { keyframesOf } from './keyframes.ts'
import { beginsAnew, readInit, readSegment, readText } from './parts.ts'
import { masterPlaylist, mediaPlaylist } from './playlists.ts'
import { mostBytesOf, cutsOf, nameOf, renditionsFor } from './renditions.ts'
import type { Log } from '../log.ts'
import type { Media, Probe } from '../media/probe.ts'
import type { SourceFile } from '../source.ts'
import type { Ffmpeg, Output } from './ffmpeg.ts'
import type { Abilities, Rendition } from './renditions.ts'
import type { Span } from './arguments.ts'

/** Opens the file, anew each time. */
export type Open = (signal: AbortSignal) => Promise<SourceFile>

/** What is known of a file, kept while others of late are fewer than this. */
const FILES_KEPT = 50
/** To find out about a file it is read here and there. */
const FACTS_MS = 60_000

/** The head of an mp4 of one track has 1 to 2 KB, and what the decoder needs. */
const INIT_BYTES = 10_000

/** A part of a rendition that can be had. */
export interface Part {
  /** What it may have, as far as anybody knows before it is made. */
  readonly expectedBytes: number
  /**
   * The whole of it. Where its process fails, it is made once more from the file opened anew. Throws what kept the file from
   * being read, SOURCE_FAILED, SOURCE_TIMEOUT, or the signal's reason.
   */
  readonly make: (signal: AbortSignal) => Promise<Buffer>
}

interface Facts {
  readonly media: Promise<Media | null>
  keyframes: Promise<number[] | null> | null
  readonly inits: Map<string, Promise<Buffer>>
}

/** Files of the chain as HLS (RFC 8216): what a browser cannot play as it is, made on demand, a segment at a time. */
export class Hls {
  readonly #ffmpeg: Ffmpeg
  readonly #probe: Probe
  readonly #log: Log
  readonly #closing = new AbortController()
  /** By the file's content; the latest used last. */
  readonly #facts = new Map<string, Facts>()

  constructor ({ ffmpeg, probe, log }: { readonly ffmpeg: Ffmpeg, readonly probe: Probe, readonly log: Log }) {
    this.#ffmpeg = ffmpeg
    this.#probe = probe
    this.#log = log
  }

  /** No segment has more. */
  get maxSegmentBytes (): number {
    return this.#ffmpeg.maxOutputBytes
  }

  /** Processes that run now. */
  get running (): number {
    return this.#ffmpeg.running
  }

  /** What the file is; null: no media that is let in. Throws as Probe does. */
  async media (open: Open, signal: AbortSignal): Promise<Media | null> {
    return await abortable(this.#factsOf(await open(signal)).media, signal)
  }

  /** The master playlist for what this player can play; null: there is nothing to play. */
  async master (open: Open, abilities: Abilities, query: string, signal: AbortSignal): Promise<string | null> {
    const file = await open(signal)
    const media = await abortable(this.#factsOf(file).media, signal)
    if (media === null) return null
    const keyframes = await this.#keyframes(file, media, signal)
    const choice = renditionsFor(media, keyframes, abilities, this.maxSegmentBytes)
    const main = choice.video ?? choice.audio[0]
    if (main === undefined || cutsOf(media, main, keyframes) === null) return null
    return masterPlaylist(media, choice, query)
  }

  /** The playlist of a rendition; null: this file has no such. */
  async playlist (open: Open, rendition: Rendition, query: string, signal: AbortSignal): Promise<string | null> {
    const plan = await this.#plan(await open(signal), rendition, signal)
    return plan === null ? null : mediaPlaylist(rendition, plan.cuts, query)
  }

  /** What stands before the segments; null: this file has no such rendition. Throws as a part does when it is made. */
  async init (open: Open, rendition: Rendition, signal: AbortSignal): Promise<Part | null> {
    const file = await open(signal)
    const plan = await this.#plan(file, rendition, signal)
    if (plan === null || rendition.kind === 'subtitle') return null
    const { inits } = this.#factsOf(file)
    const name = nameOf(rendition)
    return {
      expectedBytes: INIT_BYTES,
      make: async (signal) => {
        const before = inits.get(name)
        if (before !== undefined) return await abortable(before, signal)
        const made = this.#shared(async (signal) => await this.#make(open, file, plan.media, rendition, spanOf(plan, 0), async (output) => await readInit(output), signal))
        inits.set(name, made)
        made.catch(() => { inits.delete(name) })
        return await abortable(made, signal)
      }
    }
  }

  /** A segment; null: there is no such. Throws what keeps the file from being read, or the signal's reason. */
  async segment (open: Open, rendition: Rendition, index: number, signal: AbortSignal): Promise<Part | null> {
    const file = await open(signal)
    const plan = await this.#plan(file, rendition, signal)
    if (plan === null || index >= plan.cuts.length - 1) return null
    const span = spanOf(plan, index)
    return {
      expectedBytes: mostBytesOf(plan.media, rendition, span.end - span.start),
      make: async (signal) => await this.#make(open, file, plan.media, rendition, span, async (output) => rendition.kind === 'subtitle' ? await readText(output, span) : await readSegment(output, rendition, span, index + 1), signal)
    }
  }

  async close (): Promise<void> {
    this.#closing.abort(new CodedError('SHUTTING_DOWN', 'the server is shutting down'))
    await this.#ffmpeg.close()
  }

  async #make (open: Open, file: SourceFile, media: Media, rendition: Rendition, span: Span, consume: (output: Output) => Promise<Buffer>, signal: AbortSignal): Promise<Buffer> {
    const both = AbortSignal.any([signal, this.#closing.signal])
    const attempt = async (file: SourceFile): Promise<Buffer> => await this.#ffmpeg.run(file, (url) => ffmpegArguments(url, media, rendition, span), consume, both)
    try {
      return await attempt(file)
    } catch (error) {
      both.throwIfAborted()
      this.#log.warn({ err: error, rendition: nameOf(rendition), start: span.start }, '[Hybrid] A part of a film failed, and is made once more')
      try {
        return await attempt(await open(both))
      } catch (error) {
        both.throwIfAborted()
        throw error instanceof NothingServes ? error : asCoded(error, 'SOURCE_FAILED')
      }
    }
  }

  async #plan (file: SourceFile, rendition: Rendition, signal: AbortSignal): Promise<Plan | null> {
    const media = await abortable(this.#factsOf(file).media, signal)
    if (media === null || !media.tracks.some(({ index, type }) => index === rendition.track && type === rendition.kind)) return null
    const keyframes = await this.#keyframes(file, media, signal)
    const cuts = cutsOf(media, rendition, keyframes)
    return cuts === null ? null : { media, cuts, keyframes }
  }

  async #keyframes (file: SourceFile, media: Media, signal: AbortSignal): Promise<number[] | null> {
    const facts = this.#factsOf(file)
    facts.keyframes ??= this.#found(facts, this.#shared(async (signal) => await this.#index(file, media, signal)))
    return await abortable(facts.keyframes, signal)
  }

  /** The keyframes at which a player can begin. */
  async #index (file: SourceFile, media: Media, signal: AbortSignal): Promise<number[] | null> {
    const keyframes = await keyframesOf(file, media.demuxer, signal)
    const video = media.tracks.find(({ type, isPicture }) => type === 'video' && !isPicture)
    if (keyframes === null || video?.codec !== 'h264') return keyframes
    const [, start, end = start] = keyframes
    if (start === undefined || end === undefined) return keyframes
    const rendition: Rendition = { kind: 'video', track: video.index, maxWidth: 'copy' }
    const span = { start, end, isLast: false, nextKeyframe: end }
    // One tells of all: an encoder makes them one way or the other.
    return await this.#ffmpeg.run(file, (url) => ffmpegArguments(url, media, rendition, span), async (output) => await beginsAnew(output, start), signal) ? keyframes : null
  }

  #factsOf (file: SourceFile): Facts {
    const key = `${file.source === 'mock' ? 'mock' : ''} ${file.lengthBytes} ${file.etag}`
    const kept = this.#facts.get(key)
    // For the order of the map.
    this.#facts.delete(key)
    const facts: Facts = kept ?? { media: this.#shared(async (signal) => await this.#probe.media(file, signal)), keyframes: null, inits: new Map() }
    if (kept === undefined) this.#found(facts, facts.media).catch(() => { /* whoever asked hears it */ })
    this.#facts.set(key, facts)
    const [oldest] = this.#facts.keys()
    if (oldest !== undefined && this.#facts.size > FILES_KEPT) this.#facts.delete(oldest)
    return facts
  }

  /** What was not found out is asked again the next time. */
  async #found<T> (facts: Facts, promise: Promise<T>): Promise<T> {
    try {
      return await promise
    } catch (error) {
      for (const [key, each] of this.#facts) if (each === facts) this.#facts.delete(key)
      throw error
    }
  }

  /** Requests share what is found out: it goes on when one of them leaves. */
  async #shared<T> (work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return await withTimeout(FACTS_MS, () => new CodedError('SOURCE_TIMEOUT', `it could not be found out within ${FACTS_MS / 1000} s what this file is`), this.#closing.signal, work)
  }
}

interface Plan {
  readonly media: Media
  readonly cuts: readonly number[]
  readonly keyframes: readonly number[] | null
}

function spanOf ({ cuts, keyframes }: Plan, index: number): Span {
  const start = cuts[index] ?? 0
  return { start, end: cuts[index + 1] ?? start, isLast: index >= cuts.length - 2, nextKeyframe: keyframes?.find((time) => time > start + 0.005) ?? null }
}
