import { sourcesOff } from '../services/filling.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

/** Liveness and readiness, for probes: no state is changed, nothing is waited for. */
const health: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.addHook('onRequest', async (_request, reply) => { reply.header('Cache-Control', 'no-store') })

  fastify.get('/health', async () => ({ status: 'ok' }))

  fastify.get('/ready', async (_request, reply) => {
    const { swarm, sources, budget, drain, config } = fastify
    if (drain.isDraining || sources.closing.aborted) {
      return await reply.code(503).send({ status: 'unavailable', reasons: ['the server is shutting down'] })
    }
    const reasons = [...swarm?.status.state === 'unavailable' ? [`P2P: ${swarm.status.reason}`] : [], ...config.CACHE_READ_ONLY ? [] : budget.problems()]
    const off = sourcesOff(config)
    return {
      status: reasons.length === 0 ? 'ok' : 'degraded',
      reasons,
      sources: sources.names,
      // Switched off by a setting: nothing is wrong with it.
      off,
      p2p: swarm?.status ?? { state: 'off', reason: off.p2p }
    }
  })
}

export default health
