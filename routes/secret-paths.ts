import { Type } from 'typebox'
import { refuse } from '../plugins/errors.ts'
import { baseUrlOf } from './base-url.ts'
import { answer, errors, listOf } from './schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const tags = ['access']

const path = {
  id: Type.String({ description: 'to revoke it by' }),
  name: Type.String({ description: 'who has it' }),
  createdAt: Type.String({ description: 'ISO 8601' })
}
const listSchema = { tags, summary: 'The secret paths that were given out', response: { 200: answer(listOf(Type.Object(path)), 'without their secrets, which nobody has but those they were given to'), ...errors({}) } }
const createSchema = {
  tags,
  summary: 'Give out a secret path',
  description: 'For clients that can send no header: every path of this server is also there below it, and who knows it may stream and add.',
  body: Type.Object({ name: Type.String({ minLength: 1, maxLength: 200, description: 'for the list: who has it' }) }, { examples: [{ name: 'the TV' }] }),
  response: { 201: answer(Type.Object({ ...path, url: Type.String({ description: 'told this once only' }) }), 'made'), ...errors({ 400: 'no name', 409: 'there are too many' }) }
}
const revokeSchema = {
  tags,
  summary: 'Revoke a secret path',
  params: Type.Object({ id: Type.String({ maxLength: 100, examples: ['00000000-0000-4000-8000-000000000000'] }) }),
  response: { 200: answer(Type.Object({ id: path.id }), 'it counts no more'), ...errors({ 404: 'there is none with this id' }) }
}

/** Ways in for clients that can send no header. */
const secretPathRoutes: FastifyPluginAsyncTypebox = async (fastify) => {
  const { secretPaths } = fastify.access

  fastify.addHook('onRequest', async (_request, reply) => { reply.header('Cache-Control', 'no-store') })

  fastify.get('/api/secret-paths', { schema: listSchema, config: { access: 'manage' } }, async () => ({ success: true, data: secretPaths.list() }))

  fastify.post('/api/secret-paths', { schema: createSchema, config: { access: 'manage' } }, async (request, reply) => {
    const made = await secretPaths.create(request.body.name)
    if (made === null) return refuse(reply, 409, { error: 'Too many', message: 'There are too many secret paths: revoke some that nobody uses.' })
    reply.code(201)
    return { success: true, data: { ...made.path, url: `${baseUrlOf(request).replace(/\/+$/, '')}/t/${made.secret}/` } }
  })

  fastify.delete('/api/secret-paths/:id', { schema: revokeSchema, config: { access: 'manage' } }, async (request, reply) => {
    const { id } = request.params
    if (!await secretPaths.revoke(id)) return refuse(reply, 404, { error: 'Secret path not found', message: 'It was revoked before, or never existed.' })
    return { success: true, data: { id } }
  })
}

export default secretPathRoutes
