import fp from 'fastify-plugin'
import { tracked } from '../../services/cache/last-use.ts'

export default fp(async function cacheSource (fastify) {
  const { cache, torrents, lastUse } = fastify
  fastify.sources.add({
    name: 'cache',
    priority: 10,
    isLocal: true,
    async open ({ infohash, fileIndex }, signal) {
      const metadata = await torrents.knownMetadata(infohash)
      const cached = await cache.find(infohash, fileIndex, metadata, signal)
      if (cached === null) return null
      const file = await cache.open(cached)
      const handOver = (): string => {
        lastUse.begin(infohash, cached.fileIndex).end()
        return cached.path
      }
      return {
        ...file,
        ...file.isVerified ? { handOver } : {},
        async * read (range, signal) { yield * tracked(lastUse.begin(infohash, cached.fileIndex), file.read(range, signal)) }
      }
    }
  })
}, { name: 'cache-source', dependencies: ['source-chain', 'cache', 'torrents', 'budget'], encapsulate: true })
