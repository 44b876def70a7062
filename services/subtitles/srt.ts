import { cueLines, escaped, settingsOf } from './cue-text.ts'
import type { Cue, LineParser } from './webvtt.ts'

/** Hours may be missing, and fractions have one to three digits after a comma or a point. */
const time = '(?:(\\d{1,3}):)?(\\d{1,2}):(\\d{1,2})(?:[.,](\\d{1,3}))?'
const timing = new RegExp(`^\\s{0,10}${time}\\s{0,10}-{1,2}>\\s{0,10}${time}`)
const counter = /^\s{0,10}\d{1,9}\s{0,10}$/

/** Tags, SubStation's overrides, and characters that would be markup. Each alternative ends where the next may begin: linear. */
const markup = /<\/?[a-z][^<>]*>|\{\\[^{}]*\}/gi

interface Pending {
  readonly start: number
  readonly end: number
  readonly lines: string[]
}

/**
 * SubRip. Forgiving: a cue is a line with times and what follows up to the next one, whatever is between (missing
 * counters, missing or surplus empty lines).
 */
export class SrtParser implements LineParser {
  readonly #cues: Cue[] = []
  readonly #maxCues: number
  #pending: Pending | null = null

  constructor (maxCues: number) {
    this.#maxCues = maxCues
  }

  line (text: string): void {
    const match = text.includes('>') ? timing.exec(text) : null
    if (match === null) {
      this.#pending?.lines.push(text)
      return
    }
    // The counter of the cue that begins.
    const last = this.#pending?.lines.at(-1)
    if (last !== undefined && counter.test(last)) this.#pending?.lines.pop()
    this.#finish()
    const [, h1, m1, s1, f1, h2, m2, s2, f2] = match
    this.#pending = { start: seconds(h1, m1, s1, f1), end: seconds(h2, m2, s2, f2), lines: [] }
  }

  end (): Cue[] {
    this.#finish()
    return this.#cues
  }

  #finish (): void {
    const pending = this.#pending
    this.#pending = null
    if (pending === null || pending.end <= pending.start || this.#cues.length >= this.#maxCues) return
    let alignment = 2
    const styled = (line: string): string => {
      let text = ''
      let from = 0
      for (const match of line.matchAll(markup)) {
        text += escaped(line.slice(from, match.index))
        from = match.index + match[0].length
        const tag = /^<(\/?)([biu])\s*>$/i.exec(match[0])
        if (tag !== null) text += `<${tag[1] ?? ''}${(tag[2] ?? '').toLowerCase()}>`
        const position = /\\an([1-9])/.exec(match[0])?.[1]
        if (position !== undefined) alignment = Number(position)
      }
      return text + escaped(line.slice(from))
    }
    const text = cueLines(pending.lines.map(styled))
    if (text !== null) this.#cues.push({ start: pending.start, end: pending.end, text, settings: settingsOf(alignment) })
  }
}

function seconds (hours = '0', minutes = '0', wholes = '0', fraction = ''): number {
  return Number(hours) * 3600 + Number(minutes) * 60 + Number(wholes) + Number(fraction.padEnd(3, '0')) / 1000
}
