import { Type } from 'typebox'
import packageJson from '../package.json' with { type: 'json' }
import { CodedError } from '../services/errors.ts'
import { corsHeaders as cors, preflightHeaders } from '../services/http/cors.ts'
import { NothingServes } from '../services/source-walk.ts'
import { sealedForm } from '../services/stremio/addon-settings.ts'
import { streamsOf, subtitlesOf, unknownStream } from '../services/stremio/library-streams.ts'
import { metaOf } from '../services/stremio/library.ts'
import { catalogId, manifestOf } from '../services/stremio/manifest.ts'
import { parseTorrentId } from '../services/stremio/protocol.ts'
import { describe } from '../services/torrent/description.ts'
import { selectFile } from '../services/torrent/file-selection.ts'
import { deadlines } from '../services/deadlines.ts'
import { hopsOf, isLoop } from '../services/download/via.ts'
import { refuse } from '../plugins/errors.ts'
import { baseUrlOf, linksOf } from './base-url.ts'
import { errors } from './schemas.ts'
import { corsHeaders, preflightAnswers } from './stream-schemas.ts'
import { signalOfReply, whereOf } from './stream-request.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Metadata } from '../services/torrent/metadata.ts'
import type { TorrentId } from '../services/stremio/protocol.ts'
import type { UpstreamAddon } from '../services/stremio/ask-addon.ts'
import type { UpstreamManifest } from '../services/stremio/upstream-manifest.ts'

const tags = ['stremio']
const resources = ['catalog', 'meta', 'stream', 'subtitles'] as const
type Resource = typeof resources[number]

interface Settings {
  readonly addons: readonly UpstreamAddon[]
  readonly hasCatalogs: boolean
}

const params = Type.Object({
  resource: Type.String({ description: resources.join(', '), examples: ['catalog'] }),
  type: Type.String({ description: 'movie, series, other', examples: ['movie'] }),
  id: Type.String({ description: 'of a catalog, or of what it lists', examples: ['selfstreme-movie'] })
})
const extraParams = Type.Object({ ...params.properties, extra: Type.String({ description: 'like a query: search=…&skip=100', examples: ['skip=0'] }) })

const configParams = { config: Type.String({ description: 'settings, encrypted: POST /api/stremio/install makes them', examples: [`cfg-${'x'.repeat(40)}`] }) }

const body = (description: string) => Type.Unsafe<object>({ description, headers: corsHeaders, content: { 'application/json': { schema: { type: 'object', additionalProperties: true } } } })
const manifestSchema = { tags, summary: 'The manifest of the Stremio addon', response: { 200: body('what it offers to this client'), ...errors({ 404: 'settings that this server has not made' }, corsHeaders) } }
const resourceSchema = {
  tags,
  summary: 'What the Stremio addon has',
  description: 'Catalogs, metas, streams and subtitles, as the Stremio addon protocol has them. Catalogs list what is here, to who may see that: with the token, from a trusted address, or by a secret path.',
  params,
  response: { 200: body('{ metas }, { meta }, { streams } or { subtitles }'), ...errors({ 404: 'no such catalog or meta' }, corsHeaders) }
}
const preflightSchema = { tags, summary: 'Preflight: any page may ask', response: preflightAnswers }

const resourcePath = `/:resource(^(?:${resources.join('|')})$)/:type/:id.json`
const extraPath = `/:resource(^(?:${resources.join('|')})$)/:type/:id/:extra.json`

/** Who asks may be told something else than others; players ask again and again. */
const cacheControl: Readonly<Record<Resource | 'manifest', string>> = {
  manifest: 'private, max-age=300',
  catalog: 'private, max-age=30, stale-while-revalidate=300, stale-if-error=3600',
  meta: 'private, max-age=300, stale-while-revalidate=3600, stale-if-error=3600',
  stream: 'private, max-age=60, stale-if-error=600',
  subtitles: 'private, max-age=300, stale-if-error=3600'
}

