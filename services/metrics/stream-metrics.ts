import { Counter, Histogram } from 'prom-client'
import { readAtScrape } from './read-at-scrape.ts'
import type { Registry } from 'prom-client'
import type { EventBus } from '../events.ts'
import type { StreamHistory } from '../stream-history.ts'

/** What is told of streams: what a source is called and why it failed come from fixed tables, so labels are few. */
export interface StreamMetricsOptions {
  readonly registry: Registry
  readonly events: EventBus
  readonly history: StreamHistory
  /** The names of the sources, so that those that never served are 0, and not missing. */
  readonly sources: () => readonly string[]
}

const firstByteBuckets = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 8, 10, 20, 40, 60]
const stallBuckets = [0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 90]
const outcomes = ['complete', 'client left', 'cut'] as const

/** Counts what happens to streams. Returns the function that ends the counting. */
export function streamMetrics ({ registry, events, history, sources }: StreamMetricsOptions): () => void {
  const registers = [registry]
  const starts = new Counter({ name: 'self_streme_starts_total', help: 'Requests that a source was found for, by the source.', labelNames: ['source'], registers })
  const failed = new Counter({ name: 'self_streme_starts_failed_total', help: 'Requests that no source could serve.', registers })
  const refusals = new Counter({ name: 'self_streme_refusals_total', help: 'What sources said of requests that nobody could serve.', labelNames: ['source', 'code'], registers })
  const firstByte = new Histogram({ name: 'self_streme_first_byte_seconds', help: 'From a request to the first bytes that could be read, by source.', labelNames: ['source'], buckets: firstByteBuckets, registers })
  const cacheRequests = new Counter({ name: 'self_streme_cache_requests_total', help: 'Requests that the cache served (hit) or did not (miss); the mock is neither.', labelNames: ['result'], registers })
  const losses = new Counter({ name: 'self_streme_source_losses_total', help: 'Sources that broke in the middle of a response.', labelNames: ['source', 'code'], registers })
  const stalls = new Histogram({ name: 'self_streme_stall_seconds', help: 'How long clients waited in the middle of a response, by what was waited for: a source, or (change) another one.', labelNames: ['cause'], buckets: stallBuckets, registers })
  const responses = new Counter({ name: 'self_streme_responses_total', help: 'Responses that ended.', labelNames: ['outcome'], registers })

  for (const result of ['hit', 'miss']) cacheRequests.inc({ result }, 0)
  for (const outcome of outcomes) responses.inc({ outcome }, 0)

  const served = (): Array<[source: string, open: number, bytes: number]> => {
    // What was kept of earlier downloads is served as `cache`.
    const names = new Set([...sources().filter((name) => name !== 'kept'), ...history.served.keys()])
    return [...names].map((name) => [name, history.served.get(name)?.open ?? 0, history.served.get(name)?.bytes ?? 0])
  }
  readAtScrape(registry, 'gauge', [
    { name: 'self_streme_streams_open', help: 'Responses that run now, by the source that serves them.', labels: ['source'], read: () => served().map(([source, open]) => [[source], open]) }
  ])
  readAtScrape(registry, 'counter', [
    { name: 'self_streme_stream_bytes_total', help: 'Bytes of content handed out to clients, by source.', labels: ['source'], read: () => served().map(([source, , bytes]) => [[source], bytes]) }
  ])

  return events.listen((event) => {
    switch (event.type) {
      case 'started':
        starts.inc({ source: event.source })
        firstByte.observe({ source: event.source }, event.ms / 1000)
        if (event.source !== 'mock') cacheRequests.inc({ result: event.source === 'cache' ? 'hit' : 'miss' })
        return
      case 'refused':
        failed.inc()
        cacheRequests.inc({ result: 'miss' })
        for (const { source, code } of event.refusals) refusals.inc({ source, code })
        return
      case 'lost': losses.inc({ source: event.source, code: event.code }); return
      case 'stall': stalls.observe({ cause: event.source ?? 'change' }, event.ms / 1000); return
      case 'end': responses.inc({ outcome: event.outcome })
    }
  })
}
