import { setTimeout as pause } from 'node:timers/promises'
import { cuesOf, timestamp } from '../stremio-server/cues.ts'
import { CodedError } from '../errors.ts'
import { fragmentOf, isKeyframe, readFragments } from './fragments.ts'
import { TIMELINE_SECONDS } from './arguments.ts'
import type { Init, Sample } from './fragments.ts'
import type { Output } from './ffmpeg.ts'
import type { Rendition } from './renditions.ts'
import type { Span } from './arguments.ts'

/** Of a frame: less than any lasts, and more than times are rounded by. */
const TOLERANCE_SECONDS = 0.004
/** So far behind the end a subtitle may stand in the file that belongs before it. */
const TEXT_MARGIN_SECONDS = 2
const ON_ITS_WAY_MS = 50

/** What stands before the segments of a rendition: the head of any run. */
export async function readInit ({ out }: Output): Promise<Buffer> {
  for await (const part of readFragments(out)) if ('timescale' in part) return part.bytes
  throw new CodedError('SOURCE_FAILED', 'ffmpeg wrote nothing')
}

/**
 * The segment of this span. Neighbours neither share nor lose a frame: of copied video it is what stands in the file from one
 * keyframe to the next, whenever it is shown; of everything else what begins within the span.
 */
export async function readSegment ({ out }: Output, rendition: Rendition, span: Span, sequence: number): Promise<Buffer> {
  const samples: Sample[] = []
  let init: Init | null = null
  const isCut = rendition.kind === 'video' && rendition.maxWidth === 'copy'
  let isIn = !isCut || span.start === 0
  for await (const part of readFragments(out)) {
    if ('timescale' in part) {
      init = part
      continue
    }
    if (init === null) throw new CodedError('SOURCE_FAILED', 'ffmpeg wrote a fragment before its head')
    const seconds = (part.decodeTime + part.offset) / init.timescale - TIMELINE_SECONDS
    const isBehind = !span.isLast && seconds >= span.end - TOLERANCE_SECONDS
    if (isCut) {
      if (isKeyframe(part) && isBehind) break
      isIn ||= isKeyframe(part) && seconds >= span.start - TOLERANCE_SECONDS
      if (isIn) samples.push(part)
    } else {
      if (isBehind) break
      if (span.start === 0 ? part.decodeTime >= 0 && isWanted(rendition, seconds) : seconds >= span.start - TOLERANCE_SECONDS) samples.push(part)
    }
  }
  return fragmentOf(isCut ? promptly(samples) : samples, sequence)
}

/** The same frames, each shown when it was, with the first decoded when it is shown: players take the one for the other. */
function promptly (samples: readonly Sample[]): Sample[] {
  const late = samples[0]?.offset ?? 0
  return samples.map((sample) => ({ ...sample, decodeTime: sample.decodeTime + late, offset: sample.offset - late }))
}

/** NAL units (H.264 section 7.4.1): of a picture that others may follow, whatever was before; of any other. */
const IDR = 5
const NON_IDR = 1

/**
 * Does the first keyframe from here on forget what was before it? One that does not (an "open" group of pictures, in H.264)
 * is followed by pictures that need some from before, and browsers do not begin there.
 */
export async function beginsAnew ({ out }: Output, start: number): Promise<boolean> {
  let init: Init | null = null
  for await (const part of readFragments(out)) {
    if ('timescale' in part) init = part
    else if (init !== null && isKeyframe(part) && (part.decodeTime + part.offset) / init.timescale - TIMELINE_SECONDS >= start - TOLERANCE_SECONDS) return pictureType(part.data, lengthBytesOf(init.bytes)) !== NON_IDR
  }
  return true
}

/** How many bytes tell how long a NAL unit is: in the `avcC` (ISO/IEC 14496-15 section 5.3.3.1). */
function lengthBytesOf (init: Buffer): number {
  const at = init.indexOf('avcC', 0, 'latin1')
  return at === -1 ? 4 : ((init[at + 8] ?? 3) & 3) + 1
}

function pictureType (data: Buffer, lengthBytes: number): number | null {
  for (let at = 0; at + lengthBytes < data.length;) {
    const type = (data[at + lengthBytes] ?? 0) & 0x1f
    if (type === IDR || type === NON_IDR) return type
    at += lengthBytes + data.readUIntBE(at, lengthBytes)
  }
  return null
}

/** The encoder's own frame before the first counts for nothing; what was in the file does. */
function isWanted (rendition: Rendition, seconds: number): boolean {
  return rendition.kind !== 'audio' || rendition.channels === 'copy' || seconds >= -TOLERANCE_SECONDS
}

/** The subtitles that are to be seen within the span, as WebVTT with the times of the other renditions (RFC 8216 section 3.5). */
export async function readText ({ out, marks }: Output, span: Span): Promise<Buffer> {
  const chunks: Buffer[] = []
  const reading = (async () => { for await (const chunk of out) chunks.push(chunk) })()
  await Promise.race([reading, passed(marks, span.end + TEXT_MARGIN_SECONDS)])
  // What was written before the video came there may still be on its way.
  await Promise.race([reading, pause(ON_ITS_WAY_MS)])
  reading.catch(() => {})
  return textOf(Buffer.concat(chunks).toString(), span)
}

/** WebVTT of those cues that touch the span. */
export function textOf (webVtt: string, { start, end }: Pick<Span, 'start' | 'end'>): Buffer {
  const cues = cuesOf(webVtt).filter((cue) => cue.startTime < end * 1000 && cue.endTime > start * 1000)
  return Buffer.from(`WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:${TIMELINE_SECONDS * 90_000},LOCAL:00:00:00.000\n\n${cues.map(({ startTime, endTime, text }) => `${timestamp(startTime)} --> ${timestamp(endTime)}\n${text}\n\n`).join('')}`)
}

/** Resolves when the video has come past this second; never where it ends before, for then all ends. */
async function passed (marks: AsyncIterable<Buffer>, seconds: number): Promise<void> {
  let rest = ''
  let timebase = 0
  for await (const chunk of marks) {
    const lines = (rest + chunk.toString('latin1')).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const [, numerator, denominator] = /^#tb 0: (\d+)\/(\d+)$/.exec(line) ?? []
      if (numerator !== undefined) timebase = Number(numerator) / Number(denominator)
      const [, decoded] = /^0, *(-?\d+),/.exec(line) ?? []
      if (decoded !== undefined && Number(decoded) * timebase > seconds) return
    }
  }
  await new Promise<never>(() => {})
}
