import { Type } from 'typebox'
import { hopsOf } from '../services/download/via.ts'
import { formatBytes } from '../services/format.ts'
import { streamBody } from '../services/http/body.ts'
import { contentTypeOf } from '../services/http/content-type.ts'
import { corsHeaders, preflightHeaders } from '../services/http/cors.ts'
import { planResponse } from '../services/http/plan-response.ts'
import { parseRangeHead } from '../services/http/range.ts'
import { NothingServes } from '../services/source-walk.ts'
import { streamStatus } from '../services/stream-status.ts'
import { parseInfohash } from '../services/torrent/infohash.ts'
import { trackerUrls } from '../services/torrent/urls.ts'
import { answerStreamError } from '../plugins/errors.ts'
import { sendBody } from './send-body.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyError, FastifyReply } from 'fastify'
import type { SourceFile, StreamRequest } from '../services/source.ts'
import type { Walked } from '../services/source-walk.ts'

const path = '/stream/proxy/:infoHash'
const statusPath = '/stream/status/:infoHash'

const MAX_TRACKERS = 20

const schema = {
  params: Type.Object({ infoHash: Type.String({ description: '40 hex digits, or 32 base32 characters' }) }),
  querystring: Type.Object({
    fileIndex: Type.Optional(Type.String({ description: "a whole number: zero-based, in the torrent's own order; default: its largest video" })),
    download: Type.Optional(Type.String({ description: 'true: offer the file for saving' })),
    tr: Type.Optional(Type.Array(Type.String(), { description: 'tracker URLs to add to the search; the first 20 count' }))
  })
}

/** The product: a torrent's file over HTTP, from whichever source delivers it. */
const stream: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.addHook('onRequest', async (_request, reply) => { reply.headers(corsHeaders) })
  fastify.setErrorHandler<FastifyError>(answerStreamError)

  fastify.options(path, async (request, reply) => await reply.code(204).headers(preflightHeaders(request.headers)).send())

  fastify.get(statusPath, { schema: { params: schema.params } }, async (request, reply) => {
    const infohash = infohashOf(request.params.infoHash)
    reply.header('Cache-Control', 'no-store')
    return await streamStatus(infohash, fastify)
  })

  fastify.route({
    method: ['GET', 'HEAD'],
    url: path,
    schema,
    exposeHeadRoute: false,
    async handler (request, reply) {
      const method = request.method === 'HEAD' ? 'HEAD' : 'GET'
      const signal = AbortSignal.any([signalOfReply(reply), fastify.sources.closing])
      const wanted: StreamRequest = {
        infohash: infohashOf(request.params.infoHash),
        fileIndex: fileIndexOf(request.query.fileIndex ?? ''),
        trackers: trackerUrls(request.query.tr ?? [], MAX_TRACKERS),
        hops: hopsOf(request.headers.via),
        head: method === 'HEAD' ? null : parseRangeHead(request.headers.range)
      }
      const fields = { infohash: wanted.infohash }
      request.log.debug(fields, `[Hybrid] Getting stream for ${wanted.infohash}`)
      const walked = await fastify.sources.open(wanted, signal)
      const { file } = walked
      const plan = planResponse({
        method,
        headers: request.headers,
        representation: {
          lengthBytes: file.lengthBytes,
          etag: file.etag,
          lastModified: file.lastModified,
          contentType: contentTypeOf(file.name),
          fileName: file.name,
          isDownload: /^(?:true|1|yes)$/i.test(request.query.download ?? ''),
          cacheControl: cacheControlOf(file)
        }
      })
      reply.code(plan.status).headers({ ...plan.headers, ...sourceHeaders(walked) })
      if (plan.body === null) return await reply.send()
      // A player asks for dozens of ranges; the one from the beginning tells people that somebody watches.
      const level = plan.body.parts[0]?.range.start === 0 ? 'info' : 'debug'
      request.log[level](fields, `[API] Stream method: ${methodName(file)} for ${wanted.infohash.slice(0, 6)}...`)
      request.log[level](fields, `[API] Streaming ${file.name} (${formatBytes(file.lengthBytes)}) via ${methodName(file)}`)
      return await sendBody(reply, streamBody(plan.body, (range) => file.read(range, signal)), signal, () => {
        // The one that was opened may have died before its first byte.
        reply.header('X-Stream-Source', walked.engaged())
      })
    }
  })
}

export default stream

/** Throws the refusal of a malformed infohash, before any source is asked. */
function infohashOf (text: string): string {
  const infohash = parseInfohash(text)
  if (infohash !== null) return infohash
  const message = `${JSON.stringify(text.slice(0, 80))} is not an infohash: 40 hex digits or 32 base32 characters`
  throw new NothingServes([{ source: 'request', code: 'INFOHASH_INVALID', message, isTemporary: false }])
}

/** Empty: the default file. Throws FILE_INDEX for a number that no torrent has, a 400 for what is no whole number. */
function fileIndexOf (text: string): number | null {
  if (text === '') return null
  if (!/^-?\d{1,15}$/.test(text)) {
    throw Object.assign(new Error(`fileIndex must be a whole number from 0 on, got ${JSON.stringify(text.slice(0, 80))}`), { statusCode: 400 })
  }
  const fileIndex = Number(text)
  if (fileIndex >= 0) return fileIndex
  throw new NothingServes([{ source: 'request', code: 'FILE_INDEX', message: `fileIndex ${fileIndex} is out of range: files are counted from 0`, isTemporary: false }])
}

/** Aborts when the response is over or the client has gone, whichever is first. */
function signalOfReply (reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  reply.raw.once('close', () => { controller.abort() })
  return controller.signal
}

function cacheControlOf ({ source, isVerified }: SourceFile): string {
  if (source === 'mock') return 'no-store'
  return isVerified ? 'private, max-age=3600' : 'no-cache'
}

function sourceHeaders ({ file, timings }: Walked): Record<string, string> {
  return {
    'X-Stream-Source': file.source,
    'X-Stream-Verified': String(file.isVerified),
    'Server-Timing': timings.map(({ source, durationMs }) => `${source};dur=${durationMs.toFixed(1)}`).join(', ')
  }
}

/** The word that the log has always had for it. */
function methodName ({ source }: SourceFile): string {
  return source === 'http-fallback' ? 'http' : source
}
