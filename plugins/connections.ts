import fp from 'fastify-plugin'

/** What ends by itself at a stop has so long for it: then a paused player, or a socket that never asked for anything, is cut. */
const GRACE_MS = 500

export default fp(async function connections (fastify) {
  fastify.addHook('preClose', async () => {
    // The server's own close waits for every connection that is not idle, for ever.
    setTimeout(() => { fastify.server.closeAllConnections() }, GRACE_MS).unref()
  })
}, { name: 'connections' })
