import { readdir } from 'node:fs/promises'
import { readAtScrape } from './read-at-scrape.ts'
import type { Registry } from 'prom-client'
import type { EventLoopWatch } from '../event-loop.ts'
import type { Readiness } from '../readiness.ts'

export interface ProcessMetricsOptions {
  readonly registry: Registry
  readonly version: string
  readonly eventLoop: Pick<EventLoopWatch, 'delay'>
  readonly readiness: () => Readiness
}

const statuses = ['ok', 'degraded', 'unavailable'] as const
const startedAt = Date.now() / 1000 - process.uptime()

/**
 * The process itself, under the names that Prometheus clients use everywhere. Not prom-client's own collection: that
 * leaves observers behind that nobody can end.
 */
export function processMetrics ({ registry, version, eventLoop, readiness }: ProcessMetricsOptions): void {
  readAtScrape(registry, 'gauge', [
    { name: 'self_streme_info', help: 'Versions, in the labels.', labels: ['version', 'node'], read: () => [[[version, process.versions.node], 1]] },
    { name: 'self_streme_ready', help: 'What /ready says: 1 for the status that it is in.', labels: ['status'], read: () => statuses.map((status) => [[status], readiness().status === status ? 1 : 0]) },
    { name: 'process_start_time_seconds', help: 'When the process began, in seconds since 1970.', read: () => startedAt },
    { name: 'process_resident_memory_bytes', help: 'Resident memory of the server, without the swarm process.', read: () => process.memoryUsage.rss() },
    { name: 'process_open_fds', help: 'Open file descriptors; on Linux only.', read: async () => await readdir('/proc/self/fd').then(({ length }) => length, () => null) },
    { name: 'nodejs_heap_size_used_bytes', help: 'JavaScript heap in use.', read: () => process.memoryUsage().heapUsed },
    { name: 'nodejs_external_memory_bytes', help: 'Buffers outside the heap.', read: () => process.memoryUsage().external },
    { name: 'nodejs_eventloop_lag_mean_seconds', help: 'How late timers came in the last 10 s: mean.', read: () => eventLoop.delay.mean },
    { name: 'nodejs_eventloop_lag_p99_seconds', help: 'How late timers came in the last 10 s: 99 of 100 were less late.', read: () => eventLoop.delay.p99 },
    { name: 'nodejs_eventloop_lag_max_seconds', help: 'How late timers came in the last 10 s: the latest.', read: () => eventLoop.delay.max }
  ])
  readAtScrape(registry, 'counter', [
    { name: 'process_cpu_seconds_total', help: 'Processor time of the server, without the swarm process.', read: () => { const { user, system } = process.cpuUsage(); return (user + system) / 1e6 } }
  ])
}
