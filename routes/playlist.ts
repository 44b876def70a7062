import { Type } from 'typebox'
import { contentDisposition } from '../services/http/content-disposition.ts'
import { corsHeaders } from '../services/http/cors.ts'
import { formatM3u, playlistOf } from '../services/playlist.ts'
import { describe } from '../services/torrent/description.ts'
import { answerStreamError } from '../plugins/errors.ts'
import { linksOf } from './base-url.ts'
import { infoHashParams, trackersQuery } from './schemas.ts'
import { fileIndexOf, signalOfReply, whereOf } from './stream-request.ts'
import { playlistAnswers, tags } from './stream-schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyError } from 'fastify'

const schema = {
  tags,
  summary: 'A playlist for VLC, mpv and other players',
  description: 'All videos of the torrent in their natural order, or one file; with subtitles for players that read #EXTVLCOPT:input-slave. Metadata that is not known yet is looked for.',
  params: infoHashParams,
  querystring: Type.Object({
    fileIndex: Type.Optional(Type.String({ description: "only this file: zero-based, in the torrent's own order" })),
    tr: trackersQuery
  }),
  response: playlistAnswers
}

/** Playlists of torrents. */
const playlist: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.addHook('onRequest', async (_request, reply) => { reply.headers(corsHeaders) })
  fastify.setErrorHandler<FastifyError>(answerStreamError)

  fastify.get('/stream/proxy/:infoHash/playlist.m3u', { schema, config: { access: 'stream' } }, async (request, reply) => {
    const where = whereOf(request, { ...request.params, ...request.query })
    const { infohash, trackers } = where
    const fileIndex = fileIndexOf(request.query.fileIndex ?? '')
    const links = linksOf(request)
    const { metadata, file } = await describe(where, fastify, signalOfReply(reply))
    const name = metadata?.name ?? file?.name ?? infohash
    const entries = metadata === null
      ? [{ title: name, url: links.stream(infohash, { fileIndex, trackers }), subtitles: [] }]
      : playlistOf(metadata, fileIndex, links, trackers)
    return reply
      .type('audio/x-mpegurl; charset=utf-8')
      .header('Content-Disposition', contentDisposition(`${name.slice(0, 200)}.m3u`, 'attachment'))
      .header('Cache-Control', 'no-store')
      .send(formatM3u(name, entries))
  })
}

export default playlist
