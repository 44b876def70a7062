import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import fp from 'fastify-plugin'
import packageJson from '../package.json' with { type: 'json' }
import { sessionCookie } from '../services/access/sessions.ts'
import { declareRoutes } from './access.ts'
import type { TSchema } from 'typebox'
import type { RouteAccess } from './access.ts'

/** The UI is a script and a style sheet of our own; it needs inline styles, and images that it has in itself. */
const uiPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

const tags = [
  { name: 'stream', description: "A torrent's file over HTTP" },
  { name: 'torrents', description: 'Add, list, delete' },
  { name: 'preload', description: 'Bring parts of a file in before it is played' },
  { name: 'subtitles', description: 'The subtitle files of a torrent' },
  { name: 'stremio', description: 'The addon for Stremio' },
  { name: 'events', description: 'What happens, while it happens' },
  { name: 'access', description: 'Log in, and let others in' },
  { name: 'cache', description: 'What is on the disk' },
  { name: 'stremio server', description: "What Stremio's apps call on port 11470" },
  { name: 'server', description: 'For probes, for people, for programs' }
]

/** What no route says of itself, for it comes before any. */
const anyOther = {
  description: 'Another error, of the same form: an address that is too long (414), a method that the path does not have (405), a request that did not arrive in time (408).',
  content: { 'application/json': { schema: { $ref: 'Error#' } } }
}

/** How a client shows who it is; `{}`: it may have no need to. */
const securitySchemes = (port: number) => ({
  token: { type: 'http', scheme: 'bearer', description: 'API_TOKEN, else the one that was made at the first start' },
  login: { type: 'apiKey', in: 'cookie', name: sessionCookie(port), description: 'what POST /api/session sets, for browsers' },
  signature: { type: 'apiKey', in: 'query', name: 'sig', description: 'a signed link, with `exp` and perhaps `ip` beside it: GET /api/torrents/{infoHash}/link makes one. The other way for clients that can send no header is a secret path, /t/{secret} before each path: POST /api/secret-paths makes one.' }
} as const)
const owners = [{ token: [] }, { login: [] }, {}]
const everybody = [{}, { token: [] }, { login: [] }, { signature: [] }]

/** What the table of who may do what answers for a route (plugins/access.ts), beside the route's own answers. */
function refusals (access: RouteAccess, response: object): object {
  if (access === 'public') return {}
  const other: unknown = new Map(Object.entries(response)).get('500')
  const headers = typeof other === 'object' && other !== null && 'headers' in other ? other.headers : {}
  const refusal = (description: string, more: object = {}) => ({ ...anyOther, description, headers: { ...Object(headers), ...more } })
  return {
    401: refusal('this client may not, without a token', { 'WWW-Authenticate': { type: 'string', description: 'Bearer (RFC 6750)' } }),
    403: refusal('this client may not, or not by this name, or not from a page of somebody else'),
    429: refusal('too much at a time', { 'Retry-After': { type: 'integer', description: 'seconds' } })
  }
}

/** A plugin, so that each part of the server can add what it says of itself: see routes/README.md. */
export default fp<{ readonly schemas: readonly TSchema[] }>(async function openapi (fastify, { schemas }) {
  const { BASE_URL } = fastify.config
  for (const schema of schemas) fastify.addSchema(schema)

  await fastify.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Self-Streme', version: packageJson.version, description: packageJson.description, license: { name: 'MIT', identifier: 'MIT' } },
      tags,
      components: { securitySchemes: securitySchemes(fastify.config.PORT) }
    },
    transform ({ schema, url, route }) {
      const { access = 'manage' } = route.config ?? {}
      const response = { ...schema?.response ?? {} }
      const security = access === 'public' ? [] : access === 'list' || access === 'manage' || access === 'relay' ? owners : everybody
      return { schema: { ...schema, security, response: { ...refusals(access, response), ...response, default: anyOther } }, url }
    },
    // By the names that they were registered under.
    refResolver: { buildLocalReference: ({ $id }, _base, _fragment, i) => typeof $id === 'string' ? $id : `schema-${i}` }
  })

  await fastify.register(async (docs) => {
    declareRoutes(docs, 'public')
    // Without the slash the UI takes its scripts from the root of the host, where behind a path prefix somebody else is.
    docs.addHook('onRequest', async (request, reply) => {
      if (/^\/docs(?:\?|$)/.test(request.url)) return await reply.redirect('docs/')
    })
    await docs.register(swaggerUi, {
      routePrefix: '/docs',
      staticCSP: uiPolicy,
      uiConfig: { deepLinking: true, tryItOutEnabled: true },
      // A relative address counts from the document; the UI's own copy of it is one folder further down than /openapi.json.
      transformSpecification: (document) => ({ ...document, servers: [{ url: BASE_URL ?? '../' }] })
    })
  })
}, { name: 'openapi', dependencies: ['config'] })
