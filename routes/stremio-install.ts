import { Type } from 'typebox'
import { MAX_UPSTREAMS, manifestUrl, sealedForm } from '../services/stremio/addon-settings.ts'
import { CodedError } from '../services/errors.ts'
import { refuse } from '../plugins/errors.ts'
import { baseUrlOf } from './base-url.ts'
import { answer, commonHeaders, errors, listOf, nullable } from './schemas.ts'
import { signalOfReply } from './stream-request.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply } from 'fastify'

const tags = ['stremio']

const settings = {
  upstreams: listOf(Type.String(), { description: 'manifests of other addons, whose torrents play from here' }),
  catalogs: Type.Boolean({ description: 'what is here is listed' })
}
const addons = listOf(Type.Object({
  url: Type.String(),
  name: nullable(Type.String({ description: 'as its manifest has it' })),
  problem: nullable(Type.String({ description: 'why that cannot be read now; it is asked again each time' }))
}), { description: 'what these addons are' })
const installSchema = {
  tags,
  summary: 'Make an address to install the addon by',
  description: 'With settings of its own, encrypted in the address, and below a secret path, for Stremio can send no token. Nothing is kept but the secret path.',
  body: Type.Object({
    upstreams: Type.Optional(Type.Array(Type.String({ maxLength: 2000 }), { maxItems: MAX_UPSTREAMS })),
    catalogs: Type.Optional(Type.Boolean()),
    secretPath: Type.Optional(Type.Boolean({ description: 'false: without one, for devices that are trusted as they are' }))
  }, { examples: [{ upstreams: [], catalogs: true, secretPath: false }] }),
  response: {
    201: answer(Type.Object({
      manifestUrl: Type.String(),
      installUrl: Type.String({ description: 'opens Stremio' }),
      webUrl: Type.String({ description: 'opens it in the browser' }),
      isReachable: Type.Boolean({ description: 'Stremio takes it: it is https, or on the same machine' }),
      addons
    }), 'made'),
    ...errors({ 400: 'an address that is none of an addon, or too many', 409: 'there are too many secret paths' })
  }
}
const showSchema = {
  tags,
  summary: 'What an installed addon is set to',
  params: Type.Object({ config: Type.String({ description: 'the part of its address that begins with cfg-', examples: ['cfg-'] }) }),
  response: { 200: answer(Type.Object({ ...settings, addons }), 'as it was made'), ...errors({ 404: 'this server has not made it' }) }
}
const configuredSchema = {
  tags,
  summary: 'Configure an installed addon anew',
  params: showSchema.params,
  response: { 302: Type.Unsafe<unknown>({ description: 'to the page', type: 'null', headers: { ...commonHeaders, Location: { type: 'string' } } }), ...errors({}) }
}

/** Addresses to install the addon by, which only the owner makes: what the server fetches for them is his choice. */
const stremioInstall: FastifyPluginAsyncTypebox = async (fastify) => {
  const { access, addonSeal, upstreamManifests } = fastify

  fastify.addHook('onRequest', async (_request, reply) => { reply.header('Cache-Control', 'no-store') })

  fastify.post('/api/stremio/install', { schema: installSchema, config: { access: 'manage' } }, async (request, reply) => {
    const { upstreams: given = [], catalogs = true, secretPath = true } = request.body
    const upstreams = given.map((text) => manifestUrl(text))
    const wrong = upstreams.indexOf(null)
    if (wrong !== -1) return refuse(reply, 400, { message: `upstreams: ${JSON.stringify((given[wrong] ?? '').slice(0, 80))} is no address of a manifest: it begins with http, and ends in /manifest.json` })
    const found = await describe(upstreams.flatMap((url) => url ?? []), reply)
    const stranger = found.find(({ isFinal }) => isFinal)
    if (stranger !== undefined) return refuse(reply, 400, { message: `upstreams: ${JSON.stringify(stranger.url.slice(0, 80))} cannot be asked: ${stranger.problem ?? ''}` })
    const isPlain = upstreams.length === 0 && catalogs
    const sealed = isPlain ? '' : addonSeal.seal({ upstreams: [...new Set(upstreams.flatMap((url) => url ?? []))], hasCatalogs: catalogs })
    if (sealed === null) return refuse(reply, 400, { message: 'upstreams: these addresses are too long together for the address of an addon: name fewer, or set UPSTREAM_ADDONS for all.' })
    const made = secretPath ? await access.secretPaths.create('Stremio') : null
    if (secretPath && made === null) return refuse(reply, 409, { error: 'Too many', message: 'There are too many secret paths: revoke some that nobody uses.' })
    const base = `${baseUrlOf(request).replace(/\/+$/, '')}${made === null ? '' : `/t/${made.secret}`}`
    const url = `${base}${sealed === '' ? '' : `/${sealed}`}/manifest.json`
    reply.code(201)
    return {
      success: true,
      data: {
        manifestUrl: url,
        installUrl: url.replace(/^https?:/, 'stremio:'),
        webUrl: `https://web.stremio.com/#/addons?addon=${encodeURIComponent(url)}`,
        isReachable: /^https:|^http:\/\/(?:127\.0\.0\.1|localhost)[:/]/.test(url),
        addons: found
      }
    }
  })

  fastify.get('/api/stremio/install/:config', { schema: showSchema, config: { access: 'manage' } }, async (request, reply) => {
    const found = addonSeal.open(request.params.config)
    if (found === null) return refuse(reply, 404, { message: 'This server has not made this address, or its STREAM_SIGNING_KEY is another one now.' })
    return { success: true, data: { upstreams: found.upstreams, catalogs: found.hasCatalogs, addons: await describe(found.upstreams, reply) } }
  })

  // Not the page itself: what it loads is relative to its own place. Behind the # no log sees the settings.
  fastify.get(`/:config(${sealedForm})/configure`, { schema: configuredSchema, config: { access: 'public' } }, async (request, reply) =>
    await reply.code(302).header('Location', `../configure#${request.params.config}`).send())

  /** What these addresses are; `isFinal`: none of an addon that could ever be asked. */
  async function describe (urls: readonly string[], reply: FastifyReply) {
    const signal = signalOfReply(reply)
    return await Promise.all(urls.map(async (url) => {
      const found = await upstreamManifests.of({ url, isTrusted: false }, [], signal)
      if (!(found instanceof CodedError)) return { url, name: found.name, problem: null, isFinal: false }
      const isPrivate = found.code === 'ADDRESS_REFUSED'
      const problem = isPrivate ? `${found.message}. Addons of your own network are named in UPSTREAM_ADDONS.` : found.message
      return { url, name: null, problem, isFinal: isPrivate || found.code === 'METADATA_INVALID' }
    }))
  }
}

export default stremioInstall
