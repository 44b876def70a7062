import { join } from 'node:path'
import fastifyStatic from '@fastify/static'
import { Type } from 'typebox'
import { commonHeaders, errors } from './schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const text = { type: 'string' }
const headers = { ...commonHeaders, ETag: text, 'Last-Modified': text, 'Accept-Ranges': text }
const schema = {
  tags: ['server'],
  summary: 'The page: add a torrent, watch it, play it',
  response: { 200: Type.Unsafe<string>({ description: 'HTML', headers, content: { 'text/html': { schema: { type: 'string' } } } }), ...errors({}) }
}

/** The page to add and watch a torrent by hand, and the files it needs. */
const pages: FastifyPluginAsyncTypebox = async (fastify) => {
  await fastify.register(fastifyStatic, { root: join(import.meta.dirname, '..', 'public'), prefix: '/assets/', cacheControl: true, maxAge: '1h' })

  for (const url of ['/', '/test-torrent-streaming']) {
    fastify.get(url, { schema }, async (_request, reply) => await reply.header('Cache-Control', 'no-cache').sendFile('index.html', { cacheControl: false }))
  }
}

export default pages