/** The Stremio addon. */
const stremioAddon: FastifyPluginAsyncTypebox = async (fastify) => {
  const { access, library, torrents, torrentList, cache, upstreams, upstreamManifests, addonHop, addonSeal, config } = fastify
  const everybodys = config.UPSTREAM_ADDONS.map((url) => ({ url, isTrusted: true }))

  fastify.addHook('onRequest', async (_request, reply) => { reply.headers(cors) })

  for (const [prefix, own] of [['', {}], [`/:config(${sealedForm})`, configParams]] as const) {
    const manifest = { ...manifestSchema, params: Type.Object(own) }
    const resource = { ...resourceSchema, params: Type.Object({ ...own, ...params.properties }) }
    const extra = { ...resourceSchema, params: Type.Object({ ...own, ...extraParams.properties }) }
    for (const [url, schema] of [[`${prefix}/manifest.json`, manifest], [prefix + resourcePath, resource], [prefix + extraPath, extra]] as const) {
      fastify.options(url, { schema: { ...preflightSchema, params: schema.params }, config: { access: 'public' } }, async (request, reply) => await reply.code(204).headers(preflightHeaders(request.headers)).send())
    }

    fastify.get(`${prefix}/manifest.json`, { schema: manifest, config: { access: 'public' } }, async (request, reply) => {
      const settings = settingsOf(request)
      if (settings === null) return notOurs(reply)
      const known = await manifestsOf(request, reply, settings.addons)
      reply.header('Cache-Control', known.includes(null) ? 'no-store' : cacheControl.manifest)
      return manifestOf({ version: packageJson.version, baseUrl: baseUrlOf(request), hasCatalogs: settings.hasCatalogs && maySeeLibrary(request), upstreams: known })
    })
    fastify.get(prefix + resourcePath, { schema: resource, config: { access: 'public' } }, async (request, reply) => await answer(request, reply, request.params))
    fastify.get(prefix + extraPath, { schema: extra, config: { access: 'public' } }, async (request, reply) => await answer(request, reply, request.params))
  }

  /** null: the address has settings that this server has not made. */
  function settingsOf ({ params }: FastifyRequest): Settings | null {
    const config = typeof params === 'object' && params !== null && 'config' in params ? params.config : undefined
    if (typeof config !== 'string') return { addons: everybodys, hasCatalogs: true }
    const settings = addonSeal.open(config)
    return settings === null ? null : { addons: [...everybodys, ...settings.upstreams.map((url) => ({ url, isTrusted: false }))], hasCatalogs: settings.hasCatalogs }
  }

  async function answer (request: FastifyRequest, reply: FastifyReply, { resource, type, id }: { readonly resource: string, readonly type: string, readonly id: string }): Promise<object> {
    const settings = settingsOf(request)
    if (settings === null) return notOurs(reply)
    const known = resources.find((each) => each === resource)
    const found = known === undefined ? null : await find(request, reply, settings, known, type, id)
    if (known === undefined || found === null) return refuse(reply, 404, { message: `There is no ${resource} ${type} ${id.slice(0, 200)} here.` })
    if (!reply.hasHeader('Cache-Control')) reply.header('Cache-Control', cacheControl[known])
    return found
  }

  async function find (request: FastifyRequest, reply: FastifyReply, { addons, hasCatalogs }: Settings, resource: Resource, type: string, id: string): Promise<object | null> {
    if (resource === 'catalog') return id === catalogId(type) ? { metas: hasCatalogs && maySeeLibrary(request) ? await library.catalog(type, catalogExtra(request.url)) : [] } : null
    const torrent = parseTorrentId(id)
    if (torrent === null) return resource === 'meta' ? null : await foundElsewhere(request, reply, addons, resource, type, id)
    const { infohash, fileIndex, prefix } = torrent
    await access.admit(request, 'stream', infohash)
    const metadata = await metadataOf(request, reply, torrent)
    const links = linksOf(request)
    if (resource === 'meta') return { meta: metaOf(infohash, metadata?.name ?? (await torrentList.status(infohash))?.name ?? infohash, metadata, prefix) }
    // What is not known yet may be a moment later.
    if (metadata === null) reply.header('Cache-Control', 'no-store')
    if (resource === 'subtitles') return { subtitles: metadata === null ? [] : subtitlesOf(metadata, selectFile(metadata, fileIndex).index, links) }
    if (metadata === null) return { streams: [unknownStream(infohash, fileIndex, links)] }
    return { streams: await streamsOf(metadata, fileIndex, links, async (index) => await cache.find(infohash, index, metadata) !== null) }
  }

  /** Of ids that are not ours: what other addons have. Nobody is sent to what he may not play. */
  async function foundElsewhere (request: FastifyRequest, reply: FastifyReply, addons: readonly UpstreamAddon[], resource: 'stream' | 'subtitles', type: string, id: string): Promise<object> {
    const asked = mayAskOthers(request) ? addons : []
    const question = { type, id, extra: extraOf(request.url), hops: hopsOf(request.headers.via) }
    const signal = signalOfReply(reply)
    const { isComplete, ...found } = resource === 'stream' ? await upstreams.streams(asked, question, linksOf(request), signal) : await upstreams.subtitles(asked, question, signal)
    if (!isComplete) reply.header('Cache-Control', 'no-store')
    return found
  }

  /** What is known of each of these; null: it cannot be had soon. */
  async function manifestsOf (request: FastifyRequest, reply: FastifyReply, addons: readonly UpstreamAddon[]): Promise<Array<UpstreamManifest | null>> {
    if (!mayAskOthers(request)) return []
    const signal = signalOfReply(reply)
    const limit = AbortSignal.any([signal, AbortSignal.timeout(deadlines.upstreamsMs)])
    return await Promise.all(addons.map(async (addon) => {
      const found = await upstreamManifests.of(addon, hopsOf(request.headers.via), limit).catch(() => null)
      return found instanceof CodedError ? null : found
    }))
  }

  function mayAskOthers (request: FastifyRequest): boolean {
    return !isLoop(hopsOf(request.headers.via), addonHop) && access.gate.allowed(access.identityOf(request)).includes('add')
  }

  /** Looked for, where it is not known; null: not found in the time that a player waits for a list. */
  async function metadataOf (request: FastifyRequest, reply: FastifyReply, { infohash }: TorrentId): Promise<Metadata | null> {
    const known = await torrents.knownMetadata(infohash)
    if (known !== null) return known
    const signal = signalOfReply(reply)
    const limit = AbortSignal.any([signal, AbortSignal.timeout(deadlines.addonMs)])
    try {
      return (await describe(whereOf(request, { infoHash: infohash }), fastify, limit)).metadata
    } catch (error) {
      signal.throwIfAborted()
      if (limit.aborted || error instanceof NothingServes || error instanceof CodedError) return null
      throw error
    }
  }

  /** The owner, or whom he gave a secret path: Stremio can send no token. */
  function maySeeLibrary (request: FastifyRequest): boolean {
    const identity = access.identityOf(request)
    return identity.secret !== null || access.gate.allowed(identity).includes('list')
  }
}

export default stremioAddon

function notOurs (reply: FastifyReply): object {
  return refuse(reply, 404, { message: 'This server has not made this address of its addon: install it again from its page, /configure.' })
}

/** As it came, still encoded: a value may have an encoded `&` in it. Empty: none. */
function extraOf (url: string): string {
  const [path = ''] = url.split('?')
  return /\/(?:catalog|meta|stream|subtitles)\/[^/]+\/[^/]+\/([^/]*)\.json$/.exec(path)?.[1] ?? ''
}

function catalogExtra (url: string): { readonly search: string, readonly skip: number } {
  const query = new URLSearchParams(extraOf(url))
  const skip = query.get('skip') ?? ''
  return { search: query.get('search') ?? '', skip: /^\d{1,9}$/.test(skip) ? Number(skip) : 0 }
}
