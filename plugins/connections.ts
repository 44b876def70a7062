import fp from 'fastify-plugin'
import { deadlines } from '../services/deadlines.ts'
import { refuse } from './errors.ts'

export default fp(async function connections (fastify) {
  // RFC 9112 section 3.2. Node takes the first, a proxy perhaps the last.
  fastify.addHook('onRequest', async (request, reply) => {
    const { rawHeaders } = request.raw
    const hosts = rawHeaders.filter((name, i) => i % 2 === 0 && name.length === 4 && name.toLowerCase() === 'host')
    if (hosts.length > 1) return await reply.header('Connection', 'close').send(refuse(reply, 400, { message: 'The request has more than one Host.' }))
  })

  fastify.addHook('preClose', async () => {
    // The server's own close waits for every connection that is not idle, for ever.
    setTimeout(() => { fastify.server.closeAllConnections() }, deadlines.cutMs).unref()
  })
}, { name: 'connections', dependencies: ['errors'] })
