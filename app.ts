import Fastify, { LogController } from 'fastify'
import cache from './plugins/cache.ts'
import config from './plugins/config.ts'
import errors from './plugins/errors.ts'
import lock from './plugins/lock.ts'
import sourceChain from './plugins/source-chain.ts'
import storedFiles from './plugins/stored-files.ts'
import swarm from './plugins/swarm.ts'
import torrentList from './plugins/torrent-list.ts'
import torrents from './plugins/torrents.ts'
import cacheSource from './plugins/sources/cache.ts'
import httpFallbackSource from './plugins/sources/http-fallback.ts'
import mockSource from './plugins/sources/mock.ts'
import p2pSource from './plugins/sources/p2p.ts'
import health from './routes/health.ts'
import pages from './routes/pages.ts'
import stream from './routes/stream.ts'
import torrentRoutes from './routes/torrents.ts'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import type { Config } from './services/config.ts'

export interface AppOptions {
  readonly config: Config
  readonly logger?: FastifyServerOptions['logger']
  /** End idle keep-alive connections at close, too: for tests. */
  readonly forceCloseConnections?: boolean
}

/** The server, ready to listen: what it is made of, in the order in which each part needs the one before. */
export async function buildApp ({ config: values, logger = false, forceCloseConnections = false }: AppOptions): Promise<FastifyInstance> {
  const app = Fastify({
    logger, forceCloseConnections, trustProxy: trustProxyOf(values), logController: new LogController({ disableRequestLogging: true }), routerOptions: { maxParamLength: 2000 }
  })

  await app.register(config, { config: values })
  await app.register(errors)
  await app.register(lock)

  await app.register(storedFiles)
  await app.register(torrents)
  await app.register(cache)
  await app.register(swarm)
  await app.register(sourceChain)

  await app.register(cacheSource)
  await app.register(mockSource)
  await app.register(p2pSource)
  await app.register(httpFallbackSource)

  await app.register(torrentList)

  await app.register(stream)
  await app.register(torrentRoutes)
  await app.register(health)
  await app.register(pages)
  return app
}

/** As Fastify wants it: a number of proxies is a question for each hop. */
function trustProxyOf ({ TRUST_PROXY }: Config): boolean | string[] | ((address: string, hop: number) => boolean) {
  if (typeof TRUST_PROXY === 'number') return (_address, hop) => hop < TRUST_PROXY
  return typeof TRUST_PROXY === 'boolean' ? TRUST_PROXY : [...TRUST_PROXY]
}
