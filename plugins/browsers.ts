import fp from 'fastify-plugin'
import { originOf } from '../services/access/own-names.ts'
import { discreet } from '../services/http/discreet.ts'

/** Nothing that is answered is a page of its own: it runs nothing, frames nothing and is framed by nobody. */
const bare = "default-src 'none'; frame-ancestors 'none'"

/**
 * What browsers are told beside each answer, and which pages of others may call the API (ALLOWED_ORIGINS; Fetch standard,
 * section 3.2). Routes that say something else of themselves win. Streams are for any page, and say so themselves.
 */
export default fp(async function browsers (fastify) {
  const { config } = fastify
  const names = { baseUrl: config.BASE_URL, origins: config.ALLOWED_ORIGINS ?? [] }

  fastify.addHook('onRequest', async (request, reply) => {
    const { access } = request.routeOptions.config
    reply.headers(discreet)
    if (access !== 'stream') reply.headers({ 'Content-Security-Policy': bare, 'Cross-Origin-Resource-Policy': 'same-origin' })
    const { origin, host } = request.headers
    if (names.origins.length === 0 || origin === undefined) return
    const from = originOf(origin, host, names)
    if (from !== 'listed' && from !== 'any') return
    // Without credentials: a login is for the server's own pages.
    reply.headers({ 'Access-Control-Allow-Origin': origin, Vary: 'Origin', 'Access-Control-Expose-Headers': 'X-Request-Id, Retry-After, WWW-Authenticate' })
    if (!request.is404 || request.method !== 'OPTIONS' || request.headers['access-control-request-method'] === undefined) return
    return await reply.code(204).headers({
      'Access-Control-Allow-Methods': 'GET, HEAD, POST, DELETE',
      'Access-Control-Allow-Headers': 'Authorization, Content-Type, Last-Event-ID',
      'Access-Control-Max-Age': '600'
    }).send()
  })
}, { name: 'browsers', dependencies: ['config'] })
