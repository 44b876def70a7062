import { Type } from 'typebox'
import { CodedError } from '../services/errors.ts'
import { corsHeaders } from '../services/http/cors.ts'
import { parseProxyRequest } from '../services/stremio-server/proxy-request.ts'
import { refuse } from '../plugins/errors.ts'
import { relayHeaders } from './relay-headers.ts'
import { errors, mockHash } from './schemas.ts'
import { sendBody } from './send-body.ts'
import { sendStream, signalOfAnswer, wantedOf } from './stream-request.ts'
import { rangeHeaders, streamAnswers } from './stream-schemas.ts'
import { fileIndexAsked } from './stremio-server-files.ts'
import { allowPreflight, letStremioIn } from './stremio-server-pages.ts'
import { pageHeaders, serverTags as tags } from './stremio-server-schemas.ts'
import { trackersOf } from './stremio-server-torrents.ts'
import { admitted, fetched } from './stremio-server-urls.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply } from 'fastify'
import type { Reply } from '../services/download/fetcher.ts'

/** Of all clients together. */
const RESPONSES_AT_A_TIME = 32
const MAX_BYTES = 100_000_000_000
const MAX_MS = 6 * 3_600_000
const MAX_REDIRECTS = 5

/** Of the client's request and of the answer what is about the bytes; cookies and the like are nobody's here. */
const passedOn = ['range', 'if-range', 'accept', 'accept-language'] as const
const passedBack = ['content-type', 'content-length', 'content-range', 'content-encoding', 'content-disposition', 'accept-ranges', 'etag', 'last-modified'] as const

const schema = {
  tags,
  summary: 'For the owner and secret paths: what is elsewhere, asked for with headers that a player cannot send',
  description: '`/proxy/d=<origin>&h=<name:value>&r=<name:value>/<path>?<query>`: `d` is where to, `h` headers of the request, `r` of the answer, each percent-encoded. For the owner and secret paths; files of this server are for all that may stream them.',
  params: Type.Object({ '*': Type.String({ description: 'see above', examples: [`d=http%3A%2F%2F127.0.0.1/stream/proxy/${mockHash}`] }) }),
  headers: rangeHeaders,
  response: { ...streamAnswers, ...errors({ 400: 'it names no http(s) address elsewhere', 404: 'nothing is to be had there' }, pageHeaders) }
}

/** A proxy for the streams of Stremio addons that need headers of their own. */
const stremioServerProxy: FastifyPluginAsyncTypebox = async (fastify) => {
  let open = 0
  letStremioIn(fastify)
  allowPreflight(fastify, '/proxy/*', { params: schema.params })

  fastify.route({
    method: ['GET', 'HEAD'],
    exposeHeadRoute: false,
    url: '/proxy/*',
    schema,
    config: { access: 'public', isStream: true, isChanging: true },
    async handler (request, reply) {
      const wanted = parseProxyRequest(request.url)
      const asked = await admitted(request, wanted?.url.href ?? 'none:')
      if (wanted === null || !(asked instanceof URL)) {
        if (asked instanceof URL) return refuse(reply, 400, { message: 'This names no http(s) address.' })
        // As at its own address: any page may play it.
        reply.headers(corsHeaders).removeHeader('Vary')
        return await sendStream(request, reply, wantedOf(request, { infoHash: asked.infoHash, fileIndex: await fileIndexAsked(request, reply, asked), tr: trackersOf(asked.tr) }), { isDownload: false })
      }
      if (open >= RESPONSES_AT_A_TIME) return refuse(reply.header('Retry-After', '10'), 503, { message: `${RESPONSES_AT_A_TIME} answers of others are being passed on already.` })
      // Nobody reads it, and nothing would say that it is over.
      if (reply.raw.destroyed) throw new CodedError('SOURCE_FAILED', 'the client has gone')
      open++
      reply.raw.once('close', () => { open-- })
      const signal = AbortSignal.any([signalOfAnswer(reply), AbortSignal.timeout(MAX_MS)])
      const headers = Object.fromEntries(passedOn.flatMap((name) => typeof request.headers[name] === 'string' ? [[name, request.headers[name]]] : []))
      const answer = await fetched(async () => await fastify.fetcher.get(asked, { isTrusted: false, headers: { ...headers, ...wanted.headers, ...relayHeaders(request) }, signal, maxRedirects: MAX_REDIRECTS }))
      return await passOn(reply, answer, wanted.answerHeaders, request.method === 'HEAD', signal)
    }
  })
}

export default stremioServerProxy

async function passOn (reply: FastifyReply, answer: Reply, instead: Readonly<Record<string, string>>, isHead: boolean, signal: AbortSignal): Promise<unknown> {
  for (const name of passedBack) if (answer.headers[name] !== undefined) reply.header(name, answer.headers[name])
  // It comes from anybody, under this server's name: a browser may play or show it, and nothing else.
  reply.code(answer.status).headers({ 'Cache-Control': 'private, no-cache', ...instead, 'Content-Security-Policy': "default-src 'none'; sandbox", 'X-Content-Type-Options': 'nosniff' })
  if (isHead || answer.status === 204 || answer.status === 304) {
    answer.discard()
    return await reply.send()
  }
  return await sendBody(reply, bounded(answer), signal)
}

async function * bounded (answer: Reply): AsyncGenerator<Uint8Array> {
  let left = MAX_BYTES
  for await (const chunk of answer.body) {
    left -= chunk.length
    if (left < 0) throw new CodedError('SOURCE_FAILED', `${answer.url.host} sends more than ${MAX_BYTES} bytes`)
    yield chunk
  }
}
