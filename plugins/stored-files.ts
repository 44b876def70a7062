import fp from 'fastify-plugin'
import { StoredFiles } from '../services/cache/stored-files.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The record of the files that the server itself stored and verified. */
    stored: StoredFiles
  }
}

export default fp(async function storedFiles (fastify) {
  const stored = await StoredFiles.open({ directory: fastify.config.TORRENT_DOWNLOAD_PATH, log: fastify.log })
  fastify.decorate('stored', stored)
  fastify.addHook('onClose', async () => { await stored.close() })
}, { name: 'stored-files', dependencies: ['config'] })
