/** A character reference that a WebVTT reader knows; any other ampersand is meant as one. */
const reference = /&(?!(?:amp|lt|gt|nbsp|lrm|rlm|quot|apos|#\d{1,7}|#x[0-9a-f]{1,6});)/gi

/** Text that is none of WebVTT's markup, as cue text. */
export function escaped (text: string): string {
  return text.replace(reference, '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

/** The lines of a cue: an empty one would end it (WebVTT section 4.1). null: nothing is left. */
export function cueLines (lines: readonly string[]): string | null {
  const kept = lines.map((line) => line.trim()).filter((line) => line !== '')
  return kept.length === 0 ? null : kept.join('\n')
}

/** Where SubStation's `\an` puts text, as on a numeric keypad: 7 to 9 on top, 4 to 6 in the middle. */
export function settingsOf (alignment: number): string {
  return alignment >= 7 ? 'line:0' : alignment >= 4 ? 'line:50%' : ''
}
