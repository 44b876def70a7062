import fp from 'fastify-plugin'
import { sourcesOff } from '../../services/filling.ts'
import { httpSource } from '../../services/download/http-source.ts'
import { PieceMemory } from '../../services/download/piece-memory.ts'
import { newHop } from '../../services/download/via.ts'
import { Webtor } from '../../services/download/webtor.ts'
import { memoryBudget, memoryLimits } from '../../services/memory-budget.ts'

export default fp(async function httpFallback (fastify) {
  const { torrents, fetcher, mirrorScores, log, config } = fastify
  if (sourcesOff(config)['http-fallback'] !== undefined) return
  const webtorUrl = config.WEBTOR_URL
  const source = httpSource({
    torrents,
    fetcher,
    mirrorUrls: config.HTTP_MIRROR_URLS,
    webtor: webtorUrl === null ? null : new Webtor({ url: webtorUrl, token: config.WEBTOR_TOKEN, apiKey: config.WEBTOR_API_KEY }, fetcher),
    trackers: config.TRACKERS,
    memory: new PieceMemory(memoryBudget(memoryLimits()).downloadBytes),
    scores: mirrorScores,
    lingerMs: config.LINGER * 1000,
    stallTimeoutMs: config.STALL_TIMEOUT,
    patienceMs: config.P2P_TIMEOUT,
    hop: newHop(),
    log
  })
  fastify.sources.add({ ...source, priority: 40 })
}, { name: 'http-fallback-source', dependencies: ['source-chain', 'torrents', 'fetcher'], encapsulate: true })
