import fp from 'fastify-plugin'
import { keptSource } from '../../services/pieces/kept-source.ts'

export default fp(async function kept (fastify) {
  // A store is put in order when it is opened: that is for the server that writes.
  if (fastify.config.CACHE_READ_ONLY) return
  fastify.sources.add({ ...keptSource(fastify.torrents), priority: 50 })
}, { name: 'kept-source', dependencies: ['source-chain', 'torrents'], encapsulate: true })
