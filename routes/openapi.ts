import { Type } from 'typebox'
import { commonHeaders, errors } from './schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

/** The description of all routes, made of their schemas. */
const openapi: FastifyPluginAsyncTypebox = async (fastify) => {
  const schema = {
    tags: ['server'],
    summary: 'This document',
    response: { 200: Type.Unsafe<object>({ type: 'object', additionalProperties: true, description: 'OpenAPI 3.1', headers: commonHeaders }), ...errors({}) }
  }
  fastify.get('/openapi.json', { schema, config: { access: 'public' } }, async (_request, reply) => {
    reply.header('Cache-Control', 'no-cache')
    return { ...fastify.swagger(), servers: [{ url: fastify.config.BASE_URL ?? './' }] }
  })
}

export default openapi
