import selectSerializer from '@fastify/fast-json-stringify-compiler'

type Serialize = selectSerializer.Serializer

/** By all schemas that may be referred to, then by the schema of the response. */
const compiled = new Map<string, Map<string, Serialize>>()

/**
 * What Fastify makes the serializers of responses with: its own compiler, which runs once for the same schema. All routes
 * share the schemas of their errors, and each run takes milliseconds of the start.
 *
 * @returns for `schemaController.compilersFactory.buildSerializer`.
 */
export function sharedSerializers (): selectSerializer.SerializerFactory {
  const build = selectSerializer()
  return (externalSchemas, options) => {
    const compile = build(externalSchemas, options)
    const context = JSON.stringify(externalSchemas)
    const known = compiled.get(context) ?? new Map<string, Serialize>()
    compiled.set(context, known)
    return (route) => {
      const key = JSON.stringify(route.schema)
      const serialize = known.get(key) ?? compile(route)
      known.set(key, serialize)
      return serialize
    }
  }
}
