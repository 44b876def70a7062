import fp from 'fastify-plugin'
import { Fetcher } from '../services/download/fetcher.ts'
import { MirrorScores } from '../services/download/mirror-scores.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Every GET that the server makes, behind the address guard. */
    fetcher: Fetcher
    /** What is known of the mirrors that were asked. */
    mirrorScores: MirrorScores
  }
}

export default fp(async function fetcher (fastify) {
  const fetcher = new Fetcher({ allowPrivateNetworks: fastify.config.HTTP_ALLOW_PRIVATE_NETWORKS })
  fastify.decorate('fetcher', fetcher)
  fastify.decorate('mirrorScores', new MirrorScores())
  fastify.addHook('onClose', async () => { await fetcher.close() })
}, { name: 'fetcher', dependencies: ['config'] })
