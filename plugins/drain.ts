import fp from 'fastify-plugin'
import { deadlines } from '../services/deadlines.ts'
import { Drain } from '../services/drain.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The time between the wish to stop and the stop. */
    drain: Drain
  }
}

export default fp(async function drain (fastify) {
  const { history, config } = fastify
  const drain = new Drain({
    streams: () => history.totals(),
    graceMs: config.SHUTDOWN_GRACE * 1000,
    quietMs: deadlines.quietMs
  })
  fastify.decorate('drain', drain)
}, { name: 'drain', dependencies: ['config', 'source-chain'] })
