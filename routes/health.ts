import { sourcesOff } from '../services/filling.ts'
import { cut } from '../services/readiness.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

/** Liveness and readiness, for probes: no state is changed, nothing is waited for, and no answer is longer than 1 KB. */
const health: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.addHook('onRequest', async (_request, reply) => { reply.header('Cache-Control', 'no-store') })

  fastify.get('/health', async () => ({ status: 'ok' }))

  fastify.get('/ready', async (_request, reply) => {
    const { swarm, sources, config } = fastify
    const readiness = fastify.readiness()
    if (readiness.status === 'unavailable') return await reply.code(503).send(readiness)
    const off = sourcesOff(config)
    return {
      ...readiness,
      sources: sources.names,
      // Switched off by a setting: nothing is wrong with it.
      off,
      p2p: swarm === null ? { state: 'off', reason: off.p2p } : { ...swarm.status, reason: cut(swarm.status.reason) }
    }
  })
}

export default health
