/** Bytes of the torrent from `start` up to, not including, `end`. */
export interface Span {
  readonly start: number
  readonly end: number
}

/** What of the span is not covered, in order. `covers` may overlap, reach beyond it, and come in any order. */
export function uncovered ({ start, end }: Span, covers: Iterable<Span>): Span[] {
  const gaps: Span[] = []
  let position = start
  for (const cover of [...covers].sort((a, b) => a.start - b.start)) {
    if (cover.start >= end) break
    if (cover.start > position) gaps.push({ start: position, end: cover.start })
    position = Math.max(position, cover.end)
  }
  if (position < end) gaps.push({ start: position, end })
  return gaps
}

/** Do they have a byte in common? */
export function overlaps (a: Span, b: Span): boolean {
  return a.start < b.end && b.start < a.end
}
