import fp from 'fastify-plugin'
import { CodedError } from '../services/errors.ts'
import { corsHeaders } from '../services/http/cors.ts'
import { NothingServes } from '../services/source-walk.ts'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
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
const overload: ReadonlySet<string> = new Set(['TOO_MANY_TORRENTS', 'NO_ROOM', 'SHUTTING_DOWN'])
const RETRY_AFTER_SECONDS = 10

export default fp(async function errors (fastify) {
  fastify.setErrorHandler<FastifyError>(async (error, request, reply) => {
    prepare(reply)
    // The client has gone: that is no failure, and nobody reads an answer.
    if (reply.raw.destroyed) return await reply.code(499).send()
    if (error instanceof CodedError) {
      request.log.warn({ err: error }, 'request refused')
      return await reply.code(503).header('Retry-After', RETRY_AFTER_SECONDS).send({ error: 'Service unavailable', message: error.message })
    }
    return await answerPlainError(error, request, reply)
  })

  fastify.setNotFoundHandler(async (request, reply) => {
    prepare(reply)
    return await reply.code(404).send({ error: 'Not found', message: `${request.method} ${pathOf(request)} is not a route of this server.` })
  })
}, { name: 'errors', dependencies: ['config'] })

/** For the stream route: whatever kept it from being served is the fixed 404, with every source's reason. */
export async function answerStreamError (error: FastifyError, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  prepare(reply)
  if (reply.raw.destroyed) return await reply.code(499).send()
  if (error instanceof NothingServes) return nothingServes(error, request, reply)
  if (error instanceof CodedError) {
    const { code, message, isTemporary } = error
    return nothingServes(new NothingServes([{ source: 'stream', code, message, isTemporary }]), request, reply)
  }
  return await answerPlainError(error, request, reply)
}

/** For what Fastify refuses before any route: a path that is no path. On the stream route that is an infohash that is none. */
export function answerFrameworkError (error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  prepare(reply)
  if (request.url.startsWith('/stream/proxy/')) {
    const message = `${JSON.stringify(pathOf(request).slice('/stream/proxy/'.length, 100))} is not an infohash`
    const refusal: Refusal = { source: 'request', code: 'INFOHASH_INVALID', message, isTemporary: false }
    void reply.headers(corsHeaders).code(404).send({ ...streamNotFound, reasons: [refusal] })
    return
  }
  void reply.code(error.statusCode ?? 400).send({ error: 'Bad request', message: `${pathOf(request)} is not a path of this server.` })
}

/** What was said about a file is not true of an error. */
function prepare (reply: FastifyReply): void {
  for (const name of ['Content-Length', 'Content-Range', 'Content-Disposition', 'Content-Encoding', 'ETag', 'Last-Modified']) reply.removeHeader(name)
  reply.header('Cache-Control', 'no-store').type('application/json; charset=utf-8')
}

function nothingServes ({ refusals, isTemporary, retryInMs }: NothingServes, request: FastifyRequest, reply: FastifyReply): ErrorBody {
  // Without room nobody can tell what the other sources could do: what they say does not make it "not found".
  const isOverload = refusals.some(({ code }) => code === 'NO_ROOM') || (refusals.length > 0 && refusals.every(({ code }) => overload.has(code)))
  if (isTemporary) reply.header('Retry-After', retryInMs === null ? RETRY_AFTER_SECONDS : Math.ceil(retryInMs / 1000))
  reply.code(isOverload ? 503 : 404)
  const isCacheMiss = request.server.config.CACHE_ONLY_MODE && refusals.length === 0
  return { ...(isCacheMiss ? notCached : streamNotFound), ...(refusals.length > 0 ? { reasons: refusals } : {}) }
}

async function answerPlainError (error: FastifyError, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  const status = error.statusCode ?? 500
  if (status < 500) return await reply.code(status).send({ error: 'Bad request', message: error.message })
  request.log.error({ err: error }, 'request failed')
  return await reply.code(status).send({ error: 'Internal server error', message: 'The server failed; its log says more.', requestId: request.id })
}

function pathOf (request: FastifyRequest): string {
  return (request.url.split('?')[0] ?? '').slice(0, 200)
}
