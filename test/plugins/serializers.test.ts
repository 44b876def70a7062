import Fastify from 'fastify'
import t from 'tap'
import { sharedSerializers } from '../../plugins/serializers.ts'

t.test('routes of the same schema share a serializer, which is that of their own schemas', async (t) => {
  const bodies = await Promise.all(['a', 'b'].map(async (field) => {
    const app = Fastify({ schemaController: { compilersFactory: { buildSerializer: sharedSerializers() } } })
    t.teardown(async () => { await app.close() })
    app.addSchema({ $id: 'Shared', type: 'object', properties: { [field]: { type: 'string' } } })
    for (const url of ['/one', '/other']) {
      app.get(url, { schema: { response: { 200: { $ref: 'Shared#' } } } }, async () => ({ a: 'A', b: 'B' }))
    }
    app.get('/number', { schema: { response: { 200: { type: 'object', properties: { a: { type: 'integer' } } } } } }, async () => ({ a: 1.5 }))
    return await Promise.all(['/one', '/other', '/number'].map(async (url) => (await app.inject(url)).body))
  }))
  t.same(bodies, [['{"a":"A"}', '{"a":"A"}', '{"a":1}'], ['{"b":"B"}', '{"b":"B"}', '{"a":1}']])
})
