import fp from 'fastify-plugin'
import { SourceChain } from '../services/source-chain.ts'
import { StreamHistory } from '../services/stream-history.ts'
import { deadlines } from '../services/deadlines.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The sources in priority order; a source plugin adds itself, the stream route opens. */
    sources: SourceChain
    /** What became of the latest starts and responses. */
    history: StreamHistory
  }
}

export default fp(async function sourceChain (fastify) {
  const { SOURCE_HEDGE_DELAY, START_TIMEOUT, LINGER, MAX_TORRENTS, STALL_TIMEOUT, RESPONSE_STALL_LIMIT } = fastify.config
  const history = new StreamHistory(fastify.events)
  const sources = new SourceChain({
    hedgeDelayMs: SOURCE_HEDGE_DELAY,
    startTimeoutMs: START_TIMEOUT,
    lingerMs: LINGER * 1000,
    maxLingering: Math.floor(MAX_TORRENTS / 2),
    silenceMs: deadlines.silenceTurns * STALL_TIMEOUT,
    responseStallLimitMs: RESPONSE_STALL_LIMIT,
    isBlocked: (infohash) => fastify.blocklist?.has(infohash) === true,
    history,
    log: fastify.log
  })
  fastify.decorate('history', history)
  fastify.decorate('sources', sources)
  // Before the server closes, or it would wait for streams that nothing ends.
  fastify.addHook('preClose', async () => { sources.close() })
}, { name: 'source-chain', dependencies: ['config', 'events', 'blocklist'] })
