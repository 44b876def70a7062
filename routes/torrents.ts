import { Type } from 'typebox'
import { asCoded } from '../services/errors.ts'
import { parseInfohash } from '../services/torrent/infohash.ts'
import { parseMagnet } from '../services/torrent/magnet.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply } from 'fastify'
import type { ErrorBody } from '../plugins/errors.ts'
import type { FileStatus, TorrentStatus } from '../services/torrent/torrent-list.ts'
import type { Hints } from '../services/torrent/torrent.ts'

const params = Type.Object({ infoHash: Type.String() })
const body = Type.Object({
  magnetUri: Type.Optional(Type.String({ maxLength: 100_000 })),
  infoHash: Type.Optional(Type.String({ maxLength: 100 })),
  name: Type.Optional(Type.String({ maxLength: 1000 }))
})
const removal = Type.Object({ deleteFiles: Type.Boolean({ default: false }) })

/** Add a torrent, look at it, remove it. */
const torrents: FastifyPluginAsyncTypebox = async (fastify) => {
  const { torrentList } = fastify
  const parseJson = fastify.getDefaultJsonParser('error', 'error')

  // DELETE and others come with this type and no body, too: that is nothing, not a mistake.
  fastify.addContentTypeParser('application/json', { parseAs: 'string' }, (request, text, done) => {
    if (text === '') done(null, undefined)
    else void parseJson(request, text.toString(), done)
  })

  fastify.post('/api/torrents', { schema: { body }, attachValidation: true }, async (request, reply) => {
    const { magnetUri, infoHash, name } = typeof request.body === 'object' && request.body !== null ? request.body : {}
    if (!magnetUri && !infoHash) return await reply.code(400).send({ error: 'magnetUri or infoHash is required' })
    if (request.validationError !== undefined) throw request.validationError
    const wanted = wantedOf(magnetUri, infoHash, name)
    if ('mistake' in wanted) return await reply.code(400).send({ error: 'Bad request', message: wanted.mistake })
    const { infohash, hints } = wanted
    if (!await torrentList.add(infohash, hints)) {
      return await reply.code(503).send({ error: 'Service unavailable', message: 'too many torrents were added: delete some first' })
    }
    const status = await torrentList.status(infohash)
    reply.code(status?.cached === true ? 200 : 202)
    return { success: true, data: status === null ? { infoHash: infohash, ...linksOf(infohash) } : present(status) }
  })

  fastify.get('/api/torrents', async () => ({ success: true, data: (await torrentList.list()).map(present) }))

  fastify.get('/api/torrents/:infoHash', { schema: { params } }, async (request, reply) => {
    const status = await find(request.params.infoHash)
    return status === null ? notFound(reply, request.params.infoHash) : { success: true, data: present(status) }
  })

  fastify.get('/api/torrents/:infoHash/files', { schema: { params } }, async (request, reply) => {
    const status = await find(request.params.infoHash)
    return status === null ? notFound(reply, request.params.infoHash) : { success: true, data: present(status).files }
  })

  fastify.delete('/api/torrents/:infoHash', { schema: { params, querystring: removal } }, async (request, reply) => {
    const infohash = parseInfohash(request.params.infoHash)
    const { deleteFiles } = request.query
    const isRemoved = infohash !== null && await torrentList.remove(infohash, { deleteFiles })
    return isRemoved ? { success: true, data: { infoHash: infohash, deletedFiles: deleteFiles } } : notFound(reply, request.params.infoHash)
  })

  async function find (text: string): Promise<TorrentStatus | null> {
    const infohash = parseInfohash(text)
    return infohash === null ? null : await torrentList.status(infohash)
  }

  function present (status: TorrentStatus) {
    const { infoHash } = status
    const files = status.files.map((file: FileStatus) => ({ ...file, streamUrl: `${linksOf(infoHash).streamUrl}?fileIndex=${file.index}` }))
    return { ...status, files, ...linksOf(infoHash) }
  }

  function linksOf (infohash: string): { streamUrl: string, statusUrl: string } {
    const base = fastify.config.BASE_URL?.replace(/\/+$/, '') ?? ''
    return { streamUrl: `${base}/stream/proxy/${infohash}`, statusUrl: `${base}/api/torrents/${infohash}` }
  }
}

export default torrents

type Wanted = { readonly infohash: string, readonly hints: Hints } | { readonly mistake: string }

/** What to add, or what is wrong with what was given. A magnet wins over an infohash. */
function wantedOf (magnetUri: string | undefined, infoHash: string | undefined, name: string | undefined): Wanted {
  if (!magnetUri) {
    const infohash = parseInfohash(infoHash ?? '')
    if (infohash !== null) return { infohash, hints: { name: name ?? null } }
    return { mistake: `${JSON.stringify(infoHash?.slice(0, 80))} is not an infohash: give 40 hex digits or 32 base32 characters` }
  }
  try {
    const magnet = parseMagnet(magnetUri)
    return { infohash: magnet.infohash, hints: { ...magnet, name: name ?? magnet.name } }
  } catch (error) {
    return { mistake: asCoded(error, 'MAGNET_INVALID').message }
  }
}

async function notFound (reply: FastifyReply, infoHash: string): Promise<ErrorBody> {
  reply.code(404)
  return { error: 'Torrent not found', infoHash }
}
