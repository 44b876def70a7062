import { Type } from 'typebox'
import { corsHeaders, preflightHeaders } from '../services/http/cors.ts'
import { parseWish } from '../services/stremio/wished-file.ts'
import { streamStatus } from '../services/stream-status.ts'
import { infoHashParams, trackersQuery } from './schemas.ts'
import { answerWithNotice } from './send-notice.ts'
import { infohashOf, isYes, sendStream, wantedOf } from './stream-request.ts'
import { addonQuery, download, fileIndex, preflightAnswers, rangeHeaders, statusAnswers, streamAnswers, tags } from './stream-schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyError } from 'fastify'

const path = '/stream/proxy/:infoHash'
const statusPath = '/stream/status/:infoHash'

const schema = {
  tags,
  summary: "A torrent's file, from whichever source delivers it",
  headers: rangeHeaders,
  params: infoHashParams,
  querystring: Type.Object({ fileIndex, download, tr: trackersQuery, ...addonQuery }),
  response: streamAnswers
}
const statusSchema = { tags, summary: 'Why a stream plays or does not', description: 'Asks no source, and starts nothing.', params: infoHashParams, response: statusAnswers }
const preflightSchema = { tags, summary: 'Preflight: any page may play it', params: infoHashParams, response: preflightAnswers }

/** The product: a torrent's file over HTTP, from whichever source delivers it. */
const stream: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.addHook('onRequest', async (_request, reply) => { reply.headers(corsHeaders) })
  fastify.setErrorHandler<FastifyError>(answerWithNotice)

  fastify.options(path, { schema: preflightSchema, config: { access: 'public' } }, async (request, reply) => await reply.code(204).headers(preflightHeaders(request.headers)).send())

  fastify.get(statusPath, { schema: statusSchema, config: { access: 'status' } }, async (request, reply) => {
    const infohash = infohashOf(request.params.infoHash)
    reply.header('Cache-Control', 'no-store')
    return await streamStatus(infohash, fastify)
  })

  fastify.route({
    method: ['GET', 'HEAD'],
    url: path,
    schema,
    config: { access: 'stream', isStream: true },
    exposeHeadRoute: false,
    async handler (request, reply) {
      const { download, alt, ...query } = request.query
      return await sendStream(request, reply, wantedOf(request, { ...request.params, ...query }), { isDownload: isYes(download), alt, wish: parseWish(query) })
    }
  })
}

export default stream
