import { join } from 'node:path'
import fp from 'fastify-plugin'
import { DirectoryInUse, lockDirectory } from '../services/cache/directory-lock.ts'
import { stateFolder } from '../services/cache/stored-files.ts'
import { removeAbandonedWrites } from '../services/write-file.ts'

/** Registered before anything that writes: two servers never write to one download directory. Released last, for it was taken first. */
export default fp(async function lock (fastify) {
  const { TORRENT_DOWNLOAD_PATH: directory, CACHE_READ_ONLY } = fastify.config
  if (CACHE_READ_ONLY) {
    // What changes something is for the server that writes, whichever route it is; a login changes nothing.
    fastify.addHook('onRequest', async (request, reply) => {
      if (request.routeOptions.url?.startsWith('/api/') !== true || ['GET', 'HEAD', 'OPTIONS'].includes(request.method) || request.routeOptions.config.access === 'public') return
      return await reply.code(403).header('Cache-Control', 'no-store').send({
        error: 'Read only', message: 'This server runs with CACHE_READ_ONLY=true: it adds, deletes and changes nothing. Ask the one that writes to its download directory.'
      })
    })
    return
  }
  const lock = await lockDirectory(directory).catch((error: unknown) => {
    if (error instanceof DirectoryInUse) {
      throw new Error(`${error.message}: stop it, set TORRENT_DOWNLOAD_PATH to another directory, or set CACHE_READ_ONLY=true to serve beside it`, { cause: error })
    }
    throw new Error(`TORRENT_DOWNLOAD_PATH ${directory} cannot be written: make it writable for this user, set another, or set CACHE_READ_ONLY=true`, { cause: error })
  })
  fastify.addHook('onClose', async () => { await lock.release() })
  await removeAbandonedWrites(join(directory, stateFolder))
}, { name: 'lock', dependencies: ['config'] })
