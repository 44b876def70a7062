import fp from 'fastify-plugin'
import { Subtitles } from '../services/subtitles/subtitles.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The subtitle files of torrents. */
    subtitles: Subtitles
  }
}

export default fp(async function subtitles (fastify) {
  const { sources, torrents } = fastify
  fastify.decorate('subtitles', new Subtitles({ sources, torrents }))
}, { name: 'subtitles', dependencies: ['source-chain', 'torrents'] })
