import { Counter, Gauge } from 'prom-client'
import type { Registry } from 'prom-client'

/** Values with their labels, in the order of the metric's label names; one alone has none. */
export type Values = number | ReadonlyArray<readonly [labels: readonly string[], value: number]>

export interface ScrapedMetric {
  readonly name: string
  /** One sentence. */
  readonly help: string
  readonly labels?: readonly string[]
  /** null: not known now, and left out. */
  readonly read: () => Values | null | Promise<Values | null>
}

/**
 * Metrics that are read when they are scraped, from what counts them anyway: nothing is done for them in between. A gauge
 * may fall; a counter never does while the server runs.
 */
export function readAtScrape (registry: Registry, type: 'gauge' | 'counter', metrics: readonly ScrapedMetric[]): void {
  for (const { name, help, labels = [], read } of metrics) {
    const options = { name, help, labelNames: [...labels], registers: [] }
    const entries = async (): Promise<ReadonlyArray<readonly [Record<string, string>, number]>> => {
      const values = await read()
      if (values === null) return []
      const list: Exclude<Values, number> = typeof values === 'number' ? [[[], values]] : values
      return list.map(([texts, value]) => [Object.fromEntries(labels.map((label, i) => [label, texts[i] ?? ''])), value])
    }
    registry.registerMetric(type === 'gauge'
      ? new Gauge({
        ...options,
        async collect () {
          const found = await entries()
          this.reset()
          // A reset leaves one without labels at 0.
          if (found.length === 0) this.remove({})
          for (const [labels, value] of found) this.set(labels, value)
        }
      })
      : new Counter({
        ...options,
        async collect () {
          const found = await entries()
          this.reset()
          if (found.length === 0) this.remove({})
          for (const [labels, value] of found) this.inc(labels, value)
        }
      }))
  }
}
