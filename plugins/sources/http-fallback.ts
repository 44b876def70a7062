import fp from 'fastify-plugin'
import { Fetcher } from '../../services/download/fetcher.ts'
import { httpSource } from '../../services/download/http-source.ts'

export default fp(async function httpFallback (fastify) {
  const { torrents, log, config } = fastify
  if (!config.ENABLE_HTTP_FALLBACK || config.CACHE_ONLY_MODE) return
  const fetcher = new Fetcher({ allowPrivateNetworks: config.HTTP_ALLOW_PRIVATE_NETWORKS })
  fastify.addHook('onClose', async () => { await fetcher.close() })
  const source = httpSource({
    torrents,
    fetcher,
    metadataUrls: config.TORRENT_METADATA_URLS,
    mirrorUrls: config.HTTP_MIRROR_URLS,
    stallTimeoutMs: config.STALL_TIMEOUT,
    patienceMs: config.P2P_TIMEOUT,
    log
  })
  fastify.sources.add({ ...source, priority: 40 })
}, { name: 'http-fallback-source', dependencies: ['source-chain', 'torrents'], encapsulate: true })
