import { Type } from 'typebox'
import { asCoded } from '../services/errors.ts'
import { corsHeaders, preflightHeaders } from '../services/http/cors.ts'
import { parseWish } from '../services/stremio/wished-file.ts'
import { NothingServes } from '../services/source-walk.ts'
import { parseMagnet } from '../services/torrent/magnet.ts'
import { infoHash, mockHash, trackersQuery } from './schemas.ts'
import { answerWithNotice } from './send-notice.ts'
import { isYes, sendStream, wantedOf } from './stream-request.ts'
import { addonQuery, download, preflightAnswers, rangeHeaders, streamAnswers, tags } from './stream-schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyError } from 'fastify'
import type { Magnet } from '../services/torrent/magnet.ts'

/** Bound to their forms: `/stream/:type/:id/…` belongs to Stremio addons. */
const namedPath = '/stream/:infoHash(^(?:[0-9a-fA-F]{40}|[a-zA-Z2-7]{32})$)/:fileIndex(^\\d{1,15}$)/:name'
const magnetPath = '/stream/magnet'

const namedSchema = {
  tags,
  summary: 'A file, under a URL that ends in its name',
  description: 'As /stream/proxy/{infoHash}, for players that go by the extension. The name is not looked at.',
  params: Type.Object({
    infoHash,
    fileIndex: Type.String({ description: "a whole number: zero-based, in the torrent's own order", examples: ['0'] }),
    name: Type.String({ examples: ['film.mp4'] })
  }),
  headers: rangeHeaders,
  querystring: Type.Object({ download, tr: trackersQuery, ...addonQuery }),
  response: streamAnswers
}

const magnetSchema = {
  tags,
  summary: 'The file that a magnet link stands for',
  description: 'As /stream/proxy/{infoHash}, with all that the magnet says of where to look. A magnet may choose the file (so).',
  querystring: Type.Object({
    uri: Type.Optional(Type.String({ description: 'the magnet link, percent-encoded as a whole', examples: [`magnet:?xt=urn:btih:${mockHash}`] })),
    fileIndex: Type.Optional(Type.String({ description: 'wins over the choice of the magnet' })),
    download
  }),
  headers: rangeHeaders,
  response: streamAnswers
}
const preflightSchema = { tags, summary: 'Preflight: any page may play it', response: preflightAnswers }

/**
 * The stream by other names. A magnet is answered with the stream itself, not with a redirect to it: some players ask the
 * first URL again at each seek, some follow none, and a redirect could not carry web seeds and peers.
 */
const streamByName: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.addHook('onRequest', async (_request, reply) => { reply.headers(corsHeaders) })
  fastify.setErrorHandler<FastifyError>(answerWithNotice)

  for (const [path, schema] of [[namedPath, { ...preflightSchema, params: namedSchema.params }], [magnetPath, preflightSchema]] as const) {
    fastify.options(path, { schema, config: { access: 'public' } }, async (request, reply) => await reply.code(204).headers(preflightHeaders(request.headers)).send())
  }

  fastify.route({
    method: ['GET', 'HEAD'],
    url: namedPath,
    schema: namedSchema,
    config: { access: 'stream', isStream: true },
    exposeHeadRoute: false,
    async handler (request, reply) {
      const { infoHash, fileIndex } = request.params
      return await sendStream(request, reply, wantedOf(request, { infoHash, fileIndex, tr: request.query.tr }), { isDownload: isYes(request.query.download), alt: request.query.alt, wish: parseWish(request.query) })
    }
  })

  fastify.route({
    method: ['GET', 'HEAD'],
    url: magnetPath,
    schema: magnetSchema,
    config: { access: 'stream', isStream: true },
    exposeHeadRoute: false,
    async handler (request, reply) {
      const { uri = '', fileIndex, download } = request.query
      const { infohash, trackers, selectOnly, name, webSeeds, acceptableSources, exactSources, peers } = magnetOf(uri)
      await fastify.access.admit(request, 'stream', infohash)
      const wanted = wantedOf(request, { infoHash: infohash, tr: trackers, fileIndex: fileIndex ?? selectOnly[0]?.toString() })
      return await sendStream(request, reply, { ...wanted, hints: { name, webSeeds, acceptableSources, exactSources, peers } }, { isDownload: isYes(download) })
    }
  })
}

export default streamByName

/** Throws NothingServes for a link that is none, with what is wrong. */
function magnetOf (uri: string): Magnet {
  try {
    return parseMagnet(uri)
  } catch (error) {
    const { code, message, isTemporary } = asCoded(error, 'MAGNET_INVALID')
    throw new NothingServes([{ source: 'request', code, message, isTemporary }])
  }
}
