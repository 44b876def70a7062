import { Type } from 'typebox'
import { parseInfohash } from '../services/torrent/infohash.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply } from 'fastify'
import type { ErrorBody } from '../plugins/errors.ts'
import type { CacheEntry } from '../services/cache/cache-list.ts'

const params = Type.Object({ infoHash: Type.String() })

/** What is in the cache: list it, pin it, delete it. */
const cache: FastifyPluginAsyncTypebox = async (fastify) => {
  const { budget, lastUse } = fastify

  fastify.get('/api/cache', async (_request, reply) => {
    reply.header('Cache-Control', 'no-store')
    const entries = await budget.list()
    const { usedBytes, limitBytes, freeBytes, minFreeBytes, accounting } = await budget.totals()
    return { success: true, data: { entries: entries.map(present), used: usedBytes, limit: limitBytes, free: freeBytes, minFree: minFreeBytes, accounting } }
  })

  fastify.post('/api/cache/:infoHash/pin', { schema: { params } }, async (request, reply) => {
    const infohash = parseInfohash(request.params.infoHash)
    if (infohash === null || !await budget.has(infohash)) return await notFound(reply, request.params.infoHash)
    await lastUse.pin(infohash)
    return { success: true, data: { infoHash: infohash, isPinned: true } }
  })

  fastify.delete('/api/cache/:infoHash/pin', { schema: { params } }, async (request, reply) => {
    const infohash = parseInfohash(request.params.infoHash)
    if (infohash === null || !lastUse.isPinned(infohash)) return await notFound(reply, request.params.infoHash)
    await lastUse.unpin(infohash)
    return { success: true, data: { infoHash: infohash, isPinned: false } }
  })

  fastify.delete('/api/cache/:infoHash', { schema: { params } }, async (request, reply) => {
    const infohash = parseInfohash(request.params.infoHash)
    if (infohash === null) return await notFound(reply, request.params.infoHash)
    const removal = await budget.remove(infohash)
    switch (removal.outcome) {
      case 'removed': return { success: true, data: { infoHash: infohash, removed: removal.files, size: removal.countedBytes } }
      case 'busy': return await reply.code(409).send({ error: 'In use', message: 'It is being streamed or downloaded: stop that first, then delete it.', infoHash: infohash })
      case 'placed': return await reply.code(403).send({ error: 'Not ours', message: 'A person placed this file; the server deletes it only with CACHE_EVICT_PLACED=true.', infoHash: infohash })
      case 'read-only': return await reply.code(403).send({ error: 'Read only', message: 'CACHE_READ_ONLY=true: nothing is deleted.', infoHash: infohash })
      case 'unknown': return await notFound(reply, infohash)
    }
  })

  fastify.delete('/api/cache', async () => {
    const { files, countedBytes, kept } = await budget.clear()
    return { success: true, data: { removed: files, size: countedBytes, kept } }
  })
}

export default cache

function present ({ infohash, fileIndex, kind, name, path, countedBytes, lastStreamedAt, isPinned, isStreaming, isVerified, isMismatch }: CacheEntry) {
  return {
    infoHash: infohash,
    fileIndex,
    kind,
    name,
    path,
    size: countedBytes,
    lastStreamedAt: lastStreamedAt === null ? null : new Date(lastStreamedAt).toISOString(),
    isPinned,
    isStreaming,
    isVerified,
    isMismatch
  }
}

async function notFound (reply: FastifyReply, infoHash: string): Promise<ErrorBody> {
  reply.code(404)
  return { error: 'Not cached', infoHash }
}
