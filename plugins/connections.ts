import fp from 'fastify-plugin'
import { deadlines } from '../services/deadlines.ts'

export default fp(async function connections (fastify) {
  fastify.addHook('preClose', async () => {
    // The server's own close waits for every connection that is not idle, for ever.
    setTimeout(() => { fastify.server.closeAllConnections() }, deadlines.cutMs).unref()
  })
}, { name: 'connections' })
