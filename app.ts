import Fastify, { LogController } from 'fastify'
import access, { takeSecretPath } from './plugins/access.ts'
import blocklist from './plugins/blocklist.ts'
import bodies from './plugins/bodies.ts'
import browsers from './plugins/browsers.ts'
import budget from './plugins/budget.ts'
import cache from './plugins/cache.ts'
import config from './plugins/config.ts'
import connections from './plugins/connections.ts'
import drain from './plugins/drain.ts'
import errors, { answerClientError, answerFrameworkError, requestIds } from './plugins/errors.ts'
import events from './plugins/events.ts'
import fetcher from './plugins/fetcher.ts'
import hls from './plugins/hls.ts'
import liveEvents from './plugins/live-events.ts'
import forwarded from './plugins/forwarded.ts'
import lock from './plugins/lock.ts'
import mediaProbe from './plugins/media-probe.ts'
import metadata from './plugins/metadata.ts'
import metrics from './plugins/metrics.ts'
import openapi from './plugins/openapi.ts'
import readiness from './plugins/readiness.ts'
import { sharedSerializers } from './plugins/serializers.ts'
import sharedPort from './plugins/shared-port.ts'
import preloads from './plugins/preloads.ts'
import sourceChain from './plugins/source-chain.ts'
import storedFiles from './plugins/stored-files.ts'
import stremio from './plugins/stremio.ts'
import stremioSettings from './plugins/stremio-settings.ts'
import subtitles from './plugins/subtitles.ts'
import swarm from './plugins/swarm.ts'
import tls from './plugins/tls.ts'
import torrentHealth from './plugins/torrent-health.ts'
import torrentList from './plugins/torrent-list.ts'
import torrents from './plugins/torrents.ts'
import verification from './plugins/verification.ts'
import cacheSource from './plugins/sources/cache.ts'
import httpFallbackSource from './plugins/sources/http-fallback.ts'
import keptSource from './plugins/sources/kept.ts'
import mockSource from './plugins/sources/mock.ts'
import p2pSource from './plugins/sources/p2p.ts'
import cacheRoutes from './routes/cache.ts'
import eventRoutes from './routes/events.ts'
import health from './routes/health.ts'
import network from './routes/network.ts'
import metricsRoute from './routes/metrics.ts'
import openapiRoute from './routes/openapi.ts'
import links from './routes/links.ts'
import pages from './routes/pages.ts'
import preloadRoutes from './routes/preload.ts'
import playlist from './routes/playlist.ts'
import { sharedSchemas } from './routes/shared-schemas.ts'
import secretPathRoutes from './routes/secret-paths.ts'
import session from './routes/session.ts'
import stream from './routes/stream.ts'
import streamByName from './routes/stream-by-name.ts'
import stremioAddon from './routes/stremio-addon.ts'
import stremioInstall from './routes/stremio-install.ts'
import stremioServer from './routes/stremio-server.ts'
import stremioServerFiles from './routes/stremio-server-files.ts'
import stremioServerHls from './routes/stremio-server-hls.ts'
import stremioServerProxy from './routes/stremio-server-proxy.ts'
import stremioServerTorrents from './routes/stremio-server-torrents.ts'
import stremioServerUrls from './routes/stremio-server-urls.ts'
import subtitleRoutes from './routes/subtitles.ts'
import torrentHealthRoute from './routes/torrent-health.ts'
import torrentRoutes from './routes/torrents.ts'
import { deadlines } from './services/deadlines.ts'
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
    logger,
    forceCloseConnections,
    trustProxy: trustProxyOf(values),
    logController: new LogController({ disableRequestLogging: true }),
    // For a request to arrive, its headers and the whole of it; they do not limit answers.
    http: { headersTimeout: deadlines.requestHeadersMs, connectionsCheckingInterval: deadlines.requestCheckMs },
    requestTimeout: deadlines.requestMs,
    routerOptions: { maxParamLength: 2000 },
    // Otherwise 1e400 is a number that no maximum holds for.
    ajv: { customOptions: { strictNumbers: false } },
    schemaController: { compilersFactory: { buildSerializer: sharedSerializers() } },
    genReqId: requestIds(),
    clientErrorHandler: answerClientError,
    rewriteUrl: takeSecretPath,
    frameworkErrors: answerFrameworkError
  })

  await app.register(config, { config: values })
  await app.register(errors)
  await app.register(bodies)
  await app.register(events)
  await app.register(connections)
  await app.register(sharedPort)
  await app.register(tls)
  await app.register(lock)

  await app.register(storedFiles)
  await app.register(budget)
  await app.register(fetcher)
  await app.register(metadata)
  await app.register(torrents)
  await app.register(cache)
  await app.register(verification)
  await app.register(swarm)
  await app.register(blocklist)
  await app.register(sourceChain)
  await app.register(drain)
  await app.register(readiness)
  await app.register(metrics)

  await app.register(cacheSource)
  await app.register(mockSource)
  await app.register(p2pSource)
  await app.register(httpFallbackSource)
  await app.register(keptSource)

  await app.register(torrentList)
  await app.register(browsers)
  await app.register(forwarded)
  await app.register(access)
  await app.register(subtitles)
  await app.register(liveEvents)
  await app.register(preloads)
  await app.register(torrentHealth)
  await app.register(stremio)
  await app.register(stremioSettings)
  await app.register(mediaProbe)
  await app.register(hls)

  await app.register(openapi, { schemas: sharedSchemas })
  await app.register(stream)
  await app.register(streamByName)
  await app.register(playlist)
  await app.register(stremioAddon)
  await app.register(stremioInstall)
  await app.register(stremioServer)
  await app.register(stremioServerTorrents)
  await app.register(stremioServerFiles)
  await app.register(stremioServerUrls)
  await app.register(stremioServerHls)
  await app.register(stremioServerProxy)
  await app.register(torrentRoutes)
  await app.register(subtitleRoutes)
  await app.register(preloadRoutes)
  await app.register(torrentHealthRoute)
  await app.register(cacheRoutes)
  await app.register(session)
  await app.register(secretPathRoutes)
  await app.register(links)
  await app.register(eventRoutes)
  await app.register(health)
  await app.register(metricsRoute)
  await app.register(network)
  await app.register(openapiRoute)
  await app.register(pages)
  return app
}

/** As Fastify wants it: a number of proxies is a question for each hop. */
function trustProxyOf ({ TRUST_PROXY }: Config): boolean | string[] | ((address: string, hop: number) => boolean) {
  if (typeof TRUST_PROXY === 'number') return (_address, hop) => hop < TRUST_PROXY
  return typeof TRUST_PROXY === 'boolean' ? TRUST_PROXY : [...TRUST_PROXY]
}
