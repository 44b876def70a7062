import fp from 'fastify-plugin'
import { Fetcher } from '../services/download/fetcher.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Every GET that the server makes, behind the address guard. */
    fetcher: Fetcher
  }
}

export default fp(async function fetcher (fastify) {
  const fetcher = new Fetcher({ allowPrivateNetworks: fastify.config.HTTP_ALLOW_PRIVATE_NETWORKS })
  fastify.decorate('fetcher', fetcher)
  fastify.addHook('onClose', async () => { await fetcher.close() })
}, { name: 'fetcher', dependencies: ['config'] })
