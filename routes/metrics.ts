import { Type } from 'typebox'
import { commonHeaders, errors } from './schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const schema = {
  tags: ['server'],
  summary: 'For Prometheus',
  response: { 200: Type.Unsafe<string>({ description: 'counters and gauges', headers: commonHeaders, content: { 'text/plain': { schema: { type: 'string' } } } }), ...errors({}) }
}

/** What the server counts, in Prometheus' text format; no infohash, no name of a file, no client is in it. */
const metrics: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get('/metrics', { schema, config: { access: 'list' } }, async (_request, reply) => {
    reply.header('Cache-Control', 'no-store').type(fastify.metrics.contentType)
    return await fastify.metrics.metrics()
  })
}

export default metrics
