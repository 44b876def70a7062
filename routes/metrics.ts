import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

/** What the server counts, in Prometheus' text format; no infohash, no name of a file, no client is in it. */
const metrics: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get('/metrics', async (_request, reply) => {
    reply.header('Cache-Control', 'no-store').type(fastify.metrics.contentType)
    return await fastify.metrics.metrics()
  })
}

export default metrics
