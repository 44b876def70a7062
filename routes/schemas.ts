import { Type } from 'typebox'
import { reasonCodes } from '../services/errors.ts'
import type { Static, TSchema } from 'typebox'
import type { ErrorBody } from '../plugins/errors.ts'

/**
 * What several routes say of their requests and answers. Answers are serialised by their schemas: a field that is not
 * listed does not come out (test/routes/openapi.test.ts compares).
 */

export const commonHeaders = {
  'X-Request-Id': { type: 'string', description: "as in the server's log" },
  'Cache-Control': { type: 'string', description: 'no-store' },
  'X-Content-Type-Options': { type: 'string', description: 'nosniff' },
  'Referrer-Policy': { type: 'string', description: 'no-referrer: addresses may hold secrets' },
  'Content-Security-Policy': { type: 'string', description: 'what a browser may do with it' },
  'Cross-Origin-Resource-Policy': { type: 'string', description: 'which pages may load it' }
}
const loginHeaders = { ...commonHeaders, 'WWW-Authenticate': { type: 'string', description: 'Bearer (RFC 6750)' } }
const retryHeaders = { ...commonHeaders, 'Retry-After': { type: 'integer', description: 'seconds; where asking again may help' } }

/** A known test hash: it plays with no network at all, so every example can be tried. */
export const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'

export const infoHash = Type.String({ description: '40 hex digits, or 32 base32 characters, in either case', examples: [mockHash] })
export const infoHashParams = Type.Object({ infoHash })

/** As clients get it: lower-case hex. */
export const ownInfoHash = Type.String({ pattern: '^[0-9a-f]{40}$', examples: [mockHash] })

/** Where a list of up to `most` entries begins, and how far it goes. */
export function pageOf ({ limit, most }: { readonly limit: number, readonly most: number }) {
  return {
    offset: Type.Integer({ minimum: 0, maximum: 1_000_000_000, default: 0, description: 'how many entries to leave out' }),
    limit: Type.Integer({ minimum: 1, maximum: most, default: limit, description: 'how many entries to answer with at most' })
  }
}

/** What a list says of itself beside its entries. */
export const pageFacts = {
  total: Type.Integer({ description: 'how many there are' }),
  offset: Type.Integer(),
  limit: Type.Integer()
}

export function nullable<T extends TSchema> (schema: T) {
  const type = 'type' in schema ? schema.type : undefined
  return Type.Unsafe<Static<T> | null>({ ...schema, ...'enum' in schema && Array.isArray(schema.enum) ? { enum: [...schema.enum, null] } : {}, type: [type, 'null'] })
}

export function oneOf<const T extends string> (values: readonly T[], options: object = {}) {
  return Type.Unsafe<T>({ type: 'string', enum: values, ...options })
}

export function listOf<T extends TSchema> (items: T, options: object = {}) {
  return Type.Unsafe<ReadonlyArray<Static<T>>>({ type: 'array', items, ...options })
}

/** A schema that is registered under its `$id`, by its name. */
export function reference<T extends TSchema> (schema: T) {
  return Type.Unsafe<Static<T>>({ $ref: `${'$id' in schema ? String(schema.$id) : ''}#` })
}

/** `{ success: true, data }`, and what else belongs to it. */
export function answer<T extends TSchema, F extends Record<string, TSchema> = Record<never, never>> (data: T, description: string, facts?: F, headers: object = {}) {
  return Type.Object({ success: Type.Unsafe<boolean>({ type: 'boolean', const: true }), data, ...facts as F }, { description, headers: { ...commonHeaders, ...headers } })
}

const refusal = Type.Object({
  source: Type.String(),
  code: Type.String(),
  message: Type.String(),
  isTemporary: Type.Boolean(),
  retryInMs: Type.Optional(Type.Number())
})

export const errorSchema = Type.Object({
  error: Type.String({ description: 'what is wrong, in two or three words' }),
  message: Type.Optional(Type.String({ description: 'what is wrong, and what to do about it' })),
  code: Type.Optional(oneOf(Object.keys(reasonCodes), { description: 'for programs; never renamed' })),
  suggestion: Type.Optional(Type.String()),
  reasons: Type.Optional(listOf(refusal, { description: 'why each source that was asked did not serve it' })),
  mode: Type.Optional(Type.String()),
  infoHash: Type.Optional(Type.String({ description: 'as it was given' })),
  details: Type.Optional(listOf(Type.Object({
    in: Type.String({ description: 'body, query or params' }),
    field: Type.String(),
    got: Type.String(),
    allowed: Type.String()
  }), { description: 'which fields are wrong' })),
  requestId: Type.Optional(Type.String({ description: "as in X-Request-Id and in the server's log" }))
}, { $id: 'Error', description: 'every error has this form' })

/** The errors of a route, by status: what each means there. 500 and 503 belong to every route. */
export function errors<S extends number> (meanings: Record<S, string>, headers: object = {}) {
  const all: Record<number, string> = { ...meanings, 500: 'the server failed', 503: 'the server is overloaded or stops' }
  const entry = ([status, description]: [string, string]) => [status, Type.Unsafe<ErrorBody>({
    description, headers: { ...headers, ...status === '503' || status === '404' || status === '429' ? retryHeaders : status === '401' ? loginHeaders : commonHeaders }, content: { 'application/json': { schema: { $ref: 'Error#' } } }
  })]
  // Object.fromEntries forgets the keys' type.
  return Object.fromEntries(Object.entries(all).map(entry)) as Record<S | 500 | 503, ReturnType<typeof Type.Unsafe<ErrorBody>>>
}

/** Of routes that look for a torrent. */
export const trackersQuery = Type.Optional(Type.Array(Type.String(), { description: 'tracker URLs to add to the search; the first 20 count' }))
