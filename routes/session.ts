import { Type } from 'typebox'
import { sessionCookie, sessionOf, setCookie } from '../services/access/sessions.ts'
import { askingOf } from '../plugins/access.ts'
import { answer, errors, listOf, oneOf } from './schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import type { Identity } from '../services/access/gate.ts'

const tags = ['access']

const sessionSchema = Type.Object({
  may: listOf(oneOf(['stream', 'add', 'list', 'manage', 'relay']), { description: 'stream what is known, add more, see what is here, change it, have URLs fetched' }),
  loginNeeded: Type.Boolean({ description: 'the token would allow more' }),
  isLoggedIn: Type.Boolean({ description: 'by the cookie of a login' }),
  isProxyIgnored: Type.Boolean({ description: 'requests come through a proxy that neither BASE_URL nor TRUST_PROXY tells of: links may be wrong' })
})
const cookie = { 'Set-Cookie': { type: 'string', description: 'HttpOnly, SameSite=Strict; Secure behind https' } }

const showSchema = { tags, summary: 'What this client may do', response: { 200: answer(sessionSchema, 'by what it has shown with this request'), ...errors({}) } }
const beginSchema = {
  tags,
  summary: 'Log in, for browsers',
  description: 'Sets a cookie that counts for 30 days, on this server only. Programs send the token with each request instead.',
  body: Type.Object({ token: Type.String({ minLength: 1, maxLength: 1000 }) }, { examples: [{ token: 'the token' }] }),
  response: { 200: answer(sessionSchema, 'logged in', {}, cookie), ...errors({ 400: 'no token', 401: 'it is not the token', 429: 'too many wrong ones', 403: 'a page of somebody else, or by a name that the server does not know' }) }
}
const endSchema = { tags, summary: 'Log out', response: { 200: answer(sessionSchema, 'logged out; what remains is what the client may without', {}, cookie), ...errors({ 403: 'as above' }) } }

/** Logging in and out, and what may be done without. */
const session: FastifyPluginAsyncTypebox = async (fastify) => {
  const { access, config } = fastify
  const { gate, sessions } = access
  const name = sessionCookie(config.PORT)

  fastify.addHook('onRequest', async (_request, reply) => { reply.header('Cache-Control', 'no-store') })

  fastify.get('/api/session', { schema: showSchema, config: { access: 'public' } }, async (request) => ({ success: true, data: present(access.identityOf(request)) }))

  fastify.post('/api/session', { schema: beginSchema, config: { access: 'public' } }, async (request, reply) => {
    gate.logIn(request.body.token, request.ip)
    reply.header('Set-Cookie', setCookie(sessions.begin(), cookieOf(request)))
    return { success: true, data: present({ ...access.identityOf(request), proofs: new Set([...access.identityOf(request).proofs, 'token']), isExplicit: false }) }
  })

  fastify.delete('/api/session', { schema: endSchema, config: { access: 'public' } }, async (request, reply) => {
    const { cookie, ...headers } = request.headers
    const session = sessionOf(cookie, name)
    if (session !== null) sessions.end(session)
    reply.header('Set-Cookie', setCookie(null, cookieOf(request)))
    return { success: true, data: present(gate.identify({ ...askingOf(request), headers })) }
  })

  function present (identity: Identity) {
    const may = gate.allowed(identity).filter((action) => action !== 'public')
    return { may, loginNeeded: may.length < 4, isLoggedIn: identity.proofs.has('token') && !identity.isExplicit, isProxyIgnored: fastify.forwarded.isIgnored }
  }

  function cookieOf ({ protocol, headers }: FastifyRequest) {
    const { BASE_URL } = config
    const base = BASE_URL === null ? null : URL.parse(BASE_URL)
    // Behind a proxy that ends TLS only the browser's own word says that it was there.
    return { name, path: base?.pathname.replace(/(?<=.)\/+$/, '') ?? '/', isSecure: protocol === 'https' || base?.protocol === 'https:' || headers.origin?.startsWith('https:') === true }
  }
}

export default session
