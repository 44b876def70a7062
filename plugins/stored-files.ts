import { mkdir } from 'node:fs/promises'
import fp from 'fastify-plugin'
import { StoredFiles } from '../services/cache/stored-files.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The record of the files that the server itself stored and verified. */
    stored: StoredFiles
  }
}

export default fp(async function storedFiles (fastify) {
  const { TORRENT_DOWNLOAD_PATH: directory, CACHE_READ_ONLY: isReadOnly } = fastify.config
  if (!isReadOnly) {
    await mkdir(directory, { recursive: true }).catch((error: unknown) => {
      throw new Error(`TORRENT_DOWNLOAD_PATH ${directory} cannot be created: make it writable for this user, or set another`, { cause: error })
    })
  }
  const stored = await StoredFiles.open({ directory, isReadOnly, onChange: fastify.events.tellCache, log: fastify.log })
  fastify.decorate('stored', stored)
  fastify.addHook('onClose', async () => { await stored.close() })
}, { name: 'stored-files', dependencies: ['config', 'events'] })
