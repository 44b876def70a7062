import fp from 'fastify-plugin'

export default fp(async function cacheSource (fastify) {
  const { cache, torrents } = fastify
  fastify.sources.add({
    name: 'cache',
    priority: 10,
    async open ({ infohash, fileIndex }, signal) {
      const metadata = await torrents.knownMetadata(infohash)
      const cached = await cache.find(infohash, fileIndex, metadata, signal)
      return cached === null ? null : await cache.open(cached)
    }
  })
}, { name: 'cache-source', dependencies: ['source-chain', 'cache', 'torrents'], encapsulate: true })
