import { setImmediate as turn } from 'node:timers/promises'
import { AssParser } from './ass.ts'
import { SrtParser } from './srt.ts'

/** One subtitle: seconds, text that is WebVTT cue text already, and where it stands. */
export interface Cue {
  readonly start: number
  readonly end: number
  readonly text: string
  /** A line of its own settings, such as `line:0`; empty: at the bottom, as usual. */
  readonly settings: string
}

/** Takes a subtitle file line by line. */
export interface LineParser {
  line (text: string): void
  /** All cues, after the last line. */
  end (): Cue[]
}

/** A film has 2000; what has more is no film. */
const MAX_CUES = 100_000
/** After so many lines others have their turn: a file of 10 MB would hold every stream up. */
const LINES_A_TURN = 2000

/**
 * A subtitle file as WebVTT (https://www.w3.org/TR/webvtt1/): SubRip, SubStation Alpha (SSA, ASS) or WebVTT itself, told
 * apart by what is in it. Italics, bold, underline and top or middle stay, other styling is left out. Takes any text, in
 * linear time; what is no subtitle is left out. Throws the signal's reason.
 */
export async function toWebVtt (text: string, signal: AbortSignal): Promise<string> {
  const head = text.slice(0, 1000).trimStart()
  if (/^WEBVTT(?:[ \t\r\n]|$)/.test(head)) return text.trimStart()
  const parser: LineParser = /^(?:;[^\n]*\n\s*)*\[(?:Script Info|V4\+? Styles|Events)\]/i.test(head) ? new AssParser(MAX_CUES) : new SrtParser(MAX_CUES)
  let count = 0
  for (const line of linesOf(text)) {
    parser.line(line)
    if (++count % LINES_A_TURN !== 0) continue
    await turn()
    signal.throwIfAborted()
  }
  const cues = parser.end().sort((a, b) => a.start - b.start || a.end - b.end)
  return `WEBVTT\n\n${cues.map((cue) => `${timestamp(cue.start)} --> ${timestamp(cue.end)}${cue.settings === '' ? '' : ` ${cue.settings}`}\n${cue.text}\n`).join('\n')}`
}

function * linesOf (text: string): Generator<string> {
  for (let start = 0; start < text.length;) {
    const newline = text.indexOf('\n', start)
    const end = newline === -1 ? text.length : newline
    const line = text.slice(start, end)
    start = end + 1
    // Old Macs end lines by it; elsewhere it stands before the newline.
    if (line.includes('\r')) yield * line.replace(/\r$/, '').split('\r')
    else yield line
  }
}

function timestamp (seconds: number): string {
  const ms = Math.round(seconds * 1000)
  const part = (value: number, digits: number): string => String(value).padStart(digits, '0')
  return `${part(Math.floor(ms / 3_600_000), 2)}:${part(Math.floor(ms / 60_000) % 60, 2)}:${part(Math.floor(ms / 1000) % 60, 2)}.${part(ms % 1000, 3)}`
}
