import fp from 'fastify-plugin'
import { isMockHash } from '../../services/mock/mock-hashes.ts'
import { openMockVideo } from '../../services/mock/mock-video.ts'

export default fp(async function mockSource (fastify) {
  if (!fastify.config.ENABLE_MOCK) return
  fastify.sources.add({
    name: 'mock',
    priority: 20,
    isLocal: true,
    async open ({ infohash, fileIndex }) {
      return isMockHash(infohash) ? await openMockVideo(fileIndex) : null
    }
  })
}, { name: 'mock-source', dependencies: ['config', 'source-chain'], encapsulate: true })
