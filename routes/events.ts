import { Type } from 'typebox'
import { parseInfohash } from '../services/torrent/infohash.ts'
import { refuse } from '../plugins/errors.ts'
import { commonHeaders, errors, infoHashParams } from './schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ErrorBody } from '../plugins/errors.ts'

const RETRY_AFTER_SECONDS = 30

const querystring = Type.Object({
  lastEventId: Type.Optional(Type.String({ maxLength: 40, description: 'as the header Last-Event-ID, for who connects for the first time' }))
})
const headers = Type.Object({
  'Last-Event-ID': Type.Optional(Type.String({ maxLength: 40, description: 'the last event that came: what happened since is sent first' }))
})

const response = {
  200: Type.Unsafe<never>({
    description: 'Server-Sent Events; the schema `Events` has the data of each. A comment every 15 seconds says that the connection is alive. Who does not read is cut off, and gets what it missed when it comes back.',
    headers: { ...commonHeaders, 'X-Accel-Buffering': { type: 'string', description: 'no: a proxy keeps nothing back' } },
    content: { 'text/event-stream': { schema: { type: 'string', examples: ['id: 1c2d3e4f-7\nevent: added\ndata: {"infoHash":"39730aa7c09b864432bc8c878c20c933059241fd","at":"2026-01-01T00:00:00.000Z"}\n\n'] } } }
  }),
  ...errors({ 400: 'lastEventId is too long' })
}

/** What happens, while it happens. */
const events: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get('/api/events', {
    exposeHeadRoute: false,
    config: { access: 'list' },
    schema: { tags: ['events'], summary: 'What happens in the server', querystring, headers, response }
  }, async (request, reply) => follow(request, reply, null, request.query.lastEventId))

  fastify.get('/api/torrents/:infoHash/events', {
    exposeHeadRoute: false,
    config: { access: 'list' },
    schema: { tags: ['events'], summary: 'What happens to one torrent', params: infoHashParams, querystring, headers, response: { ...response, ...errors({ 404: 'this is no infohash' }) } }
  }, async (request, reply) => {
    const infohash = parseInfohash(request.params.infoHash)
    if (infohash === null) return refuse(reply, 404, { error: 'Torrent not found', infoHash: request.params.infoHash })
    return follow(request, reply, infohash, request.query.lastEventId)
  })

  function follow (request: FastifyRequest, reply: FastifyReply, infohash: string | null, asked: string | undefined): ErrorBody | undefined {
    const { raw } = reply
    const header = request.headers['last-event-id']
    const lastEventId = (typeof header === 'string' && header !== '' ? header : asked) ?? null
    let hasBegun = false
    const leave = fastify.live.follow({
      get bufferedBytes () { return raw.writableLength },
      write (bytes) {
        if (!hasBegun) begin()
        raw.write(bytes)
      },
      end () { raw.end() },
      destroy () { raw.destroy() }
    }, { infohash, lastEventId })
    if (leave === null) return refuse(reply.header('Retry-After', RETRY_AFTER_SECONDS), 503, { message: 'too many clients follow the events: ask for the lists from time to time instead' })
    raw.once('close', leave)
    if (raw.destroyed) leave()
    return undefined

    function begin (): void {
      hasBegun = true
      // A proxy that gathers or compresses would keep events back.
      reply.headers({ 'Content-Type': 'text/event-stream; charset=utf-8', 'Cache-Control': 'no-store, no-transform', 'X-Accel-Buffering': 'no' }).hijack()
      raw.writeHead(200, reply.getHeaders() as Record<string, string>)
    }
  }
}

export default events
