/** A subtitle as old Stremio apps read it; milliseconds. */
export interface NumberedCue {
  readonly number: number
  readonly startTime: number
  readonly endTime: number
  readonly text: string
}

const times = /^((?:\d+:)?\d\d:\d\d\.\d{3})[ \t]+-->[ \t]+((?:\d+:)?\d\d:\d\d\.\d{3})/

/** The cues of a WebVTT text, numbered from 1. */
export function cuesOf (webVtt: string): NumberedCue[] {
  const cues: NumberedCue[] = []
  for (const block of webVtt.split(/\r?\n(?:\r?\n)+/)) {
    const lines = block.split(/\r?\n/)
    const at = lines.findIndex((line) => times.test(line))
    const [, start, end] = times.exec(lines[at] ?? '') ?? []
    if (start === undefined || end === undefined) continue
    cues.push({ number: cues.length + 1, startTime: milliseconds(start), endTime: milliseconds(end), text: lines.slice(at + 1).join('\n').trim() })
  }
  return cues
}

/** A WebVTT text whose cues come so many milliseconds later; none of them before the beginning. */
export function shifted (webVtt: string, offsetMs: number): string {
  return webVtt.replace(new RegExp(times, 'gm'), (_line, start: string, end: string) => `${timestamp(milliseconds(start) + offsetMs)} --> ${timestamp(milliseconds(end) + offsetMs)}`)
}

/** As WebVTT writes a time; none before the beginning. */
export function timestamp (ms: number): string {
  const at = Math.max(0, ms)
  const two = (value: number): string => String(Math.floor(value)).padStart(2, '0')
  return `${two(at / 3_600_000)}:${two(at / 60_000 % 60)}:${two(at / 1000 % 60)}.${String(at % 1000).padStart(3, '0')}`
}

function milliseconds (timestamp: string): number {
  const [seconds = 0, minutes = 0, hours = 0] = timestamp.split(':').map(Number).reverse()
  return Math.round(((hours * 60 + minutes) * 60 + seconds) * 1000)
}
