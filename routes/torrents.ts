import { Type } from 'typebox'
import { additionOf } from '../services/torrent/addition.ts'
import { parseInfohash } from '../services/torrent/infohash.ts'
import { fileView, torrentView } from '../services/torrent/torrent-view.ts'
import { refuse } from '../plugins/errors.ts'
import { relativeLinksOf } from './base-url.ts'
import { answer, errors, infoHashParams, listOf, mockHash, nullable, ownInfoHash, pageFacts, pageOf, reference } from './schemas.ts'
import { fileSchema, torrentSchema, torrentWithFilesSchema } from './torrent-schemas.ts'
import { acceptTorrents, uploadContent } from './torrent-upload.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply } from 'fastify'
import type { Links } from '../services/links.ts'
import type { TorrentStatus } from '../services/torrent/torrent-status.ts'
import type { ErrorBody } from '../plugins/errors.ts'
import type { GivenTorrent } from '../services/torrent/addition.ts'

const FILES_SHOWN = 1000
const tags = ['torrents']
const unknown = 'nobody added it, and nothing of it is here'

const list = {
  tags,
  summary: 'All torrents that were added, run, or are in the cache',
  querystring: Type.Object(pageOf({ limit: 100, most: 1000 })),
  response: {
    200: answer(listOf(reference(torrentSchema)), 'what was added last comes first', {
      ...pageFacts,
      lastEventId: Type.String({ description: 'follow /api/events?lastEventId=… from here, and nothing is missed' })
    }),
    ...errors({ 400: 'a page that cannot be' })
  }
}

const add = {
  tags,
  summary: 'Add a torrent: it is downloaded to the end by itself',
  description: 'A magnet, an infohash, or a `.torrent` (as the body, or in a form). A `.torrent` wins over a magnet, a magnet over an infohash. Of a magnet with `so` (BEP 53) those files are downloaded, else the default one. Adding again asks again.',
  body: {
    content: {
      'application/json': {
        schema: Type.Object({
          magnetUri: Type.Optional(Type.String({ maxLength: 100_000, examples: [`magnet:?xt=urn:btih:${mockHash}`] })),
          infoHash: Type.Optional(Type.String({ maxLength: 100, examples: [mockHash] })),
          name: Type.Optional(Type.String({ maxLength: 1000, description: 'to show until the metadata is known' }))
        }, { examples: [{ infoHash: mockHash }] })
      },
      ...uploadContent
    }
  },
  response: {
    200: answer(reference(torrentWithFilesSchema), 'it is in the cache already'),
    202: answer(reference(torrentWithFilesSchema), 'added; its download goes on by itself'),
    ...errors({
      400: 'nothing to add, or nothing that can be added',
      403: 'CACHE_READ_ONLY=true',
      413: 'a body of more than 1 MiB, or a `.torrent` of more than 10 MiB',
      415: 'none of the types above'
    })
  }
}

const detail = {
  tags,
  summary: 'One torrent',
  params: infoHashParams,
  response: {
    200: answer(reference(torrentWithFilesSchema), 'as it is now', { lastEventId: Type.String() }),
    ...errors({ 404: unknown })
  }
}

const files = {
  tags,
  summary: 'The files of a torrent',
  params: infoHashParams,
  querystring: Type.Object(pageOf({ limit: 1000, most: 10_000 })),
  response: {
    200: answer(listOf(reference(fileSchema)), 'in its own order, without padding; none while its metadata is not known', pageFacts),
    ...errors({ 400: 'a page that cannot be', 404: unknown })
  }
}

const pieces = {
  tags,
  summary: 'Which pieces of a torrent are here',
  description: 'For a map of it: draw it anew when `progress` comes, not more often.',
  params: infoHashParams,
  response: {
    200: answer(nullable(Type.Object({
      pieceCount: Type.Integer(),
      pieceLength: Type.Integer({ description: 'bytes; the last one may be shorter' }),
      verified: Type.Integer({ description: 'how many are here' }),
      bitfield: Type.String({ description: 'base64; a bit for each piece, the first is the highest of the first byte (BEP 3)' }),
      inFlight: listOf(Type.Integer(), { description: 'being fetched now; at most 1000' })
    })), 'null: its metadata is not known yet'),
    ...errors({ 404: unknown })
  }
}

const removal = {
  tags,
  summary: 'Stop a torrent and forget it',
  params: infoHashParams,
  querystring: Type.Object({ deleteFiles: Type.Boolean({ default: false, description: 'delete what the server stored of it, too' }) }),
  response: {
    200: answer(Type.Object({ infoHash: ownInfoHash, deletedFiles: Type.Boolean({ description: 'false: they were not to be, or a person placed one, which stays, and is listed' }) }), 'gone'),
    ...errors({ 400: 'deleteFiles is neither true nor false', 404: unknown })
  }
}

