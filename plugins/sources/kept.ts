import fp from 'fastify-plugin'
import { keptSource } from '../../services/pieces/kept-source.ts'

export default fp(async function kept (fastify) {
  fastify.sources.add({ ...keptSource(fastify.torrents), priority: 50 })
}, { name: 'kept-source', dependencies: ['source-chain', 'torrents'], encapsulate: true })
