import { originOf } from '../services/access/own-names.ts'
import { preflightHeaders } from '../services/http/cors.ts'
import { NothingServes } from '../services/source-walk.ts'
import { isStremioPage } from '../services/stremio-server/origins.ts'
import { answerStreamError } from '../plugins/errors.ts'
import { preflightAnswersWith } from './stream-schemas.ts'
import { pageHeaders, serverTags as tags } from './stremio-server-schemas.ts'
import type { FastifyError, FastifyInstance, FastifyRequest } from 'fastify'

const preflight = { tags, summary: 'Preflight: pages of Stremio, of this machine and of ALLOWED_ORIGINS may', response: preflightAnswersWith(pageHeaders) }

/**
 * For routes that Stremio's apps call, not for media, which any page may play: who may call them is said once, in one
 * header, and what fails is told as a stream's failures are.
 */
export function letStremioIn (fastify: FastifyInstance): void {
  fastify.addHook('onRoute', (route) => { route.config = { ...route.config, pages: isStremioPage } })
  fastify.addHook('onRequest', async (request, reply) => {
    reply.headers({ 'Cache-Control': 'no-store', Vary: 'Origin', 'Cross-Origin-Resource-Policy': 'cross-origin' })
    const page = allowedPage(request)
    if (page !== null) reply.header('Access-Control-Allow-Origin', page)
  })
  fastify.setErrorHandler<FastifyError>(async (error, request, reply) => {
    if (error instanceof NothingServes) return await answerStreamError(error, request, reply)
    throw error
  })
}

/** Answers the preflights of this path, those of a public page for a private address among them. */
export function allowPreflight (fastify: FastifyInstance, path: string, params: object = {}): void {
  fastify.options(path, { schema: { ...preflight, ...params }, config: { access: 'public' } }, async (request, reply) => {
    const page = allowedPage(request)
    if (page === null) return await reply.code(204).send()
    const { 'Access-Control-Allow-Origin': _any, ...headers } = preflightHeaders(request.headers)
    return await reply.code(204).headers({ ...headers, 'Access-Control-Allow-Methods': 'GET, HEAD, POST, OPTIONS' }).send()
  })
}

/** The page that asks, if it may read the answer. */
function allowedPage ({ headers: { origin, host }, server: { config } }: FastifyRequest): string | null {
  if (origin === undefined) return null
  const from = originOf(origin, host, { baseUrl: config.BASE_URL, origins: config.ALLOWED_ORIGINS ?? [] })
  return from !== 'foreign' || isStremioPage(origin) ? origin : null
}
