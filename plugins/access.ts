import fp from 'fastify-plugin'
import { DistinctLimit } from '../services/access/distinct-limit.ts'
import { Gate, LONG_TOKEN } from '../services/access/gate.ts'
import { clientKey } from '../services/access/near-client.ts'
import { SecretPaths, splitSecret } from '../services/access/secret-paths.ts'
import { Sessions, sessionCookie } from '../services/access/sessions.ts'
import { Refused } from '../services/access/refused.ts'
import { StreamLimit } from '../services/access/stream-limit.ts'
import { keyFor, openSecret } from '../services/access/token.ts'
import { UrlSigner, signatureOf } from '../services/access/url-signer.ts'
import { steadyClock } from '../services/clock.ts'
import { isMockHash } from '../services/mock/mock-hashes.ts'
import { parseInfohash } from '../services/torrent/infohash.ts'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import type { IncomingMessage } from 'node:http'
import type { Asking, Identity } from '../services/access/gate.ts'
import type { Action } from '../services/access/may-do.ts'
import type { Grant } from '../services/links.ts'

/**
 * What a route is, for the table of who may do what. `stream`: it starts a torrent; `status`: it tells of one and starts
 * nothing. Of an infohash that nobody knows both are `add`. The rest as in services/access/may-do.ts.
 */
export type RouteAccess = 'public' | 'status' | 'stream' | 'add' | 'list' | 'manage' | 'relay'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Each route has to say; the server does not start with one that does not. */
    access?: RouteAccess
    /** A GET of it is a stream, of which there may be so many at a time. */
    isStream?: boolean
    /** Pages of others that may call this route, by their origin, beside those of ALLOWED_ORIGINS. */
    pages?: (origin: string) => boolean
    /** It does something for a GET, so that it matters which page of others makes a browser send one. `removing`: what people would miss. */
    isChanging?: boolean | 'removing'
  }
  interface FastifyInstance {
    access: Access
  }
}

export interface Access {
  /** The token, if it was made at this start and nobody knows it yet. */
  readonly newToken: string | null
  readonly sessions: Sessions
  readonly gate: Gate
  readonly signer: UrlSigner
  /** A key of its own for this purpose, the same after a restart. */
  keyFor (purpose: string): Buffer
  readonly secretPaths: SecretPaths
  /** What links for those who may list everything have with them. */
  readonly ownerGrant: Grant
  /** What links for this client have with them. */
  grantOf (request: FastifyRequest): Grant
  /** How long the signature that the torrent was asked for with still counts, in seconds; null: it was asked for without. */
  secondsLeft (request: FastifyRequest, infohash: string): number | null
  /** Who asks, as far as the request shows it. */
  identityOf (request: FastifyRequest): Identity
  /** Throws Refused unless this client may do this with the infohash. For routes whose infohash is not in their path. */
  admit (request: FastifyRequest, access: RouteAccess, infohash: string): Promise<void>
  /** Throws Refused unless this client may do this. For routes of which only a part is for everybody. */
  require (request: FastifyRequest, action: Action): void
}

/** Secrets that requests came with: taken off the address before anything else sees it. */
const secrets = new WeakMap<IncomingMessage, string>()
/** Those whose address ends with the secret, but for a query. */
const unended = new WeakSet<IncomingMessage>()

const MINUTE_MS = 60_000
/** Of each client in a minute. */
const WRONG_SECRETS = 20
const RETRY_AFTER_SECONDS = 10

const reading = new Set(['GET', 'HEAD', 'OPTIONS'])

