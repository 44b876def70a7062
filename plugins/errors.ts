import { randomBytes } from 'node:crypto'
import { STATUS_CODES, ServerResponse } from 'node:http'
import fp from 'fastify-plugin'
import { Refused } from '../services/access/refused.ts'
import { CodedError } from '../services/errors.ts'
import { corsHeaders } from '../services/http/cors.ts'
import { discreet } from '../services/http/discreet.ts'
import { pathMatcher } from '../services/http/path-matcher.ts'
import { NothingServes } from '../services/source-walk.ts'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { ReasonCode } from '../services/errors.ts'
import type { Refusal } from '../services/source-walk.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What to say to a body that is too large. */
    tooLarge?: string
  }
  interface FastifyInstance {
    /** Every route, as it was registered. */
    routes: readonly Route[]
  }
}

export interface Route {
  readonly methods: readonly string[]
  /** Its pattern. */
  readonly url: string
  readonly matches: (path: string) => boolean
}

/** Which part of a request is wrong, and how. */
export interface ErrorDetail {
  readonly in: string
  readonly field: string
  readonly got: string
  readonly allowed: string
}

/** The one form of every error: what is wrong, and what to do about it where something can be done. */
export interface ErrorBody {
  readonly error: string
  readonly message?: string
  readonly code?: ReasonCode
  readonly suggestion?: string
  readonly reasons?: readonly Refusal[]
  readonly mode?: string
  readonly infoHash?: string
  readonly details?: readonly ErrorDetail[]
  /** In the server's log, too; absent where the fixed texts of a stream's 404 have no room for it (`X-Request-Id` has it). */
  readonly requestId?: string
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
/** What is wrong with what the client gave. */
const clientsFault: ReadonlySet<string> = new Set(['INFOHASH_INVALID', 'MAGNET_INVALID', 'METADATA_INVALID', 'METADATA_V2_ONLY', 'FILE_INDEX'])
const RETRY_AFTER_SECONDS = 10

export default fp(async function errors (fastify) {
  const routes: Route[] = []
  fastify.decorate('routes', routes)

  fastify.addHook('onRoute', ({ method, url }) => { routes.push({ methods: [method].flat(), url, matches: pathMatcher(url) }) })
  fastify.addHook('onRequest', async (request, reply) => { reply.header('X-Request-Id', request.id) })

  fastify.setErrorHandler<FastifyError>(async (error, request, reply) => {
    prepare(request, reply)
    // The client has gone: that is no failure, and nobody reads an answer.
    if (reply.raw.destroyed) return await reply.code(499).send()
    if (error instanceof CodedError && clientsFault.has(error.code)) return refuse(reply, 400, { message: error.message, code: error.code })
    if (error instanceof CodedError) {
      request.log.warn({ err: error }, 'request refused')
      return refuse(reply.header('Retry-After', RETRY_AFTER_SECONDS), 503, { message: error.message, code: error.code })
    }
    return answerPlainError(error, request, reply)
  })

  fastify.setNotFoundHandler(async (request, reply) => {
    prepare(request, reply)
    const path = pathOf(request)
    const allowed = [...new Set(routes.filter(({ matches }) => matches(path)).flatMap(({ methods }) => methods))].sort()
    if (allowed.length === 0) return refuse(reply, 404, { message: `${request.method} ${path} is not a route of this server.` })
    return refuse(reply.header('Allow', allowed.join(', ')), 405, { message: `${request.method} is not a method of ${path}: it has ${allowed.join(', ')}.` })
  })
}, { name: 'errors', dependencies: ['config'] })

/** Ids of requests: none twice, in this life of the server or another. */
export function requestIds (): () => string {
  const life = randomBytes(4).toString('hex')
  let count = 0
  return () => `${life}-${(++count).toString(36)}`
}

/** Sets the status and gives the body to answer with. `error` is the status in words, unless the body has its own. */
export function refuse (reply: FastifyReply, status: number, body: Omit<ErrorBody, 'error'> & { readonly error?: string }): ErrorBody {
  reply.code(status).header('Cache-Control', 'no-store')
  return { error: titleOf(status), ...body, requestId: reply.request.id }
}

/** For the stream route: whatever kept it from being served is the fixed 404, with every source's reason. */
export async function answerStreamError (error: FastifyError, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  prepare(request, reply)
  if (reply.raw.destroyed) return await reply.code(499).send()
  if (error instanceof NothingServes) return nothingServes(error, request, reply)
  if (error instanceof CodedError) {
    const { code, message, isTemporary } = error
    return nothingServes(new NothingServes([{ source: 'stream', code, message, isTemporary }]), request, reply)
  }
  return answerPlainError(error, request, reply)
}

/** For what Fastify refuses before any route: a path that is no path. On the stream route that is an infohash that is none. */
export function answerFrameworkError (error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  prepare(request, reply)
  reply.headers(discreet)
  if (request.url.startsWith('/stream/proxy/')) {
    const message = `${JSON.stringify(pathOf(request).slice('/stream/proxy/'.length, 100))} is not an infohash`
    const refusal: Refusal = { source: 'request', code: 'INFOHASH_INVALID', message, isTemporary: false }
    void reply.headers(corsHeaders).code(404).send({ ...streamNotFound, reasons: [refusal] })
    return
  }
  void reply.send(refuse(reply, error.statusCode ?? 400, { message: `${pathOf(request)} is not a path of this server.` }))
}

/** For what is no HTTP, too large a head, or not there in time. `error.code` is Node's. */
export function answerClientError (error: Error & { readonly code?: string }, socket: Socket): void {
  const { code } = error
  if (code !== 'ECONNRESET' && socket.writable && !isAnswering(socket)) {
    const [status, message] = code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? [408, 'The request did not arrive in time.']
      : code === 'HPE_HEADER_OVERFLOW' ? [431, 'The address and the headers have more than 16 KiB together.'] : [400, 'This is not HTTP/1.1.']
    const body = JSON.stringify({ error: titleOf(status), message })
    socket.write(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n${body}`)
  }
  socket.destroy(error)
}

/** Is an answer under way, of which another one would be taken for a part? Not while the request that it is to has not arrived whole. */
function isAnswering (socket: Socket): boolean {
  const answer = '_httpMessage' in socket ? socket._httpMessage : null
  if (!(answer instanceof ServerResponse)) return false
  return answer.headersSent || answer.req.complete
}

/** What was said about a file is not true of an error. */
function prepare (request: FastifyRequest, reply: FastifyReply): void {
  for (const name of ['Content-Length', 'Content-Range', 'Content-Disposition', 'Content-Encoding', 'ETag', 'Last-Modified']) reply.removeHeader(name)
  reply.header('Cache-Control', 'no-store').header('X-Request-Id', request.id).type('application/json; charset=utf-8')
}

function nothingServes ({ refusals, isTemporary, retryInMs }: NothingServes, request: FastifyRequest, reply: FastifyReply): ErrorBody {
  // Without room nobody can tell what the other sources could do: what they say does not make it "not found".
  const isOverload = refusals.some(({ code }) => code === 'NO_ROOM') || (refusals.length > 0 && refusals.every(({ code }) => overload.has(code)))
  if (isTemporary) reply.header('Retry-After', retryInMs === null ? RETRY_AFTER_SECONDS : Math.ceil(retryInMs / 1000))
  reply.code(isOverload ? 503 : 404)
  const isCacheMiss = request.server.config.CACHE_ONLY_MODE && refusals.length === 0
  return { ...(isCacheMiss ? notCached : streamNotFound), ...(refusals.length > 0 ? { reasons: refusals } : {}) }
}

function answerPlainError (error: FastifyError, request: FastifyRequest, reply: FastifyReply): ErrorBody {
  if (error instanceof Refused) return turnAway(error, reply)
  const status = error.statusCode ?? 500
  if (error.validation !== undefined) {
    const details = detailsOf(error, request)
    return refuse(reply, 400, { message: details.map(({ in: part, field, got, allowed }) => `${part} ${field}: ${allowed}, got ${got}`).join('; '), details })
  }
  if (status === 413) return refuse(reply, 413, { message: request.routeOptions.config.tooLarge ?? `The body has more than ${request.routeOptions.bodyLimit} bytes.` })
  if (status === 415) return refuse(reply, 415, { message: `A body of type ${shown(request.headers['content-type'])} is not taken here${typesOf(request.routeOptions.schema?.body)}.` })
  if (status < 500) return refuse(reply, status, { message: error.message })
  request.log.error({ err: error }, 'request failed')
  return refuse(reply, status, { message: 'The server failed; its log says more.' })
}

/** RFC 9110 section 11.6.1: a 401 says how to log in. */
function turnAway ({ status, code, message, suggestion, retryAfterSeconds }: Refused, reply: FastifyReply): ErrorBody {
  if (status === 401) reply.header('WWW-Authenticate', 'Bearer realm="Self-Streme"')
  if (retryAfterSeconds !== null) reply.header('Retry-After', retryAfterSeconds)
  return refuse(reply, status, { message, code, ...suggestion === null ? {} : { suggestion } })
}

/** Of each field that failed its schema: where it is, what came, and what may. */
function detailsOf ({ validation = [], validationContext = 'body' }: FastifyError, request: FastifyRequest): ErrorDetail[] {
  const part = validationContext === 'querystring' ? 'query' : validationContext
  const whole: unknown = { body: request.body, query: request.query, params: request.params, headers: request.headers }[part]
  return validation.map(({ instancePath, keyword, params, message }) => {
    const missing = keyword === 'required' ? [String(params['missingProperty'])] : []
    const path = [...instancePath.split('/').slice(1), ...missing]
    const value = path.reduce<unknown>((parent, key) => new Map(Object.entries(Object(parent))).get(key), whole)
    const allowed = keyword === 'enum' ? `must be one of ${JSON.stringify(params['allowedValues'])}` : message ?? 'is not allowed'
    return { in: part, field: path.join('.'), got: value === undefined ? 'nothing' : shown(value), allowed }
  })
}

function typesOf (body: unknown): string {
  const content = typeof body === 'object' && body !== null && 'content' in body ? body.content : null
  return typeof content === 'object' && content !== null ? `: give ${Object.keys(content).join(', ')}` : ''
}

function shown (value: unknown): string {
  const text = typeof value === 'number' ? String(value) : JSON.stringify(value) ?? typeof value
  return text.length <= 80 ? text : `${text.slice(0, 80)}…`
}

function titleOf (status: number): string {
  const [first = 'E', ...rest] = STATUS_CODES[status] ?? 'Error'
  return first + rest.join('').replace(/(?<= )[A-Z](?=[a-z])/g, (letter) => letter.toLowerCase())
}

function pathOf (request: FastifyRequest): string {
  return (request.url.split('?')[0] ?? '').slice(0, 200)
}
