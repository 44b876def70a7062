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

function milliseconds (timestamp: string): number {
  const [seconds = 0, minutes = 0, hours = 0] = timestamp.split(':').map(Number).reverse()
  return Math.round(((hours * 60 + minutes) * 60 + seconds) * 1000)
}
