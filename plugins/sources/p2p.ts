import fp from 'fastify-plugin'
import { p2pSource } from '../../services/swarm/p2p-source.ts'

export default fp(async function p2p (fastify) {
  const { swarm, torrents, log, config } = fastify
  if (swarm === null) return
  const source = p2pSource({ swarm, torrents, timeoutMs: config.P2P_TIMEOUT, torrentTimeoutMs: config.TORRENT_TIMEOUT, maxRetries: config.TORRENT_MAX_RETRIES, stallTimeoutMs: config.STALL_TIMEOUT, log })
  fastify.sources.add({ ...source, priority: 30 })
}, { name: 'p2p-source', dependencies: ['source-chain', 'swarm', 'torrents'], encapsulate: true })
