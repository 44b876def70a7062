import fp from 'fastify-plugin'
import { SharedPort } from '../services/http/shared-port.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Who else has connections to the HTTP port. */
    sharedPort: SharedPort
  }
}

export default fp(async function sharedPort (fastify) {
  const port = new SharedPort(fastify.server)
  fastify.decorate('sharedPort', port)
  // The server's own close would wait for them.
  fastify.addHook('preClose', async () => { port.close() })
}, { name: 'shared-port' })
