import { Type } from 'typebox'
import { parseInfohash } from '../services/torrent/infohash.ts'
import { refuse } from '../plugins/errors.ts'
import { answer, errors, infoHashParams as params, listOf, nullable, oneOf, ownInfoHash, pageFacts, pageOf, reference } from './schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply } from 'fastify'
import type { ErrorBody } from '../plugins/errors.ts'
import type { CacheEntry } from '../services/cache/cache-list.ts'

const tags = ['cache']

export const cacheEntrySchema = Type.Object({
  infoHash: ownInfoHash,
  fileIndex: nullable(Type.Integer({ description: 'null: all that is unfinished of a torrent, or nobody knows which of its files it is' })),
  kind: oneOf(['stored', 'partial', 'placed'], { description: 'finished by the server; unfinished; put there by a person' }),
  name: nullable(Type.String()),
  path: Type.String({ description: 'relative to the download directory, or absolute for what lies elsewhere' }),
  size: Type.Integer({ description: 'bytes, by the accounting' }),
  lastStreamedAt: nullable(Type.String({ description: 'ISO 8601' })),
  isPinned: Type.Boolean(),
  isStreaming: Type.Boolean(),
  isVerified: Type.Boolean(),
  isMismatch: Type.Boolean({ description: 'a placed file that is not what its name says' })
}, { $id: 'CacheEntry' })

const list = {
  tags,
  summary: 'What is cached, and what is used of the budget',
  querystring: Type.Object(pageOf({ limit: 100, most: 1000 })),
  response: {
    200: answer(Type.Object({
      entries: listOf(reference(cacheEntrySchema)),
      used: Type.Integer({ description: 'bytes that count' }),
      limit: Type.Integer({ description: 'bytes that may count: CACHE_MAX_DISK_MB' }),
      free: nullable(Type.Integer({ description: 'bytes free on the disk' })),
      minFree: Type.Integer({ description: 'bytes that stay free: CACHE_MIN_FREE_MB' }),
      accounting: oneOf(['apparent', 'allocated'])
    }), 'what was streamed longest ago comes first', pageFacts),
    ...errors({ 400: 'a page that cannot be' })
  }
}

const pinned = answer(Type.Object({ infoHash: ownInfoHash, isPinned: Type.Boolean() }), 'it is so')
const pin = { tags, summary: 'Keep a torrent, whatever room is needed', params, response: { 200: pinned, ...errors({ 404: 'nothing of it is cached' }) } }
const unpin = { tags, summary: 'Let it go when room is needed', params, response: { 200: pinned, ...errors({ 404: 'it is not pinned' }) } }

const remove = {
  tags,
  summary: 'Delete what is cached of a torrent, pinned or not',
  params,
  response: {
    200: answer(Type.Object({ infoHash: ownInfoHash, removed: Type.Integer({ description: 'files' }), size: Type.Integer({ description: 'bytes' }) }), 'gone'),
    ...errors({ 403: 'a person placed it, or CACHE_READ_ONLY=true', 404: 'nothing of it is cached', 409: 'it is being streamed or downloaded' })
  }
}

const clear = {
  tags,
  summary: 'Delete all that is neither pinned nor in use',
  response: {
    200: answer(Type.Object({ removed: Type.Integer({ description: 'files' }), size: Type.Integer({ description: 'bytes' }), kept: Type.Integer({ description: 'files' }) }), 'what went, and what stayed'),
    ...errors({})
  }
}

/** What is in the cache: list it, pin it, delete it. */
const cache: FastifyPluginAsyncTypebox = async (fastify) => {
  const { budget, lastUse } = fastify

  fastify.get('/api/cache', { schema: list, config: { access: 'list' } }, async (request, reply) => {
    const { offset, limit } = request.query
    reply.header('Cache-Control', 'no-store')
    const all = await budget.list()
    const { usedBytes, limitBytes, freeBytes, minFreeBytes, accounting } = await budget.totals()
    const entries = all.slice(offset, offset + limit).map(present)
    return { success: true, data: { entries, used: usedBytes, limit: limitBytes, free: freeBytes, minFree: minFreeBytes, accounting }, total: all.length, offset, limit }
  })

  fastify.post('/api/cache/:infoHash/pin', { schema: pin, config: { access: 'manage' } }, async (request, reply) => {
    const infohash = parseInfohash(request.params.infoHash)
    if (infohash === null || !await budget.has(infohash)) return notFound(reply, request.params.infoHash)
    await lastUse.pin(infohash)
    return { success: true, data: { infoHash: infohash, isPinned: true } }
  })

  fastify.delete('/api/cache/:infoHash/pin', { schema: unpin, config: { access: 'manage' } }, async (request, reply) => {
    const infohash = parseInfohash(request.params.infoHash)
    if (infohash === null || !lastUse.isPinned(infohash)) return notFound(reply, request.params.infoHash)
    await lastUse.unpin(infohash)
    return { success: true, data: { infoHash: infohash, isPinned: false } }
  })

  fastify.delete('/api/cache/:infoHash', { schema: remove, config: { access: 'manage' } }, async (request, reply) => {
    const infohash = parseInfohash(request.params.infoHash)
    if (infohash === null) return notFound(reply, request.params.infoHash)
    const removal = await budget.remove(infohash)
    switch (removal.outcome) {
      case 'removed': return { success: true, data: { infoHash: infohash, removed: removal.files, size: removal.countedBytes } }
      case 'busy': return refuse(reply, 409, { error: 'In use', message: 'It is being streamed or downloaded: stop that first, then delete it.', infoHash: infohash })
      case 'placed': return refuse(reply, 403, { error: 'Not ours', message: 'A person placed this file; the server deletes it only with CACHE_EVICT_PLACED=true.', infoHash: infohash })
      case 'read-only': return refuse(reply, 403, { error: 'Read only', message: 'CACHE_READ_ONLY=true: nothing is deleted.', infoHash: infohash })
      case 'unknown': return notFound(reply, infohash)
    }
  })

  fastify.delete('/api/cache', { schema: clear, config: { access: 'manage' } }, async () => {
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

function notFound (reply: FastifyReply, infoHash: string): ErrorBody {
  return refuse(reply, 404, { error: 'Not cached', infoHash })
}