export default fp(async function access (fastify) {
  const { config, log, torrentList, torrents, cache, stored, blocklist } = fastify
  const directory = config.TORRENT_DOWNLOAD_PATH
  const options = { isReadOnly: config.CACHE_READ_ONLY, log }
  const { value: token, isNew } = config.API_TOKEN === null ? await openSecret(directory, 'api-token', options) : { value: config.API_TOKEN, isNew: false }
  if (token.length < LONG_TOKEN) log.warn({}, `API_TOKEN has ${token.length} characters and might be guessed: take ${LONG_TOKEN} random ones, such as openssl rand -hex 16 gives, or leave it unset`)
  const signingKey = config.STREAM_SIGNING_KEY ?? (await openSecret(directory, 'signing-key', options)).value
  const signer = new UrlSigner(signingKey)
  const secretPaths = await SecretPaths.open(directory, options)
  const sessions = new Sessions(token)
  const gate = new Gate({
    token,
    trustsNobody: config.API_TOKEN !== null || config.isPanel,
    mode: config.STREAM_ACCESS,
    names: { baseUrl: config.BASE_URL, hosts: config.ALLOWED_HOSTS ?? [], origins: config.ALLOWED_ORIGINS ?? [] },
    sessions,
    cookie: sessionCookie(config.PORT),
    signer,
    attempts: new DistinctLimit({ most: WRONG_SECRETS, windowMs: MINUTE_MS, clock: steadyClock })
  })

  const newTorrents = config.NEW_TORRENTS_PER_MINUTE === null ? null : new DistinctLimit({ most: config.NEW_TORRENTS_PER_MINUTE, windowMs: MINUTE_MS, clock: steadyClock })
  const streams = new StreamLimit({ perClient: config.MAX_STREAMS_PER_CLIENT, inAll: config.MAX_STREAMS })

  const routes: RouteOptions[] = []
  fastify.addHook('onRoute', (route) => { routes.push(route) })
  fastify.addHook('onReady', async () => {
    const silent = routes.filter(({ config }) => config?.access === undefined).map(({ method, url }) => `${[method].flat().join(', ')} ${url}`)
    if (silent.length > 0) throw new Error(`who may use ${silent.join('; ')}? Each route says so: config: { access: … }`)
  })

  const identities = new WeakMap<FastifyRequest, Identity>()
  const access: Access = {
    newToken: isNew ? token : null,
    sessions,
    gate,
    signer,
    keyFor: (purpose) => keyFor(purpose, signingKey),
    secretPaths,
    ownerGrant: config.STREAM_ACCESS === 'open' ? {} : { queryFor: (infohash) => signer.sign(infohash) },
    grantOf (request) {
      return gate.grant(access.identityOf(request))
    },
    secondsLeft (request, infohash) {
      return gate.secondsLeft(access.identityOf(request), infohash)
    },
    identityOf (request) {
      const identity = identities.get(request) ?? gate.identify(askingOf(request))
      identities.set(request, identity)
      return identity
    },
    async admit (request, wanted, infohash) {
      if (blocklist?.has(infohash) === true) throw new Refused(403, 'INFOHASH_BLOCKED', 'The owner of this server has blocked this torrent (INFOHASH_BLOCKLIST).')
      const identity = access.identityOf(request)
      gate.check(await actionOf(wanted, infohash), identity, infohash)
      if (wanted !== 'status') await countNew(identity, infohash)
    },
    require (request, action) {
      gate.check(action, access.identityOf(request), null)
    }
  }
  fastify.decorate('access', access)

  // Before anything can answer: below a secret that does not count there is nothing.
  fastify.addHook('onRequest', async (request, reply) => {
    const secret = secrets.get(request.raw)
    if (secret !== undefined) {
      // Before the question, which may take a while: revoked in between, it ends this, too.
      if (!reply.raw.destroyed) reply.raw.once('close', secretPaths.use(secret, () => { reply.raw.destroy() }))
      if (!await secretPaths.has(secret)) gate.refuseSecret(secret, request.ip)
    }
    // Typed without the slash at its end, it would have the page look for its parts beside the secret path.
    if (unended.has(request.raw)) return await reply.header('Cache-Control', 'no-store').redirect(`${secret}${request.url}`, 307)
  })

  // After the route's own onRequest: a refusal has the route's CORS headers. Before any body is read.
  fastify.addHook('preParsing', async (request, reply, payload) => {
    const { access: wanted, isChanging } = request.routeOptions.config
    // A path that is no route tells nothing.
    if (wanted === undefined) return payload
    if (!reading.has(request.method)) gate.guard(askingOf(request), access.identityOf(request))
    else if (isChanging !== undefined && isChanging !== false) gate.guardGet(askingOf(request), access.identityOf(request), { isRemoving: isChanging === 'removing' })
    if (wanted === 'public') return payload
    const infohash = infohashOf(request)
    if (wanted === 'list' || wanted === 'manage' || wanted === 'relay') access.require(request, wanted)
    // One that is none gets the answer that says so; where it comes with the query or the body, the route asks.
    else if (infohash !== null) await access.admit(request, wanted, infohash)
    else if (wanted === 'add' && access.identityOf(request).signature === null) access.require(request, 'add')
    if (request.routeOptions.config.isStream === true && request.method === 'GET') enter(access.identityOf(request), reply)
    return payload
  })

  /** Throws Refused for one infohash too many that nobody knew here; the same again costs nothing. */
  async function countNew (identity: Identity, infohash: string): Promise<void> {
    if (newTorrents === null || isOwner(identity)) return
    const client = clientKey(identity.client)
    if (newTorrents.has(client, infohash) || torrents.get(infohash) !== null || await isKnown(infohash)) return
    const seconds = newTorrents.wait(client)
    if (seconds !== null) {
      throw new Refused(429, 'TOO_MANY_NEW', `A client may bring ${config.NEW_TORRENTS_PER_MINUTE ?? 0} new torrents a minute to this server.`, { retryAfterSeconds: seconds, suggestion: 'Wait; torrents that are known here play all the same.' })
    }
    newTorrents.note(client, infohash)
  }

  /** Throws Refused for one stream too many; counts any other until its response is over. */
  function enter (identity: Identity, { raw }: FastifyReply): void {
    const leave = streams.enter(isOwner(identity) ? null : clientKey(identity.client))
    if (leave === 'client') throw new Refused(429, 'TOO_MANY_STREAMS', `A client may have ${config.MAX_STREAMS_PER_CLIENT ?? 0} streams of this server at a time.`, { retryAfterSeconds: RETRY_AFTER_SECONDS, suggestion: 'Stop one of them.' })
    if (leave === 'all') throw new Refused(503, 'TOO_MANY_STREAMS', 'As many streams run as this server is to have at a time (MAX_STREAMS).', { retryAfterSeconds: RETRY_AFTER_SECONDS })
    raw.once('close', leave)
    // The client may have gone before anybody listened.
    if (raw.destroyed) raw.off('close', leave)
    if (raw.destroyed) leave()
  }

  async function actionOf (wanted: RouteAccess, infohash: string): Promise<Action> {
    if (wanted !== 'stream' && wanted !== 'status') return wanted
    // Elsewhere the table asks the same of both.
    if (gate.mode !== 'known') return 'stream'
    return await isKnown(infohash) ? 'stream' : 'add'
  }

  /** Is it cached, or was it added? The mock is neither, and costs nobody anything. */
  async function isKnown (infohash: string): Promise<boolean> {
    if (torrentList.isAdded(infohash) || (config.ENABLE_MOCK && isMockHash(infohash))) return true
    return stored.list().some((file) => file.infohash === infohash) || await cache.find(infohash, null, null) !== null
  }
}, { name: 'access', dependencies: ['config', 'errors', 'torrent-list', 'torrents', 'cache', 'stored-files', 'blocklist'] })

