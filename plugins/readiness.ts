import fp from 'fastify-plugin'
import { EventLoopWatch } from '../services/event-loop.ts'
import { readinessOf } from '../services/readiness.ts'
import { StartWatch } from '../services/start-watch.ts'
import { StoreWatch } from '../services/store-watch.ts'
import type { Readiness } from '../services/readiness.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Can this server serve, and what is wrong with it? Nothing is waited for: all of it is known already. */
    readiness: () => Readiness
    eventLoop: EventLoopWatch
    storeWatch: StoreWatch
  }
}

export default fp(async function readiness (fastify) {
  const { config, events, budget, swarm, drain, sources } = fastify
  const eventLoop = new EventLoopWatch()
  const storeWatch = new StoreWatch({ directory: config.TORRENT_DOWNLOAD_PATH, isReadOnly: config.CACHE_READ_ONLY })
  const starts = new StartWatch(events)
  fastify.decorate('eventLoop', eventLoop)
  fastify.decorate('storeWatch', storeWatch)
  fastify.decorate('readiness', () => readinessOf({
    isStopping: drain.isDraining || sources.closing.aborted,
    store: storeWatch.state,
    disk: config.CACHE_READ_ONLY ? [] : budget.problems(),
    eventLoop: eventLoop.delay,
    swarm: swarm?.status ?? null,
    starts: starts.problem
  }))
  fastify.addHook('onReady', async () => {
    eventLoop.start()
    storeWatch.start()
  })
  fastify.addHook('onClose', () => {
    eventLoop.close()
    storeWatch.close()
    starts.close()
  })
}, { name: 'readiness', dependencies: ['config', 'budget', 'swarm', 'source-chain', 'drain'] })
