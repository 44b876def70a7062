import { Type } from 'typebox'
import { abortable } from '../services/deadline.ts'
import { deadlines } from '../services/deadlines.ts'
import { openForeign } from '../services/download/foreign-file.ts'
import { getBytes } from '../services/download/torrent-get.ts'
import { CodedError } from '../services/errors.ts'
import { readRange } from '../services/read-range.ts'
import { Slots } from '../services/slots.ts'
import { cuesOf, shifted } from '../services/stremio-server/cues.ts'
import { ownFileOf } from '../services/stremio-server/own-file.ts'
import { videoHash } from '../services/stremio-server/video-hash.ts'
import { decodeText } from '../services/subtitles/encoding.ts'
import { MAX_SUBTITLE_BYTES } from '../services/subtitles/subtitles.ts'
import { toWebVtt } from '../services/subtitles/webvtt.ts'
import { baseUrlOf } from './base-url.ts'
import { relayHeaders } from './relay-headers.ts'
import { errors, listOf, mockHash, oneOf } from './schemas.ts'
import { infohashOf, signalOfAnswer, wantedOf, whereOf } from './stream-request.ts'
import { fileIndexAsked } from './stremio-server-files.ts'
import { allowPreflight, letStremioIn } from './stremio-server-pages.ts'
import { json, pageHeaders, serverTags as tags } from './stremio-server-schemas.ts'
import { trackersOf } from './stremio-server-torrents.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { SourceFile } from '../services/source.ts'
import type { OwnFile } from '../services/stremio-server/own-file.ts'
import type { VideoHash } from '../services/stremio-server/video-hash.ts'

/** So much is fetched for clients at a time; the rest waits. */
const FETCHES_AT_A_TIME = 4

const refusals = errors({ 400: 'no http(s) address, or one of this server that is no file', 404: 'nothing is to be had there' }, pageHeaders)
const hashSchema = {
  tags,
  summary: "OpenSubtitles' hash of a video; of one elsewhere for the owner and secret paths",
  description: 'Of a file of this server, or, for its owner and secret paths, of one elsewhere.',
  querystring: Type.Object({ videoUrl: Type.String({ maxLength: 8000, examples: [`/stream/proxy/${mockHash}`] }) }),
  response: { 200: json('size and hash', Type.Object({ error: Type.Null(), result: Type.Object({ size: Type.Integer(), hash: Type.String() }) })), ...refusals }
}
const vttSchema = {
  tags,
  summary: 'Subtitles as WebVTT; from elsewhere for the owner and secret paths',
  description: 'Of a subtitle file of this server, or, for its owner and secret paths, of one elsewhere.',
  querystring: Type.Object({
    from: Type.String({ maxLength: 8000 }),
    offset: Type.Optional(Type.Integer({ minimum: -86_400_000, maximum: 86_400_000, description: 'milliseconds that they come later' }))
  }),
  response: { 200: Type.Unsafe<unknown>({ description: 'in UTF-8', headers: pageHeaders, content: { 'text/vtt': { schema: {} } } }), ...refusals }
}
const tracksSchema = {
  tags,
  summary: 'Subtitles as a list; from elsewhere for the owner and secret paths',
  querystring: Type.Object({ subsUrl: Type.String({ maxLength: 8000 }) }),
  response: {
    200: json('milliseconds', Type.Object({ error: Type.Null(), result: Type.Object({ tracks: listOf(Type.Object({ number: Type.Integer(), startTime: Type.Integer(), endTime: Type.Integer(), text: Type.String() })) }) })),
    ...refusals
  }
}

const mediaSchema = {
  tags,
  summary: 'The tracks of a video',
  description: 'Of a file of this server, where ffprobe is on this machine; elsewhere, and of what is no media, none.',
  params: Type.Object({ url: Type.String({ description: 'its address, percent-encoded', examples: [`/stream/proxy/${mockHash}`] }) }),
  response: {
    200: json('in the order of the file', { type: 'array', items: Type.Object({ '@type': oneOf(['Video', 'Audio', 'Text']), ID: Type.Integer(), Format: Type.String(), Language: Type.Optional(Type.String()), Title: Type.Optional(Type.String()), Default: Type.String(), Forced: Type.String() }) }),
    ...refusals
  }
}
/** As MediaInfo calls them, whose words old apps read. */
const mediaTypes = { video: 'Video', audio: 'Audio', subtitle: 'Text' } as const

