import fp from 'fastify-plugin'
import { SourceChain } from '../services/source-chain.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The sources in priority order; a source plugin adds itself, the stream route opens. */
    sources: SourceChain
  }
}

export default fp(async function sourceChain (fastify) {
  const { SOURCE_HEDGE_DELAY, START_TIMEOUT, LINGER, RESPONSE_STALL_LIMIT } = fastify.config
  const sources = new SourceChain({
    hedgeDelayMs: SOURCE_HEDGE_DELAY,
    startTimeoutMs: START_TIMEOUT,
    lingerMs: LINGER * 1000,
    responseStallLimitMs: RESPONSE_STALL_LIMIT,
    log: fastify.log
  })
  fastify.decorate('sources', sources)
  // Before the server closes, or it would wait for streams that nothing ends.
  fastify.addHook('preClose', async () => { sources.close() })
}, { name: 'source-chain', dependencies: ['config'] })
