import { cpus, loadavg, networkInterfaces } from 'node:os'
import { Type } from 'typebox'
import { knownStatistics } from '../services/stremio-server/known-statistics.ts'
import { baseUrlOf } from './base-url.ts'
import { errors, listOf } from './schemas.ts'
import { allowPreflight, letStremioIn } from './stremio-server-pages.ts'
import { json, pageHeaders, serverTags as tags, settingsSchema } from './stremio-server-schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const MAX_TORRENTS_SHOWN = 1000

const settings = {
  tags,
  summary: 'What Stremio clients know of their streaming server',
  response: { 200: json('every value that their parsers need', Type.Object({ options: listOf(Type.Object({})), values: settingsSchema, baseUrl: Type.String() })), ...errors({}, pageHeaders) }
}
const change = {
  tags,
  summary: 'Change what Stremio clients may set',
  description: 'Values that this server has a configuration of its own for (cacheSize) stay as they are.',
  body: { content: { 'application/json': { schema: Type.Object({}, { additionalProperties: true, examples: [{ proxyStreamsEnabled: true }] }) } } },
  response: { 200: json('taken over', Type.Object({ success: Type.Boolean() })), ...errors({ 400: 'no JSON object', 413: 'a body of more than 1 MiB', 415: 'no JSON' }, pageHeaders) }
}
const network = { tags, summary: 'Addresses of this machine', response: { 200: json('its IPv4 addresses; none for those who may not know', Type.Object({ availableInterfaces: listOf(Type.String()) })), ...errors({}, pageHeaders) } }
const device = { tags, summary: 'Hardware that transcodes', response: { 200: json('none', Type.Object({ availableHardwareAccelerations: listOf(Type.String()) })), ...errors({}, pageHeaders) } }
const casting = { tags, summary: 'Devices to cast to', response: { 200: json('none', { type: 'array', items: { type: 'object' } }), ...errors({}, pageHeaders) } }
const heartbeat = { tags, summary: 'Is it there?', response: { 200: json('it is', Type.Object({ success: Type.Boolean() })), ...errors({}, pageHeaders) } }
const stats = {
  tags,
  summary: 'Statistics of all torrents',
  querystring: Type.Object({ sys: Type.Optional(Type.String({ description: '1: with the load of this machine, as `sys`', examples: ['1'] })) }),
  response: { 200: json('by infohash; at most 1000', { type: 'object', additionalProperties: true }), ...errors({}, pageHeaders) }
}

/** What a Stremio client asks its streaming server for before anything plays. */
const stremioServer: FastifyPluginAsyncTypebox = async (fastify) => {
  letStremioIn(fastify)

  fastify.get('/settings', { schema: settings, config: { access: 'public' } }, async (request) => {
    const { prefix = '' } = fastify.access.grantOf(request)
    return { options: [], values: fastify.stremioSettings.values, baseUrl: `${baseUrlOf(request).replace(/\/+$/, '')}${prefix}` }
  })

  fastify.post('/settings', { schema: change, config: { access: 'manage' } }, async (request) => {
    await fastify.stremioSettings.set({ ...Object(request.body) })
    return { success: true }
  })

  fastify.get('/network-info', { schema: network, config: { access: 'public' } }, async (request) => {
    const isOwner = fastify.access.gate.allowed(fastify.access.identityOf(request)).includes('list')
    const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
    return { availableInterfaces: isOwner ? all.filter(({ family, internal }) => family === 'IPv4' && !internal).map(({ address }) => address) : [] }
  })

  fastify.get('/device-info', { schema: device, config: { access: 'public' } }, async () => ({ availableHardwareAccelerations: [] }))
  for (const path of ['/casting', '/casting/']) fastify.get(path, { schema: casting, config: { access: 'public' } }, async () => [])
  fastify.get('/heartbeat', { schema: heartbeat, config: { access: 'public' } }, async () => ({ success: true }))

  fastify.get('/stats.json', { schema: stats, config: { access: 'list' } }, async (request) => {
    const { entries } = await fastify.torrentList.list({ offset: 0, limit: MAX_TORRENTS_SHOWN })
    const all: Record<string, unknown> = {}
    for (const { infoHash } of entries) all[infoHash] = await knownStatistics(infoHash, null, fastify)
    return request.query.sys === '1' ? { ...all, sys: { loadavg: loadavg(), cpus: cpus() } } : all
  })

  for (const path of ['/settings', '/network-info', '/device-info', '/casting', '/heartbeat', '/stats.json']) allowPreflight(fastify, path)
}

export default stremioServer
