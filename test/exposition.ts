/** A metric as a scrape has it. */
export interface Family {
  readonly name: string
  readonly help: string
  readonly type: string
  readonly samples: ReadonlyArray<{ readonly name: string, readonly labels: Readonly<Record<string, string>>, readonly value: number }>
}

const metricName = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const number = /^(?:[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|[+-]Inf|NaN)$/i

/**
 * Prometheus' text format 0.0.4, read as strictly as `promtool check metrics`: each family once, with HELP and TYPE before
 * its samples, no sample twice, names and label values as they must be, counters that end in _total and never below 0,
 * histograms whose buckets rise to +Inf, which is the count. Throws an Error that names the line.
 */
export function parseExposition (text: string): Map<string, Family> {
  if (!text.endsWith('\n')) throw new Error('the last line has no end')
  const families = new Map<string, { name: string, help: string, type: string, samples: Array<Family['samples'][number]> }>()
  const seen = new Set<string>()
  let help: { name: string, text: string } | null = null
  let current: string | null = null
  for (const [i, line] of text.slice(0, -1).split('\n').entries()) {
    const fail = (why: string): never => { throw new Error(`line ${i + 1}: ${why}: ${line}`) }
    if (line === '') continue
    const helped = /^# HELP (\S+) (\S.*)$/.exec(line)
    const typed = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line)
    if (helped !== null) {
      help = { name: helped[1] ?? '', text: helped[2] ?? '' }
      continue
    }
    if (typed !== null) {
      const [, name = '', type = ''] = typed
      if (!metricName.test(name)) fail('not a name')
      if (help?.name !== name) fail('no HELP before TYPE')
      if (families.has(name)) fail('a second family of this name')
      if (type === 'counter' && !name.endsWith('_total')) fail('a counter whose name does not end in _total')
      if (type === 'gauge' && name.endsWith('_total')) fail('a gauge that is called a total')
      families.set(name, { name, help: help?.text ?? '', type, samples: [] })
      current = name
      continue
    }
    if (line.startsWith('#')) fail('a comment that is none')
    const { name, labels, value } = sampleOf(line) ?? fail('no sample')
    const family = families.get(current ?? '')
    const names = family?.type === 'histogram' ? [`${current}_bucket`, `${current}_sum`, `${current}_count`] : [current]
    if (family === undefined || !names.includes(name)) return fail('outside its family')
    const key = `${name} ${JSON.stringify(Object.entries(labels).sort())}`
    if (seen.has(key)) fail('a second sample')
    seen.add(key)
    if (family.type !== 'gauge' && !(value >= 0)) fail('a count below 0')
    family.samples.push({ name, labels, value })
  }
  for (const { type, name, samples } of families.values()) if (type === 'histogram') checkHistogram(name, samples)
  return families
}

function sampleOf (line: string): { name: string, labels: Record<string, string>, value: number } | null {
  const [, name = '', , inside = '', value = ''] = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(.*)\})? (\S+)$/.exec(line) ?? []
  if (name === '' || !number.test(value)) return null
  const labels: Record<string, string> = {}
  let rest = inside
  while (rest !== '') {
    const match = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/.exec(rest)
    const [whole, label, text] = match ?? []
    if (whole === undefined || label === undefined || text === undefined || label in labels || label.startsWith('__')) return null
    labels[label] = text
    rest = rest.slice(whole.length)
  }
  return { name, labels, value: Number(value.replace('Inf', 'Infinity')) }
}

function checkHistogram (name: string, samples: Family['samples']): void {
  const groups = new Map<string, Family['samples'][number][]>()
  for (const sample of samples) {
    const key = JSON.stringify(Object.entries(sample.labels).filter(([label]) => label !== 'le').sort())
    groups.set(key, [...groups.get(key) ?? [], sample])
  }
  for (const [key, group] of groups) {
    const buckets = group.filter((sample) => sample.name === `${name}_bucket`)
    const count = group.find((sample) => sample.name === `${name}_count`)?.value
    if (group.find((sample) => sample.name === `${name}_sum`) === undefined) throw new Error(`${name} ${key} has no sum`)
    let last = { le: -Infinity, value: 0 }
    for (const { labels, value } of buckets) {
      const le = Number(labels['le']?.replace('Inf', 'Infinity'))
      if (!(le > last.le) || value < last.value) throw new Error(`${name} ${key}: bucket ${labels['le']} does not rise`)
      last = { le, value }
    }
    if (last.le !== Infinity || last.value !== count) throw new Error(`${name} ${key}: the last bucket is not the count`)
  }
}
