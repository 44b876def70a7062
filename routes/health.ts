import { Type } from 'typebox'
import packageJson from '../package.json' with { type: 'json' }
import { sourcesOff } from '../services/filling.ts'
import { cut } from '../services/readiness.ts'
import { commonHeaders, errors, listOf, oneOf } from './schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import type { Static } from 'typebox'

const tags = ['server']
const headers = commonHeaders
const querystring = Type.Object({ verbose: Type.Optional(Type.String({ description: 'with figures, for the owner of the server', examples: ['true'] })) })
const refusals = errors({ 401: 'figures are for the owner of the server', 403: 'not by this name, or not from a page of somebody else' })
const figures = Type.Object({
  version: Type.String(),
  node: Type.String(),
  uptimeSeconds: Type.Integer(),
  memory: Type.Object({ rss: Type.Integer(), heapUsed: Type.Integer(), external: Type.Integer() }, { description: 'bytes' }),
  eventLoopDelay: Type.Object({ p50: Type.Number(), p99: Type.Number(), max: Type.Number() }, { description: 'seconds, of the last moments' }),
  streams: Type.Integer({ description: 'open now' }),
  torrents: Type.Integer({ description: 'at work now' }),
  followers: Type.Integer({ description: 'who follow the events' })
})
const healthSchema = {
  tags,
  summary: 'The process is alive',
  querystring,
  response: { 200: Type.Object({ status: Type.String(), figures: Type.Optional(figures) }, { description: 'it is', headers }), ...refusals }
}
const reasons = listOf(Type.String(), { description: 'what is wrong, for people' })
const readySchema = {
  tags,
  summary: 'The server can serve, and what is wrong with it',
  querystring,
  response: {
    ...refusals,
    200: Type.Object({
      status: oneOf(['ok', 'degraded', 'unavailable']),
      reasons,
      sources: listOf(Type.String()),
      off: Type.Record(Type.String(), Type.String(), { description: 'sources that a setting switches off' }),
      p2p: Type.Object({ state: Type.String(), reason: Type.Optional(Type.String()) }, { additionalProperties: true }),
      figures: Type.Optional(figures)
    }, { description: 'send requests here', headers }),
    503: Type.Object({ status: oneOf(['ok', 'degraded', 'unavailable']), reasons }, { description: 'it stops, or its store is dead: send them elsewhere', headers })
  }
}

/** Liveness and readiness, for probes: no state is changed, nothing is waited for, and no answer is longer than 1 KB. With figures for the owner only. */
const health: FastifyPluginAsyncTypebox = async (fastify) => {
  const { access, history, torrents, live, eventLoop } = fastify

  fastify.addHook('onRequest', async (_request, reply) => { reply.header('Cache-Control', 'no-store') })

  fastify.get('/health', { schema: healthSchema, config: { access: 'public' } }, async (request) => ({ status: 'ok', ...figuresFor(request) }))

  fastify.get('/ready', { schema: readySchema, config: { access: 'public' } }, async (request, reply) => {
    const more = figuresFor(request)
    const { swarm, sources, config } = fastify
    const readiness = fastify.readiness()
    if (readiness.status === 'unavailable') return await reply.code(503).send(readiness)
    const off = sourcesOff(config)
    return {
      ...readiness,
      sources: sources.names,
      // Switched off by a setting: nothing is wrong with it.
      off,
      p2p: swarm === null ? { state: 'off', reason: off.p2p } : { ...swarm.status, reason: cut(swarm.status.reason) },
      ...more
    }
  })

  /** Throws Refused for who may not have them. */
  function figuresFor (request: FastifyRequest<{ Querystring: Static<typeof querystring> }>): { figures?: Static<typeof figures> } {
    const { verbose } = request.query
    if (verbose === undefined || /^(?:false|0|no)$/i.test(verbose)) return {}
    access.require(request, 'list')
    const { rss, heapUsed, external } = process.memoryUsage()
    const { p50, p99, max } = eventLoop.delay
    return {
      figures: {
        version: packageJson.version,
        node: process.versions.node,
        uptimeSeconds: Math.floor(process.uptime()),
        memory: { rss, heapUsed, external },
        eventLoopDelay: { p50, p99, max },
        streams: history.totals().open,
        torrents: torrents.list().length,
        followers: live.size
      }
    }
  }
}

export default health