/** What Stremio clients want to know of a URL. Addresses of this server are read as streams are, never fetched. */
const stremioServerUrls: FastifyPluginAsyncTypebox = async (fastify) => {
  const slots = new Slots(FETCHES_AT_A_TIME)
  letStremioIn(fastify)

  fastify.get('/opensubHash', { schema: hashSchema, config: { access: 'public', isChanging: true } }, async (request, reply) => {
    const asked = await admitted(request, request.query.videoUrl)
    const signal = limited(reply)
    const result = asked instanceof URL
      ? await fetched(async () => await slots.run(async () => await hashOf(await openForeign(asked, fastify.fetcher, relayHeaders(request), signal), signal), signal))
      : await hashOf(await ownFile(request, reply, asked, signal), signal)
    return { error: null, result }
  })

  fastify.get('/subtitles.vtt', { schema: vttSchema, config: { access: 'public', isChanging: true } }, async (request, reply) => {
    const { from, offset = 0 } = request.query
    const text = await webVttOf(request, reply, from)
    return await reply.type('text/vtt; charset=utf-8').send(offset === 0 ? text : shifted(text, offset))
  })

  fastify.get('/subtitlesTracks', { schema: tracksSchema, config: { access: 'public', isChanging: true } }, async (request, reply) => {
    return { error: null, result: { tracks: cuesOf(await webVttOf(request, reply, request.query.subsUrl)) } }
  })

  fastify.get('/tracks/:url', { schema: mediaSchema, config: { access: 'public', isChanging: true } }, async (request, reply) => {
    const asked = await admitted(request, request.params.url)
    if (asked instanceof URL || fastify.mediaProbe === null) return []
    const signal = limited(reply)
    const tracks = await fastify.mediaProbe.tracks(await ownFile(request, reply, asked, signal), signal).catch((error: unknown) => {
      if (error instanceof CodedError) return []
      throw error
    })
    return tracks.map(({ index, type, codec, language, title, isDefault, isForced }) => ({
      '@type': mediaTypes[type],
      ID: index,
      Format: codec,
      ...language === null ? {} : { Language: language },
      ...title === null ? {} : { Title: title },
      Default: isDefault ? 'Yes' : 'No',
      Forced: isForced ? 'Yes' : 'No'
    }))
  })

  allowPreflight(fastify, '/tracks/:url', { params: mediaSchema.params })
  for (const path of ['/opensubHash', '/subtitles.vtt', '/subtitlesTracks']) allowPreflight(fastify, path)

  async function webVttOf (request: FastifyRequest, reply: FastifyReply, address: string): Promise<string> {
    const asked = await admitted(request, address)
    const signal = limited(reply)
    if (!(asked instanceof URL)) {
      const index = await fileIndexAsked(request, reply, asked)
      const { bytes } = await fastify.subtitles.readAsWebVtt(whereOf(request, { infoHash: asked.infoHash, tr: trackersOf(asked.tr) }), Number(index ?? 0), signal)
      return bytes.toString()
    }
    return await fetched(async () => await slots.run(async () => {
      const bytes = await getBytes(asked, MAX_SUBTITLE_BYTES, { fetcher: fastify.fetcher, isTrusted: false, headers: relayHeaders(request), signal, timeoutMs: deadlines.subtitleMs })
      return await toWebVtt(decodeText(bytes).text, signal)
    }, signal))
  }
}

export default stremioServerUrls

/** The file of this server, or the URL elsewhere, that this client may have read. Throws what keeps it from that. */
export async function admitted (request: FastifyRequest, address: string): Promise<OwnFile | URL> {
  const found = ownFileOf(address, basesOf(request))
  if (found === 'none' || found === 'own') throw Object.assign(new Error('This is neither a file of this server nor an http(s) address elsewhere.'), { statusCode: 400 })
  if ('foreign' in found) {
    request.server.access.require(request, 'relay')
    return found.foreign
  }
  await request.server.access.admit(request, 'stream', infohashOf(found.infoHash))
  return found
}

/** The addresses that this server is reached at, as far as the request and the configuration tell. */
export function basesOf (request: FastifyRequest): [string, ...string[]] {
  const port = request.socket.localPort ?? 80
  return [baseUrlOf(request), `http://${request.host}`, `https://${request.host}`, ...['127.0.0.1', 'localhost', '[::1]'].map((host) => `http://${host}:${port}`)]
}

/** Why exactly it fails would tell what answers where, behind this server. */
export async function fetched<T> (work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof CodedError) throw Object.assign(new Error('Nothing is to be had at this URL.', { cause: error }), { statusCode: 404 })
    throw error
  }
}

function limited (reply: FastifyReply): AbortSignal {
  const late = new AbortController()
  const timer = setTimeout(() => { late.abort(new CodedError('HTTP_TIMEOUT', `this took longer than ${deadlines.subtitleMs / 1000} s`)) }, deadlines.subtitleMs)
  reply.raw.once('close', () => { clearTimeout(timer) })
  return AbortSignal.any([signalOfAnswer(reply), late.signal])
}

async function ownFile (request: FastifyRequest, reply: FastifyReply, asked: OwnFile, signal: AbortSignal): Promise<SourceFile> {
  const fileIndex = await fileIndexAsked(request, reply, asked)
  const { file } = await request.server.sources.open({ ...wantedOf(request, { infoHash: asked.infoHash, fileIndex, tr: trackersOf(asked.tr) }), head: { start: 0 } }, signal)
  return file
}

/** OpenSubtitles' hash of the file. It is over when the signal aborts. */
async function hashOf (file: SourceFile, signal: AbortSignal): Promise<VideoHash> {
  return await abortable(videoHash(file.lengthBytes, async (start, end) => await readRange(file, { start, end }, signal)), signal)
}