function isOwner ({ proofs }: Identity): boolean {
  return proofs.has('token') || proofs.has('trusted')
}

/** All routes of this scope and below are of this kind: for plugins of others, whose routes cannot say so. */
export function declareRoutes (scope: FastifyInstance, access: RouteAccess): void {
  scope.addHook('onRoute', (route) => { route.config = { ...route.config, access } })
}

/** The address without its secret path, for Fastify's `rewriteUrl`; nothing that is logged or answered has the secret. */
export function takeSecretPath (request: IncomingMessage): string {
  const { url = '/' } = request
  const split = splitSecret(url)
  if (split === null) return url
  secrets.set(request, split.secret)
  if (!url.startsWith(`/t/${split.secret}/`)) unended.add(request)
  // Where Fastify keeps what it was.
  Object.assign(request, { originalUrl: split.url })
  return split.url
}

/** Asked for after the secret was found to count. */
export function askingOf ({ raw, headers, ip, url, routeOptions }: FastifyRequest): Asking {
  return { peer: raw.socket.remoteAddress, client: ip, headers, secret: secrets.get(raw) ?? null, signature: signatureOf(url), pages: routeOptions.config.pages }
}

function infohashOf ({ params }: FastifyRequest): string | null {
  const infoHash = typeof params === 'object' && params !== null && 'infoHash' in params ? params.infoHash : null
  return typeof infoHash === 'string' ? parseInfohash(infoHash) : null
}
