import { join } from 'node:path'
import fastifyStatic from '@fastify/static'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

/** The page to add and watch a torrent by hand, and the files it needs. */
const pages: FastifyPluginAsyncTypebox = async (fastify) => {
  await fastify.register(fastifyStatic, { root: join(import.meta.dirname, '..', 'public'), prefix: '/assets/', cacheControl: true, maxAge: '1h' })

  for (const url of ['/', '/test-torrent-streaming']) {
    fastify.get(url, async (_request, reply) => await reply.header('Cache-Control', 'no-cache').sendFile('index.html', { cacheControl: false }))
  }
}

export default pages
