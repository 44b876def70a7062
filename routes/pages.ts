import { join } from 'node:path'
import fastifyStatic from '@fastify/static'
import { Type } from 'typebox'
import { declareRoutes } from '../plugins/access.ts'
import { commonHeaders, errors } from './schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

/** The page needs nothing from elsewhere, and nobody may frame it. Players of other schemes are opened by links. */
const safety = {
  'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Permissions-Policy': 'camera=(), microphone=(), geolocation=(), clipboard-write=(self), fullscreen=(self), picture-in-picture=(self)',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  // Asked for again each time, by its ETag: after an upgrade no old script meets a new page.
  'Cache-Control': 'no-cache'
}

const text = { type: 'string' }
const headers = { ...commonHeaders, ETag: text, 'Last-Modified': text, 'Accept-Ranges': text, ...Object.fromEntries(Object.keys(safety).map((name) => [name, text])) }
const schema = {
  tags: ['server'],
  summary: 'The page: add a torrent, watch it, play it',
  response: { 200: Type.Unsafe<string>({ description: 'HTML', headers, content: { 'text/html': { schema: { type: 'string' } } } }), ...errors({}) }
}

/** The page to add and watch torrents, and the files it needs. */
const pages: FastifyPluginAsyncTypebox = async (fastify) => {
  declareRoutes(fastify, 'public')
  fastify.addHook('onRequest', async ({ url }, reply) => {
    reply.headers(safety)
    // Stremio shows it as the addon's.
    if (url === '/assets/icon.svg') reply.header('Cross-Origin-Resource-Policy', 'cross-origin')
  })
  await fastify.register(fastifyStatic, { root: join(import.meta.dirname, '..', 'public'), prefix: '/assets/', cacheControl: false })

  for (const url of ['/', '/test-torrent-streaming']) {
    fastify.get(url, { schema }, async (_request, reply) => await reply.sendFile('index.html'))
  }
  fastify.get('/login', { schema: { ...schema, summary: 'The page to log in' } }, async (_request, reply) => await reply.sendFile('login.html'))
  fastify.get('/configure', { schema: { ...schema, summary: 'The page to install the Stremio addon' } }, async (_request, reply) => await reply.sendFile('configure.html'))
}

export default pages
