import { Type } from 'typebox'
import { sourcesOff } from '../services/filling.ts'
import { cut } from '../services/readiness.ts'
import { commonHeaders, listOf, oneOf } from './schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const tags = ['server']
const headers = commonHeaders
const healthSchema = {
  tags,
  summary: 'The process is alive',
  response: { 200: Type.Object({ status: Type.String() }, { description: 'it is', headers }) }
}
const reasons = listOf(Type.String(), { description: 'what is wrong, for people' })
const readySchema = {
  tags,
  summary: 'The server can serve, and what is wrong with it',
  response: {
    200: Type.Object({
      status: oneOf(['ok', 'degraded', 'unavailable']),
      reasons,
      sources: listOf(Type.String()),
      off: Type.Record(Type.String(), Type.String(), { description: 'sources that a setting switches off' }),
      p2p: Type.Object({ state: Type.String(), reason: Type.Optional(Type.String()) }, { additionalProperties: true })
    }, { description: 'send requests here', headers }),
    503: Type.Object({ status: oneOf(['ok', 'degraded', 'unavailable']), reasons }, { description: 'it stops, or its store is dead: send them elsewhere', headers })
  }
}

/** Liveness and readiness, for probes: no state is changed, nothing is waited for, and no answer is longer than 1 KB. */
const health: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.addHook('onRequest', async (_request, reply) => { reply.header('Cache-Control', 'no-store') })

  fastify.get('/health', { schema: healthSchema, config: { access: 'public' } }, async () => ({ status: 'ok' }))

  fastify.get('/ready', { schema: readySchema, config: { access: 'public' } }, async (_request, reply) => {
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
