import { Type } from 'typebox'
import { corsHeaders, preflightHeaders } from '../services/http/cors.ts'
import { streamStatus } from '../services/stream-status.ts'
import { answerStreamError } from '../plugins/errors.ts'
import { infohashOf, isYes, sendStream, wantedOf } from './stream-request.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyError } from 'fastify'

const path = '/stream/proxy/:infoHash'
const statusPath = '/stream/status/:infoHash'

const schema = {
  params: Type.Object({ infoHash: Type.String({ description: '40 hex digits, or 32 base32 characters' }) }),
  querystring: Type.Object({
    fileIndex: Type.Optional(Type.String({ description: "a whole number: zero-based, in the torrent's own order; default: its largest video" })),
    download: Type.Optional(Type.String({ description: 'true: offer the file for saving' })),
    tr: Type.Optional(Type.Array(Type.String(), { description: 'tracker URLs to add to the search; the first 20 count' }))
  })
}

/** The product: a torrent's file over HTTP, from whichever source delivers it. */
const stream: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.addHook('onRequest', async (_request, reply) => { reply.headers(corsHeaders) })
  fastify.setErrorHandler<FastifyError>(answerStreamError)

  fastify.options(path, async (request, reply) => await reply.code(204).headers(preflightHeaders(request.headers)).send())

  fastify.get(statusPath, { schema: { params: schema.params } }, async (request, reply) => {
    const infohash = infohashOf(request.params.infoHash)
    reply.header('Cache-Control', 'no-store')
    return await streamStatus(infohash, fastify)
  })

  fastify.route({
    method: ['GET', 'HEAD'],
    url: path,
    schema,
    exposeHeadRoute: false,
    async handler (request, reply) {
      const { download, ...query } = request.query
      return await sendStream(request, reply, wantedOf(request, { ...request.params, ...query }), isYes(download))
    }
  })
}

export default stream
