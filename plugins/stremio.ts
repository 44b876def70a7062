import fp from 'fastify-plugin'
import { Library } from '../services/stremio/library.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What is here, as catalogs of a Stremio addon. */
    library: Library
  }
}

export default fp(async function stremio (fastify) {
  const { torrentList: list, torrents } = fastify
  fastify.decorate('library', new Library({ list, torrents }))
}, { name: 'stremio', dependencies: ['torrent-list', 'torrents'] })
