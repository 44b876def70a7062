import { Type } from 'typebox'
import { commonHeaders, errors, listOf, nullable, oneOf, ownInfoHash } from './schemas.ts'

/** What every route that sends a file says of itself. */

export const tags = ['stream']
export const fileIndex = Type.Optional(Type.String({ description: "a whole number: zero-based, in the torrent's own order; default: its largest video", examples: ['0'] }))
export const download = Type.Optional(Type.String({ description: 'true: offer the file for saving', examples: ['true'] }))

/** What the URLs of the addon have. */
export const addonQuery = {
  notice: Type.Optional(Type.String({ description: '1: a start that fails is told by a short video, for TVs', examples: ['1'] })),
  alt: Type.Optional(Type.Array(Type.String(), { description: 'HASH:IDX: what to play where this one does not start; the first 3 count. Never once it has begun' })),
  episode: Type.Optional(Type.String({ description: 'without an index: SEASON:EPISODE, or :EPISODE, of a torrent that is a series', examples: ['1:2'] })),
  fileName: Type.Optional(Type.String({ description: 'without an index: the file of this name, before any episode' }))
}

const text = (description: string) => ({ type: 'string', description })

/** RFC 9110 sections 13 and 14. */
export const rangeHeaders = Type.Object({
  Range: Type.Optional(Type.String({ description: 'bytes=0-1023, several ranges, or from the end: bytes=-1024', examples: ['bytes=0-1023'] })),
  'If-Range': Type.Optional(Type.String({ description: 'an ETag: the range counts only while it holds' })),
  'If-Match': Type.Optional(Type.String()),
  'If-None-Match': Type.Optional(Type.String()),
  'If-Modified-Since': Type.Optional(Type.String()),
  'If-Unmodified-Since': Type.Optional(Type.String())
})

export const corsHeaders = {
  'Access-Control-Allow-Origin': text('*: any page may play it'),
  'Access-Control-Expose-Headers': text('what a page may read'),
  'Timing-Allow-Origin': text('*'),
  ...commonHeaders
}
const validators = {
  ETag: text('strong; of verified bytes the same whichever source serves them'),
  'Last-Modified': text('of verified bytes when the torrent was made'),
  'Cache-Control': text('private, max-age=3600 for verified bytes, else no-cache; no-store for the mock')
}
const sourceHeaders = {
  'X-Stream-Source': text('cache, p2p, http-fallback or mock: the source engaged when the first byte left'),
  'X-Stream-Verified': text('true: every byte is checked against the torrent'),
  'X-Stream-Notice': text('this is not the file, but a short video that says why there is none'),
  'Server-Timing': text('what the start cost in each source, in milliseconds')
}
const embedding = { 'Cross-Origin-Resource-Policy': text('cross-origin'), 'X-Content-Type-Options': text('nosniff') }
const fileHeaders = {
  ...corsHeaders,
  ...validators,
  ...embedding,
  'Accept-Ranges': text('bytes'),
  'Content-Length': { type: 'integer' },
  'Content-Disposition': text('the file name (RFC 8187)'),
  'transferMode.dlna.org': text('for DLNA'),
  'contentFeatures.dlna.org': text('for DLNA')
}
const contentRange = { 'Content-Range': text('which bytes of how many') }

/** An answer whose body is no JSON: with headers, and the types that it may have. */
function bytesOf (description: string, headers: object, types: readonly string[]) {
  return Type.Unsafe<unknown>({ description, headers, content: Object.fromEntries(types.map((type) => [type, { schema: {} }])) })
}

function nothing (description: string, headers: object) {
  return Type.Unsafe<unknown>({ description, headers, type: 'null' })
}

/** The answers of a route that sends a file with ranges; `headers` beside those of every file. */
function fileAnswers (headers: object, types: readonly string[]) {
  return {
    200: bytesOf('the whole file', { ...fileHeaders, ...headers }, types),
    206: bytesOf('the ranges that were asked for; several as multipart/byteranges', { ...fileHeaders, ...headers, ...contentRange }, [...types, 'multipart/byteranges']),
    304: nothing('it is as If-None-Match or If-Modified-Since says', { ...corsHeaders, ...validators, ...embedding, ...headers }),
    412: nothing('it is not as If-Match or If-Unmodified-Since says', { ...corsHeaders, ...embedding, ...headers }),
    416: nothing('no byte of the file is in the range', { ...corsHeaders, ...embedding, ...headers, ...contentRange, 'Accept-Ranges': text('bytes') })
  }
}

