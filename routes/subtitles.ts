import { Type } from 'typebox'
import { streamBody } from '../services/http/body.ts'
import { contentTypeOf } from '../services/http/content-type.ts'
import { corsHeaders, preflightHeaders } from '../services/http/cors.ts'
import { planResponse } from '../services/http/plan-response.ts'
import { answerStreamError } from '../plugins/errors.ts'
import { linksOf } from './base-url.ts'
import { answer, errors, infoHash, infoHashParams, listOf, nullable, oneOf, trackersQuery } from './schemas.ts'
import { sendBody } from './send-body.ts'
import { cacheControlOf, fileIndexOf, signalOfReply, whereOf } from './stream-request.ts'
import { corsHeaders as corsAnswerHeaders, preflightAnswers, rangeHeaders, subtitleAnswers } from './stream-schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { SubtitleText } from '../services/subtitles/subtitles.ts'

const path = '/api/torrents/:infoHash/subtitles'
const rawPath = `${path}/:fileIndex(^\\d{1,15}$)`
const vttPath = `${path}/:fileIndex(^\\d{1,15}).vtt`
const tags = ['subtitles']
const fileParams = Type.Object({ infoHash, fileIndex: Type.String({ description: "the subtitle file's index in the torrent", examples: ['1'] }) })

const subtitleSchema = Type.Object({
  fileIndex: Type.Integer(),
  name: Type.String(),
  path: Type.String({ description: 'folders and name, joined by /; as hostile as the torrent' }),
  length: Type.Integer({ description: 'bytes' }),
  format: oneOf(['srt', 'vtt', 'ass', 'ssa']),
  language: nullable(Type.String({ description: "BCP 47, guessed from the file's name; null: it does not say" })),
  isForced: Type.Boolean({ description: 'only what is spoken in another language' }),
  isHearingImpaired: Type.Boolean(),
  videos: listOf(Type.Integer(), { description: 'indexes of the videos that it belongs to; none: nobody can tell' }),
  url: Type.String({ description: 'the file as it is' }),
  vttUrl: Type.String({ description: 'as WebVTT, in UTF-8' })
})

const listSchema = {
  tags,
  summary: 'The subtitle files of a torrent',
  description: 'Files beside the video: srt, vtt, ass, ssa; at most 1000. Metadata that is not known yet is looked for.',
  params: infoHashParams,
  querystring: Type.Object({ fileIndex: Type.Optional(Type.String({ description: 'only those of this video, and those that nobody can tell of' })), tr: trackersQuery }),
  response: { 200: answer(listOf(subtitleSchema), "in the torrent's own order", {}, corsAnswerHeaders), ...errors({ 400: 'fileIndex is no whole number', 404: 'nobody has its metadata, or it has no such file' }, corsAnswerHeaders) }
}
const rawSchema = { tags, summary: 'A subtitle file as it is', params: fileParams, headers: rangeHeaders, querystring: Type.Object({ tr: trackersQuery }), response: subtitleAnswers }
const vttSchema = { ...rawSchema, summary: 'A subtitle file as WebVTT', description: 'UTF-8, whatever encoding and format the file has.' }

const preflightSchema = { params: infoHashParams, tags, summary: 'Preflight: any page may read it', response: preflightAnswers }

/** The subtitle files of a torrent: a list, each as it is, and as WebVTT. */
const subtitles: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.addHook('onRequest', async (_request, reply) => { reply.headers(corsHeaders) })
  fastify.setErrorHandler<FastifyError>(answerStreamError)

  for (const url of [path, rawPath, vttPath]) {
    fastify.options(url, { schema: preflightSchema, config: { access: 'public' } }, async (request, reply) => await reply.code(204).headers(preflightHeaders(request.headers)).send())
  }

  fastify.get(path, { schema: listSchema, config: { access: 'stream' } }, async (request, reply) => {
    const where = whereOf(request, { ...request.params, ...request.query })
    const video = fileIndexOf(request.query.fileIndex ?? '')
    const links = linksOf(request)
    reply.header('Cache-Control', 'no-store')
    const files = await fastify.subtitles.list(where, video, signalOfReply(reply))
    const data = files.map(({ file: { index, name, path, lengthBytes }, format, language, isForced, isHearingImpaired, videos }) => ({
      fileIndex: index,
      name,
      path,
      length: lengthBytes,
      format,
      language,
      isForced,
      isHearingImpaired,
      videos,
      url: links.subtitle(where.infohash, index),
      vttUrl: links.subtitle(where.infohash, index, { isWebVtt: true })
    }))
    return { success: true, data }
  })

  fastify.route({
    method: ['GET', 'HEAD'],
    exposeHeadRoute: false,
    url: `${path}/:fileIndex(^\\d{1,15}$)`,
    schema: rawSchema,
    config: { access: 'stream' },
    async handler (request, reply) {
      const { infoHash, fileIndex } = request.params
      const signal = signalOfReply(reply)
      const where = whereOf(request, { infoHash, ...request.query })
      const file = await fastify.subtitles.read(where, Number(fileIndex), signal)
      return await send(request, reply, { ...file, infohash: where.infohash }, signal)
    }
  })

  fastify.route({
    method: ['GET', 'HEAD'],
    exposeHeadRoute: false,
    url: vttPath,
    schema: vttSchema,
    config: { access: 'stream' },
    async handler (request, reply) {
      const { infoHash, fileIndex } = request.params
      const signal = signalOfReply(reply)
      const where = whereOf(request, { infoHash, ...request.query })
      const file = await fastify.subtitles.readAsWebVtt(where, Number(fileIndex), signal)
      return await send(request, reply, { ...file, infohash: where.infohash, name: `${file.name}.vtt` }, signal)
    }
  })
}

export default subtitles

async function send (request: FastifyRequest, reply: FastifyReply, { bytes, etag, encoding, format, isVerified, name, infohash }: SubtitleText & { readonly infohash: string }, signal: AbortSignal): Promise<unknown> {
  const plan = planResponse({
    method: request.method === 'HEAD' ? 'HEAD' : 'GET',
    headers: request.headers,
    representation: {
      lengthBytes: bytes.length,
      etag,
      lastModified: null,
      contentType: `${contentTypeOf(`subtitles.${format}`)}; charset=${encoding}`,
      fileName: name,
      isDownload: false,
      cacheControl: cacheControlOf({ source: 'cache', isVerified }, request.server.access.secondsLeft(request, infohash))
    }
  })
  reply.code(plan.status).headers(plan.headers)
  if (plan.body === null) return await reply.send()
  return await sendBody(reply, streamBody(plan.body, async function * ({ start, end }) { yield bytes.subarray(start, end + 1) }), signal)
}
