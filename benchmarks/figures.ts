// What the benchmarks share to say what they measured.

/** The value below which this part of them lies; NaN of none. */
export function percentile (values: readonly number[], part: number): number {
  return values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))] ?? NaN
}

export function median (values: readonly number[]): number {
  return percentile(values, 0.5)
}

export function ratio (a: number | undefined, b: number | undefined): string {
  return `${((a ?? NaN) / (b ?? NaN)).toFixed(2)} x`
}

/** Prints a table in Markdown; `title` says what was measured, and how often. */
export function printTable (title: string, head: readonly string[], rows: ReadonlyArray<readonly string[]>): void {
  console.log(`${title}\n`)
  for (const row of [head, head.map(() => '---'), ...rows]) console.log(`| ${row.join(' | ')} |`)
  console.log('')
}
