import fp from 'fastify-plugin'
import type { TSchema } from 'typebox'

/** Registers the schemas that routes refer to by their `$id`. */
export default fp<{ readonly schemas: readonly TSchema[] }>(async function schemas (fastify, { schemas }) {
  for (const schema of schemas) fastify.addSchema(schema)
}, { name: 'schemas' })