const mediaTypes = ['video/mp4', 'video/x-matroska', 'video/webm', 'application/octet-stream', '*/*']

export const streamAnswers = {
  ...fileAnswers(sourceHeaders, mediaTypes),
  ...errors({
    400: 'fileIndex is no whole number',
    404: 'no source can serve it: `reasons` says why, for each that was asked; fixed texts, without requestId'
  }, corsHeaders)
}

export const subtitleAnswers = {
  ...fileAnswers({}, ['text/vtt', 'application/x-subrip', 'text/x-ssa']),
  ...errors({ 404: 'no source can serve it, or it is no subtitle file' }, corsHeaders)
}

export const playlistAnswers = {
  200: bytesOf('M3U, in UTF-8', { ...corsHeaders, 'Content-Disposition': text('the file name (RFC 8187)') }, ['audio/x-mpegurl']),
  ...errors({ 400: 'fileIndex is no whole number', 404: 'nobody has its metadata, or it has no such file' }, corsHeaders)
}

export const preflightAnswers = preflightAnswersWith({})

/** As `preflightAnswers`, with headers beside those. */
export function preflightAnswersWith (headers: object) {
  return {
    204: nothing('go ahead', {
      ...corsHeaders,
      ...headers,
      'Access-Control-Allow-Methods': text('what it may be asked with'),
      'Access-Control-Allow-Headers': text('what a request may have'),
      'Access-Control-Max-Age': text('seconds'),
      'Access-Control-Allow-Private-Network': text('true, where the browser asks')
    }),
    ...errors({})
  }
}

const reason = Type.Object({ code: Type.String(), message: Type.String() })
const range = Type.Object({ start: Type.Integer(), end: Type.Integer({ description: 'inclusive' }) })

const responseRecord = Type.Object({
  id: Type.Integer(),
  fileIndex: nullable(Type.Integer()),
  range,
  startedAt: Type.String(),
  endedAt: nullable(Type.String()),
  outcome: oneOf(['running', 'complete', 'client left', 'cut']),
  deliveredBytes: Type.Integer(),
  changes: Type.Integer({ description: 'how often another source went on' }),
  segments: listOf(Type.Object({ source: Type.String(), fromByte: Type.Integer(), toByte: nullable(Type.Integer()), why: nullable(reason) }), { description: 'which source served which bytes; the latest 50' }),
  stallSeconds: Type.Record(Type.String(), Type.Number(), { description: 'by what was waited for' }),
  waitingSince: nullable(Type.Number({ description: 'milliseconds since 1970' }))
})

const start = Type.Object({
  at: Type.String(),
  source: nullable(Type.String()),
  timings: listOf(Type.Object({ source: Type.String(), durationMs: Type.Number() })),
  refusals: listOf(Type.Object({ source: Type.String(), code: Type.String(), message: Type.String(), isTemporary: Type.Boolean(), retryInMs: Type.Optional(Type.Number()) }))
})

export const streamStatusSchema = Type.Object({
  infoHash: ownInfoHash,
  name: nullable(Type.String()),
  state: oneOf(['starting', 'streaming', 'waiting', 'cached', 'failed', 'idle', 'unknown']),
  reason: Type.String({ description: 'one sentence for people' }),
  retryAfterSeconds: nullable(Type.Integer()),
  cached: Type.Boolean(),
  progress: Type.Number({ minimum: 0, maximum: 1 }),
  downloadSpeed: Type.Integer({ description: 'bytes per second' }),
  peers: Type.Integer(),
  sources: listOf(Type.Object({
    source: Type.String(),
    isHopeful: Type.Boolean(),
    message: Type.String(),
    code: Type.Optional(Type.String()),
    retryInSeconds: nullable(Type.Integer({ description: 'null: it may be asked now' }))
  })),
  responses: listOf(responseRecord, { description: 'those that run; the latest 100' }),
  lastResponse: nullable(responseRecord),
  lastStart: nullable(start)
}, { $id: 'StreamStatus', description: 'why it plays or does not' })

export const statusAnswers = {
  200: Type.Unsafe<unknown>({ description: 'as it is now', headers: corsHeaders, content: { 'application/json': { schema: { $ref: 'StreamStatus#' } } } }),
  ...errors({ 404: 'this is no infohash' }, corsHeaders)
}
