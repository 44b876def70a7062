import { cueLines, escaped, settingsOf } from './cue-text.ts'
import type { Cue, LineParser } from './webvtt.ts'

/** The columns of `Dialogue:` where no `Format:` line says otherwise. */
const usualFormat = ['layer', 'start', 'end', 'style', 'name', 'marginl', 'marginr', 'marginv', 'effect', 'text']

const time = /^\s{0,10}(\d{1,3}):(\d{1,2}):(\d{1,2})(?:[.,:](\d{1,3}))?\s{0,10}$/
const MAX_COLUMNS = 100

/** SubStation Alpha, version 4 and 4+ (SSA, ASS): its dialogue, without styles, drawings and effects. */
export class AssParser implements LineParser {
  /** By what they show and when: shadows and glows repeat the text in layers. */
  readonly #cues = new Map<string, Cue>()
  readonly #maxCues: number
  #isInEvents = false
  #format: readonly string[] = usualFormat

  constructor (maxCues: number) {
    this.#maxCues = maxCues
  }

  line (text: string): void {
    if (text.startsWith('[')) {
      this.#isInEvents = /^\[events\]/i.test(text)
      return
    }
    if (!this.#isInEvents || this.#cues.size >= this.#maxCues) return
    if (/^format:/i.test(text)) this.#format = text.slice('format:'.length, 10_000).toLowerCase().split(',', MAX_COLUMNS).map((name) => name.trim())
    else if (/^dialogue:/i.test(text)) this.#dialogue(text.slice('dialogue:'.length))
  }

  end (): Cue[] {
    return [...this.#cues.values()]
  }

  #dialogue (fields: string): void {
    const values = new Map<string, string>()
    let from = 0
    for (const [column, name] of this.#format.entries()) {
      // The last column is the text, commas and all.
      const comma = column === this.#format.length - 1 ? -1 : fields.indexOf(',', from)
      values.set(name, fields.slice(from, comma === -1 ? undefined : comma))
      if (comma === -1) break
      from = comma + 1
    }
    const start = secondsOf(values.get('start') ?? '')
    const end = secondsOf(values.get('end') ?? '')
    if (start === null || end === null || end <= start) return
    const { text, alignment } = styled(values.get('text') ?? '')
    if (text !== null) this.#cues.set(`${start} ${end} ${text}`, { start, end, text, settings: settingsOf(alignment) })
  }
}

/** Text with its override blocks (`{\i1}`) turned into WebVTT's tags or left out. */
function styled (source: string): { text: string | null, alignment: number } {
  const open: string[] = []
  let text = ''
  let alignment = 2
  let isDrawing = false
  for (let from = 0; from < source.length;) {
    const brace = source.indexOf('{', from)
    const plain = source.slice(from, brace === -1 ? undefined : brace)
    if (!isDrawing) text += escaped(plain).replace(/\\[Nn]/g, '\n').replaceAll('\\h', '&nbsp;')
    if (brace === -1) break
    const close = source.indexOf('}', brace)
    if (close === -1) {
      if (!isDrawing) text += escaped(source.slice(brace))
      break
    }
    for (const [, name = '', value = ''] of source.slice(brace + 1, close).matchAll(/\\(an|a|[biup])(\d{0,4})(?![a-z(&])/g)) {
      if (name === 'an') alignment = Number(value)
      else if (name === 'a') alignment = legacyAlignment(Number(value))
      else if (name === 'p') isDrawing = Number(value) > 0
      else if (Number(value) === 0) text += closed(open, name)
      else if (!open.includes(name)) {
        open.push(name)
        text += `<${name}>`
      }
    }
    from = close + 1
  }
  while (open.length > 0) text += `</${open.pop()}>`
  return { text: cueLines(text.split('\n')), alignment }
}

/** Ends this tag; those inside it are ended before and begun again after. */
function closed (open: string[], name: string): string {
  if (!open.includes(name)) return ''
  const inner = open.splice(open.indexOf(name)).slice(1)
  open.push(...inner)
  return `${inner.toReversed().map((each) => `</${each}>`).join('')}</${name}>${inner.map((each) => `<${each}>`).join('')}`
}

/** SSA's `\a`: 5 to 7 on top, 9 to 11 in the middle. */
function legacyAlignment (value: number): number {
  return value >= 9 ? 5 : value >= 5 ? 8 : 2
}

function secondsOf (text: string): number | null {
  const [, hours, minutes, seconds, fraction = ''] = time.exec(text) ?? []
  if (hours === undefined || minutes === undefined || seconds === undefined) return null
  return Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds) + Number(fraction.padEnd(3, '0')) / 1000
}
