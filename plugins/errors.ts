import fp from 'fastify-plugin'
import { CodedError } from '../services/errors.ts'
import { NothingServes } from '../services/source-walk.ts'
import type { FastifyError, FastifyReply } from 'fastify'
import type { Refusal } from '../services/source-walk.ts'

/** The one form of every error: what is wrong, and what to do about it where something can be done. */
export interface ErrorBody {
  readonly error: string
  readonly message?: string
  readonly suggestion?: string
  readonly reasons?: readonly Refusal[]
  readonly [detail: string]: unknown
}

export const streamNotFound = {
  error: 'Stream not found',
  message: 'Unable to stream this content. P2P connectivity is unavailable and no cached version exists.',
  suggestion: 'This content requires P2P connectivity or needs to be downloaded first.'
} as const

export const notCached = {
  error: 'Content not cached',
  message: 'This content is not available in cache. P2P streaming is disabled in cache-only mode.',
  suggestion: 'Enable P2P mode by setting CACHE_ONLY_MODE=false, or pre-download this content to cache.',
  mode: 'cache-only'
} as const

/** Reasons that are about this server's load or life, not about the content: 503 instead of 404. */
const overload = new Set(['TOO_MANY_TORRENTS', 'SHUTTING_DOWN'])
const RETRY_AFTER_SECONDS = 10

export default fp(async function errors (fastify) {
  const { CACHE_ONLY_MODE } = fastify.config

  fastify.setErrorHandler<FastifyError>(async (error, request, reply) => {
    for (const name of ['Content-Length', 'Content-Range', 'Content-Disposition', 'Content-Encoding', 'ETag', 'Last-Modified']) reply.removeHeader(name)
    reply.header('Cache-Control', 'no-store').type('application/json; charset=utf-8')
    // The client has gone: that is no failure, and nobody reads an answer.
    if (reply.raw.destroyed) return await reply.code(499).send()
    if (error instanceof NothingServes) return await nothingServes(reply, error)
    if (error instanceof CodedError && overload.has(error.code)) {
      return await reply.code(503).header('Retry-After', RETRY_AFTER_SECONDS).send({ error: 'Service unavailable', message: error.message })
    }
    if (error instanceof CodedError) {
      const { code, message, isTemporary } = error
      return await nothingServes(reply, new NothingServes([{ source: 'stream', code, message, isTemporary }]))
    }
    const status = error.statusCode ?? 500
    if (status < 500) return await reply.code(status).send({ error: 'Bad request', message: error.message })
    request.log.error({ err: error }, 'request failed')
    return await reply.code(status).send({ error: 'Internal server error', message: 'The server failed; its log says more.', requestId: request.id })
  })

  fastify.setNotFoundHandler(async (request, reply) => {
    return await reply.code(404).header('Cache-Control', 'no-store').send({
      error: 'Not found', message: `${request.method} ${request.url.split('?')[0]?.slice(0, 200)} is not a route of this server.`
    })
  })

  async function nothingServes (reply: FastifyReply, error: NothingServes): Promise<ErrorBody> {
    const isOverload = error.refusals.length > 0 && error.refusals.every(({ code }) => overload.has(code))
    if (error.isTemporary) reply.header('Retry-After', RETRY_AFTER_SECONDS)
    reply.code(isOverload ? 503 : 404)
    const isCacheMiss = CACHE_ONLY_MODE && error.refusals.every(({ source }) => source === 'cache')
    return { ...(isCacheMiss ? notCached : streamNotFound), ...(error.refusals.length > 0 ? { reasons: error.refusals } : {}) }
  }
}, { name: 'errors', dependencies: ['config'] })
