import { readFile } from 'node:fs/promises'
import fp from 'fastify-plugin'
import { Registry } from 'prom-client'
import { templateMirrors } from '../services/download/mirrors.ts'
import { cacheMetrics } from '../services/metrics/cache-metrics.ts'
import { downloadMetrics } from '../services/metrics/download-metrics.ts'
import { processMetrics } from '../services/metrics/process-metrics.ts'
import { streamMetrics } from '../services/metrics/stream-metrics.ts'
import { swarmMetrics } from '../services/metrics/swarm-metrics.ts'
import type { Config } from '../services/config.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What the server counts, for Prometheus. */
    metrics: Registry
  }
}

export default fp(async function metrics (fastify) {
  const { config, events, history, sources, torrents, mirrorScores, budget, swarm, eventLoop, readiness } = fastify
  const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))
  const registry = new Registry()
  const closing = new AbortController()
  processMetrics({ registry, version: String(version), eventLoop, readiness })
  const end = streamMetrics({ registry, events, history, sources: () => sources.names })
  downloadMetrics({ registry, torrents, scores: mirrorScores, mirrors: configuredMirrors(config) })
  if (!config.CACHE_READ_ONLY) cacheMetrics({ registry, totals: async () => await budget.totals(), signal: closing.signal })
  if (swarm !== null) swarmMetrics(registry, swarm)
  fastify.decorate('metrics', registry)
  fastify.addHook('onClose', () => {
    closing.abort()
    end()
  })
}, { name: 'metrics', dependencies: ['config', 'source-chain', 'torrents', 'fetcher', 'budget', 'swarm', 'readiness'] })

/** The names under which the operator's own mirrors are known: hosts, without what may be secret in their URLs. */
function configuredMirrors ({ HTTP_MIRROR_URLS, WEBTOR_URL }: Config): Set<string> {
  const templates = templateMirrors(HTTP_MIRROR_URLS, { infohash: '0'.repeat(40) }).map(({ name }) => name)
  return new Set([...templates, ...WEBTOR_URL === null ? [] : [new URL(WEBTOR_URL).host]])
}
