import { isIP } from 'node:net'
import { Type } from 'typebox'
import { linksFrom } from '../services/links.ts'
import { parseInfohash } from '../services/torrent/infohash.ts'
import { refuse } from '../plugins/errors.ts'
import { baseUrlOf } from './base-url.ts'
import { answer, errors, infoHashParams, nullable, ownInfoHash } from './schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const DAY_SECONDS = 86_400

const schema = {
  tags: ['access'],
  summary: 'A signed link to a torrent',
  description: 'For players, which can send no token: it opens this torrent to whoever has it, and no other, until it expires.',
  params: infoHashParams,
  querystring: Type.Object({
    fileIndex: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000, description: 'of this file; the whole torrent is open all the same' })),
    seconds: Type.Integer({ minimum: 60, maximum: 366 * DAY_SECONDS, default: DAY_SECONDS, description: 'how long it counts' }),
    address: Type.Optional(Type.String({ maxLength: 100, description: 'the IP address of the only client that may use it, of IPv6 its network; `mine`: that of this request' }))
  }),
  response: {
    200: answer(Type.Object({
      infoHash: ownInfoHash,
      url: Type.String({ description: 'the stream' }),
      playlistUrl: Type.String(),
      statusUrl: Type.String(),
      expiresAt: Type.String({ description: 'ISO 8601' }),
      address: nullable(Type.String())
    }), 'made; nothing is kept of it'),
    ...errors({ 400: 'a time or an address that is none', 404: 'the infohash is none' })
  }
}

/** Signed links. */
const links: FastifyPluginAsyncTypebox = async (fastify) => {
  const { signer } = fastify.access

  fastify.get('/api/torrents/:infoHash/link', { schema, config: { access: 'manage' } }, async (request, reply) => {
    const { infoHash } = request.params
    const { fileIndex = null, seconds, address: given } = request.query
    const infohash = parseInfohash(infoHash)
    if (infohash === null) return refuse(reply, 404, { error: 'Torrent not found', infoHash })
    const address = given === 'mine' ? request.ip : given ?? null
    if (address !== null && isIP(address) === 0) return refuse(reply, 400, { message: `address must be an IP address or mine, got ${JSON.stringify(address)}` })
    const expires = Math.floor(Date.now() / 1000) + seconds
    const signed = linksFrom(baseUrlOf(request), { queryFor: (infohash) => signer.sign(infohash, { expires, address }) })
    reply.header('Cache-Control', 'no-store')
    return {
      success: true,
      data: { infoHash: infohash, url: signed.stream(infohash, { fileIndex }), playlistUrl: signed.playlist(infohash, fileIndex), statusUrl: signed.status(infohash), expiresAt: new Date(expires * 1000).toISOString(), address }
    }
  })
}

export default links
