import fp from 'fastify-plugin'
import { InfohashBlocklist } from '../services/access/infohash-blocklist.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Torrents that this server does not touch; null: it has no list of them. */
    blocklist: InfohashBlocklist | null
  }
}

export default fp(async function blocklist (fastify) {
  const { config: { INFOHASH_BLOCKLIST }, log } = fastify
  const list = INFOHASH_BLOCKLIST === null ? null : await InfohashBlocklist.open(INFOHASH_BLOCKLIST, log)
  fastify.decorate('blocklist', list)
  fastify.addHook('onClose', () => { list?.close() })
}, { name: 'blocklist', dependencies: ['config'] })