/** Add a torrent, look at it, remove it. */
const torrents: FastifyPluginAsyncTypebox = async (fastify) => {
  const { torrentList, live } = fastify

  acceptTorrents(fastify)

  fastify.post('/api/torrents', { schema: add, attachValidation: true, config: { access: 'add', tooLarge: 'JSON may have 1 MiB, a .torrent 10 MiB.' } }, async (request, reply) => {
    // Its own error for a body with nothing in it, whatever else is wrong with that.
    const given = givenOf(request.body)
    if (!given.torrent && !given.magnetUri && !given.infoHash) return refuse(reply, 400, { error: 'magnetUri or infoHash is required' })
    if (request.validationError !== undefined) throw request.validationError
    const addition = additionOf(given)
    if (addition === null) return refuse(reply, 400, { error: 'magnetUri or infoHash is required' })
    const { infohash } = addition
    await fastify.access.admit(request, 'add', infohash)
    const refused = await torrentList.add(addition)
    if (refused === 'read-only') return refuse(reply, 403, { error: 'Read only', message: 'CACHE_READ_ONLY=true: nothing is added.' })
    if (refused === 'full') return refuse(reply, 503, { message: 'too many torrents were added: delete some first' })
    const status = await torrentList.status(infohash)
    if (status === null) return refuse(reply, 503, { message: 'it was deleted while it was added' })
    reply.code(status.cached ? 200 : 202)
    return { success: true, data: await withFiles(status, relativeLinksOf(request)) }
  })

  fastify.get('/api/torrents', { schema: list, config: { access: 'list' } }, async (request, reply) => {
    const { offset, limit } = request.query
    reply.header('Cache-Control', 'no-store')
    const { lastEventId } = live
    const { total, entries } = await torrentList.list({ offset, limit })
    const links = relativeLinksOf(request)
    return { success: true, data: entries.map((status) => torrentView(status, links)), total, offset, limit, lastEventId }
  })

  fastify.get('/api/torrents/:infoHash', { schema: detail, config: { access: 'status' } }, async (request, reply) => {
    const { lastEventId } = live
    const status = await find(request.params.infoHash)
    if (status === null) return notFound(reply, request.params.infoHash)
    reply.header('Cache-Control', 'no-store')
    return { success: true, data: await withFiles(status, relativeLinksOf(request)), lastEventId }
  })

  fastify.get('/api/torrents/:infoHash/files', { schema: files, config: { access: 'status' } }, async (request, reply) => {
    const { offset, limit } = request.query
    const status = await find(request.params.infoHash)
    if (status === null) return notFound(reply, request.params.infoHash)
    reply.header('Cache-Control', 'no-store')
    return { success: true, ...await filesOf(status, relativeLinksOf(request), { offset, limit }), offset, limit }
  })

  fastify.get('/api/torrents/:infoHash/pieces', { schema: pieces, config: { access: 'status' } }, async (request, reply) => {
    const status = await find(request.params.infoHash)
    if (status === null) return notFound(reply, request.params.infoHash)
    reply.header('Cache-Control', 'no-store')
    const map = await torrentList.pieces(status.infoHash)
    if (map === null) return { success: true, data: null }
    const { pieceCount, pieceLength, verifiedCount, bitfield, inFlight } = map
    return { success: true, data: { pieceCount, pieceLength, verified: verifiedCount, bitfield: Buffer.from(bitfield).toString('base64'), inFlight } }
  })

  fastify.delete('/api/torrents/:infoHash', { schema: removal, config: { access: 'manage' } }, async (request, reply) => {
    const infohash = parseInfohash(request.params.infoHash)
    const { deleteFiles } = request.query
    // One that waits would begin the torrent anew.
    if (infohash !== null) fastify.preloads.cancel(infohash)
    const isRemoved = infohash !== null && await torrentList.remove(infohash, { deleteFiles })
    if (!isRemoved) return notFound(reply, request.params.infoHash)
    const isPlaced = (await torrentList.status(infohash))?.cached === true
    return { success: true, data: { infoHash: infohash, deletedFiles: deleteFiles && !isPlaced } }
  })

  async function find (text: string): Promise<TorrentStatus | null> {
    const infohash = parseInfohash(text)
    return infohash === null ? null : await torrentList.status(infohash)
  }

  async function withFiles (status: TorrentStatus, links: Links) {
    const { data } = await filesOf(status, links, { offset: 0, limit: FILES_SHOWN })
    return { ...torrentView(status, links), files: data }
  }

  async function filesOf ({ infoHash }: TorrentStatus, links: Links, page: { offset: number, limit: number }) {
    const { total, entries } = await torrentList.files(infoHash, page)
    return { data: entries.map((file) => fileView(infoHash, file, links)), total }
  }
}

export default torrents

/** What the parsers made of the body, or nothing of it. */
function givenOf (body: unknown): GivenTorrent {
  if (typeof body !== 'object' || body === null) return {}
  const { magnetUri, infoHash, name, torrent }: Partial<Record<keyof GivenTorrent, unknown>> = body
  return { magnetUri: textOf(magnetUri), infoHash: textOf(infoHash), name: textOf(name), torrent: torrent instanceof Uint8Array ? torrent : undefined }
}

function textOf (value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function notFound (reply: FastifyReply, infoHash: string): ErrorBody {
  return refuse(reply, 404, { error: 'Torrent not found', infoHash })
}
