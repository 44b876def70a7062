import { Type } from 'typebox'
import { parseInfohash } from '../services/torrent/infohash.ts'
import { refuse } from '../plugins/errors.ts'
import { answer, errors, infoHashParams, listOf, nullable, oneOf, ownInfoHash, trackersQuery } from './schemas.ts'
import { whereOf } from './stream-request.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply } from 'fastify'
import type { Static } from 'typebox'
import type { ErrorBody } from '../plugins/errors.ts'
import type { Preload } from '../services/preload/preloads.ts'

const path = '/api/torrents/:infoHash/preload'
const tags = ['preload']
const MAX_BYTES = 256_000_000
const RETRY_AFTER_SECONDS = 10

const whole = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const rangeSchema = Type.Object({ start: whole, end: whole }, { description: 'bytes of the file, both included; at most 256 MB' })

const preloadSchema = Type.Object({
  infoHash: ownInfoHash,
  fileIndex: nullable(Type.Integer({ description: 'null: not known yet' })),
  range: nullable(Type.Object({ start: Type.Integer(), end: Type.Integer() }, { description: 'null: head and tail' })),
  state: oneOf(['waiting', 'running', 'done', 'failed', 'cancelled']),
  wanted: nullable(Type.Integer({ description: 'bytes of the pieces that hold it; null: not known yet' })),
  loaded: Type.Integer({ description: 'bytes of them that are here, verified' }),
  reason: nullable(Type.String({ description: 'why it failed, or had nothing to do' })),
  startedAt: Type.String({ description: 'ISO 8601' }),
  endedAt: nullable(Type.String())
})

const startSchema = {
  tags,
  summary: 'Bring the head and tail of a file in before it is played',
  description: 'For the next episode. Runs by itself, behind whoever reads, within the cache budget, for at most five minutes. The same again joins the one that runs.',
  params: infoHashParams,
  querystring: Type.Object({ tr: trackersQuery }),
  body: Type.Unsafe<{ fileIndex?: number, what?: 'head-and-tail', range?: Static<typeof rangeSchema> } | undefined>({
    type: ['object', 'null'],
    properties: {
      fileIndex: Type.Integer({ minimum: 0, maximum: 1_000_000, description: 'default: the file that a stream without fileIndex is' }),
      what: oneOf(['head-and-tail'], { description: 'what a player reads before it shows anything: 2 MiB of each; the default' }),
      range: { ...rangeSchema, description: 'instead: these bytes of the file, both included; at most 256 MB' }
    },
    examples: [{ fileIndex: 1 }]
  }),
  response: {
    202: answer(preloadSchema, 'it begins, or waits for its turn'),
    ...errors({ 400: 'a range that cannot be', 404: 'the infohash is none' })
  }
}
const listSchema = {
  tags,
  summary: 'The preloads of a torrent',
  params: infoHashParams,
  response: { 200: answer(listOf(preloadSchema), 'those that wait or run, and those that ended of late'), ...errors({ 404: 'the infohash is none' }) }
}
const cancelSchema = {
  tags,
  summary: 'End the preloads of a torrent',
  description: 'What they brought stays in the cache.',
  params: infoHashParams,
  querystring: Type.Object({ fileIndex: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000, description: 'only those of this file' })) }),
  response: { 200: answer(Type.Object({ infoHash: ownInfoHash, cancelled: Type.Integer({ description: 'how many there were' }) }), 'ended'), ...errors({ 400: 'fileIndex is no file', 404: 'the infohash is none' }) }
}

/** Preload parts of a file. */
const preloadRoutes: FastifyPluginAsyncTypebox = async (fastify) => {
  const { preloads } = fastify

  fastify.post(path, { schema: startSchema, config: { access: 'add' } }, async (request, reply) => {
    const infohash = parseInfohash(request.params.infoHash)
    if (infohash === null) return notFound(reply, request.params.infoHash)
    const { fileIndex = null, range = null } = request.body ?? {}
    if (range !== null && (range.end < range.start || range.end - range.start >= MAX_BYTES)) {
      return refuse(reply, 400, { message: `range: it ends after it begins, and has at most ${MAX_BYTES} bytes` })
    }
    const preload = preloads.start({ where: whereOf(request, { infoHash: infohash, ...request.query }), fileIndex, range })
    if (preload === null) return refuse(reply.header('Retry-After', RETRY_AFTER_SECONDS), 503, { message: 'too many preloads are waiting: ask again later' })
    reply.code(202)
    return { success: true, data: present(preload) }
  })

  fastify.get(path, { schema: listSchema, config: { access: 'status' } }, async (request, reply) => {
    const infohash = parseInfohash(request.params.infoHash)
    if (infohash === null) return notFound(reply, request.params.infoHash)
    reply.header('Cache-Control', 'no-store')
    return { success: true, data: preloads.of(infohash).map(present) }
  })

  fastify.delete(path, { schema: cancelSchema, config: { access: 'manage' } }, async (request, reply) => {
    const infohash = parseInfohash(request.params.infoHash)
    if (infohash === null) return notFound(reply, request.params.infoHash)
    return { success: true, data: { infoHash: infohash, cancelled: preloads.cancel(infohash, request.query.fileIndex ?? null) } }
  })
}

export default preloadRoutes

function present ({ infohash, fileIndex, range, state, wantedBytes, loadedBytes, reason, startedAt, endedAt }: Preload) {
  return { infoHash: infohash, fileIndex, range, state, wanted: wantedBytes, loaded: loadedBytes, reason, startedAt, endedAt }
}

function notFound (reply: FastifyReply, infoHash: string): ErrorBody {
  return refuse(reply, 404, { error: 'Torrent not found', infoHash })
}
