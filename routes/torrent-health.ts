import { Type } from 'typebox'
import { parseInfohash } from '../services/torrent/infohash.ts'
import { refuse } from '../plugins/errors.ts'
import { answer, errors, infoHashParams, listOf, nullable, oneOf, ownInfoHash, trackersQuery } from './schemas.ts'
import { signalOfReply, whereOf } from './stream-request.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const healthSchema = Type.Object({
  infoHash: ownInfoHash,
  peers: nullable(Type.Integer({ description: 'that others know of, seeds among them; null: nobody could tell' })),
  seeds: nullable(Type.Integer()),
  peersFrom: nullable(oneOf(['trackers', 'dht', 'swarm'], { description: 'who told' })),
  isMetadataKnown: Type.Boolean({ description: 'its list of files is here' }),
  sources: listOf(Type.Object({
    source: Type.String(),
    outlook: oneOf(['yes', 'likely', 'unknown', 'no']),
    reason: Type.String()
  }), { description: 'would each source serve it? unknown: it would have to be tried' }),
  estimatedStart: nullable(Type.Number({ description: 'seconds to the first byte, roughly; null: nobody is known to have it' })),
  basis: Type.String({ description: 'what the estimate goes by' }),
  checkedAt: Type.String({ description: 'ISO 8601' })
})

const schema = {
  tags: ['torrents'],
  summary: 'How well a torrent would stream',
  description: 'For choosing among many: trackers and the DHT are asked how many peers there are, within three seconds. Nothing is started, joined or downloaded. The same answer is given for half a minute.',
  params: infoHashParams,
  querystring: Type.Object({ tr: trackersQuery }),
  response: { 200: answer(healthSchema, 'of the default file'), ...errors({ 404: 'the infohash is none' }) }
}

/** What is known of a torrent that nobody has started. */
const torrentHealth: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get('/api/torrents/:infoHash/health', { schema, config: { access: 'stream' } }, async (request, reply) => {
    const { infoHash } = request.params
    if (parseInfohash(infoHash) === null) return refuse(reply, 404, { error: 'Torrent not found', infoHash })
    const { infohash, trackers } = whereOf(request, { infoHash, ...request.query })
    reply.header('Cache-Control', 'no-store')
    return { success: true, data: await fastify.torrentHealth.of(infohash, trackers, signalOfReply(reply)) }
  })
}

export default torrentHealth
