import { Type } from 'typebox'
import { askingOf } from '../plugins/access.ts'
import { answerStreamError, refuse } from '../plugins/errors.ts'
import { pause, race } from '../services/deadline.ts'
import { deadlines } from '../services/deadlines.ts'
import { openForeign } from '../services/download/foreign-file.ts'
import { CodedError } from '../services/errors.ts'
import { Playbacks } from '../services/hls/playbacks.ts'
import { renditionNamed } from '../services/hls/renditions.ts'
import { corsHeaders, preflightHeaders } from '../services/http/cors.ts'
import { Slots } from '../services/slots.ts'
import { isStremioPage } from '../services/stremio-server/origins.ts'
import { relayHeaders } from './relay-headers.ts'
import { errors, listOf, mockHash, nullable, oneOf } from './schemas.ts'
import { sendBody } from './send-body.ts'
import { isYes, signalOfAnswer, wantedOf } from './stream-request.ts'
import { corsHeaders as corsSchema, preflightAnswers } from './stream-schemas.ts'
import { fileIndexAsked } from './stremio-server-files.ts'
import { serverTags as tags } from './stremio-server-schemas.ts'
import { trackersOf } from './stremio-server-torrents.ts'
import { admitted, fetched } from './stremio-server-urls.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { Hls, Open, Part } from '../services/hls/hls.ts'
import type { MediaTrack } from '../services/media/probe.ts'

/** Each answer is held in memory until its client has it: so many times the largest segment at a time, the rest waits. */
const HELD_SEGMENTS = 2
const PIECE_BYTES = 64 * 1024
/** A client that takes no piece for so long has gone. */
const TAKE_MS = 20_000
/** An empty `styp` (ISO/IEC 14496-12 section 8.16.2): a segment may begin with one, and what has begun is waited for. */
const segmentType = Buffer.concat([Buffer.from([0, 0, 0, 24]), Buffer.from('stypmsdh\0\0\0\0msdhmsix', 'latin1')])
const missing = 'This server has no HLS: install ffmpeg (ffmpeg and ffprobe have to be on its PATH), and start it again.'
const playlistType = 'application/vnd.apple.mpegurl'

const mediaUrl = Type.String({ minLength: 1, maxLength: 8000, description: 'the address of a file of this server, or, for its owner and secret paths, of one elsewhere', examples: [`/stream/proxy/${mockHash}`] })
const id = Type.String({ pattern: '^[\\w.-]{1,100}$', description: 'what the player calls this playback', examples: ['one'] })
const codecs = (kind: string) => Type.Optional(Type.Array(Type.String({ maxLength: 40 }), { maxItems: 50, description: `${kind} that need not be transcoded, as FFmpeg calls them; given once for each` }))
const refusals = errors({ 400: 'no http(s) address, or one of this server that is no file', 404: 'no media, nothing of that name, or no ffmpeg on this machine', 502: 'it could not be read, or not be converted', 504: 'its sources brought nothing in time' }, corsSchema)
const binary = (type: string, description: string) => Type.Unsafe<unknown>({ description, headers: corsSchema, content: { [type]: { schema: { type: 'string', format: 'binary' } } } })

const probeSchema = {
  tags,
  summary: 'What a video consists of',
  description: 'By which a player decides whether it plays the file itself, or takes it as HLS.',
  querystring: Type.Object({ mediaURL: mediaUrl }),
  response: {
    200: Type.Unsafe<unknown>({
      description: 'as ffprobe tells it',
      headers: corsSchema,
      content: {
        'application/json': {
          schema: Type.Object({
            format: Type.Object({ name: Type.String(), duration: nullable(Type.Number({ description: 'seconds' })) }),
            streams: listOf(Type.Object({
              id: Type.Integer(),
              index: Type.Integer(),
              track: oneOf(['video', 'audio', 'subtitle']),
              codec: Type.String(),
              language: Type.Optional(Type.String()),
              title: Type.Optional(Type.String()),
              default: Type.Boolean(),
              forced: Type.Boolean(),
              width: Type.Optional(Type.Number()),
              height: Type.Optional(Type.Number()),
              frameRate: Type.Optional(Type.Number()),
              channels: Type.Optional(Type.Number()),
              numberOfChannels: Type.Optional(Type.Number()),
              sampleRate: Type.Optional(Type.Number())
            })),
            samples: Type.Object({})
          })
        }
      }
    }),
    ...refusals
  }
}
const masterSchema = {
  tags,
  summary: 'A video as HLS: the master playlist, or that of a track',
  description: 'Video and sound that the player names are copied, others become H.264 and AAC.',
  params: Type.Object({ id, file: Type.String({ description: 'master.m3u8; others as the master playlist has them', examples: ['master.m3u8'] }) }),
  querystring: Type.Object({
    mediaURL: mediaUrl,
    videoCodecs: codecs('video'),
    audioCodecs: codecs('sound'),
    maxAudioChannels: Type.Optional(Type.Number({ description: 'more are mixed down' })),
    forceTranscoding: Type.Optional(Type.String({ description: '1: nothing is copied' }))
  }),
  response: { 200: binary(playlistType, 'RFC 8216; with relative addresses'), ...refusals }
}
const segmentSchema = {
  tags,
  summary: 'A video as HLS: a part of a track',
  params: Type.Object({ id, rendition: Type.String({ description: 'a track, and what becomes of it; as the master playlist has them', examples: ['video0-h264-640'] }), file: Type.String({ description: 'init.mp4, 0.m4s, 0.vtt', examples: ['init.mp4'] }) }),
  querystring: Type.Object({ mediaURL: mediaUrl }),
  response: { 200: binary('video/mp4', 'fragmented mp4, or WebVTT'), ...refusals }
}
const endSchema = { tags, summary: 'The player ends a playback', params: Type.Object({ id }), response: { 200: Type.Unsafe<unknown>({ description: 'ended, or unknown', headers: corsSchema, content: { 'application/json': { schema: Type.Object({ success: Type.Boolean() }) } } }), ...refusals } }
const statusSchema = { tags, summary: 'What is being converted', response: { 200: Type.Unsafe<unknown>({ description: 'requests that wait for it by playback, and processes', headers: corsSchema, content: { 'application/json': { schema: Type.Object({ processes: Type.Integer(), playbacks: Type.Object({}, { additionalProperties: Type.Integer() }) }) } } }), ...refusals } }
const preflightSchema = { tags, summary: 'Preflight: any page may play it', response: preflightAnswers }

/** Files as HLS, for players that cannot play them as they are. */
const stremioServerHls: FastifyPluginAsyncTypebox = async (fastify) => {
  const playbacks = new Playbacks()
  const heldBytes = new Slots(HELD_SEGMENTS * (fastify.hls?.maxSegmentBytes ?? 0))

  fastify.addHook('onRoute', (route) => { route.config = { ...route.config, pages: isStremioPage } })
  fastify.addHook('onRequest', async (_request, reply) => { reply.headers({ ...corsHeaders, 'Cross-Origin-Resource-Policy': 'cross-origin', 'X-Content-Type-Options': 'nosniff', 'Cache-Control': 'no-store' }) })
  fastify.setErrorHandler<FastifyError>(async (error, request, reply) => {
    if (!(error instanceof CodedError) || error.code === 'SHUTTING_DOWN') return await answerStreamError(error, request, reply)
    if (reply.raw.destroyed) return await reply.code(499).send()
    request.log.warn({ err: error }, 'no HLS of it')
    return refuse(reply.header('Retry-After', '2').type('application/json; charset=utf-8'), /TIMEOUT|STALLED/.test(error.code) ? 504 : 502, { message: error.message, code: error.code })
  })

  fastify.get('/hlsv2/probe', { schema: probeSchema, config: { access: 'public' } }, async (request, reply) => {
    const { hls, open } = await begun(request, reply)
    const media = await hls.media(open, signalOfAnswer(reply))
    if (media === null) throw notFound('This is no media that is let in.')
    return {
      format: { name: media.format, duration: media.durationSeconds },
      streams: media.tracks.filter(({ isPicture }) => !isPicture).map(describe),
      samples: {}
    }
  })

  fastify.get('/hlsv2/status', { schema: statusSchema, config: { access: 'list' } }, async () => ({ processes: present().running, playbacks: playbacks.list() }))

  fastify.get('/hlsv2/:id/destroy', { schema: endSchema, config: { access: 'public' } }, async (request) => {
    present()
    playbacks.end(request.params.id)
    return { success: true }
  })

  fastify.get('/hlsv2/:id/:file', { schema: masterSchema, config: { access: 'public' } }, async (request, reply) => {
    const { params: { id, file }, query } = request
    const [, name] = /^(.{1,50})\.m3u8$/.exec(file) ?? []
    const rendition = renditionNamed(name ?? '')
    if (name !== 'master' && rendition === null) throw notFound(`${JSON.stringify(file)} is not a playlist of it.`)
    const { hls, open, address } = await begun(request, reply)
    const carried = `?mediaURL=${encodeURIComponent(address)}`
    const abilities = {
      videoCodecs: query.videoCodecs ?? ['h264'],
      audioCodecs: query.audioCodecs ?? ['aac'],
      maxAudioChannels: Math.max(1, query.maxAudioChannels ?? 2),
      isForced: isYes(query.forceTranscoding),
      maxWidth: fastify.stremioSettings.values.transcodeMaxWidth
    }
    const text = await playbacks.run(id, signalOfAnswer(reply), async (signal) => rendition === null ? await hls.master(open, abilities, carried, signal) : await hls.playlist(open, rendition, carried, signal))
    if (text === null) throw notFound('This is no media that can be had as HLS, or it has no such track.')
    return await reply.type(playlistType).send(text)
  })

  fastify.get('/hlsv2/:id/:rendition/:file', { schema: segmentSchema, config: { access: 'public' } }, async (request, reply) => {
    const { id, rendition: name, file } = request.params
    const rendition = renditionNamed(name)
    const [, index] = /^(\d{1,6})\.(?:m4s|vtt)$/.exec(file) ?? []
    if (rendition === null || (index === undefined && file !== 'init.mp4')) throw notFound(`${JSON.stringify(`${name}/${file}`)} is not a part of it.`)
    const { hls, open } = await begun(request, reply)
    reply.type(rendition.kind === 'subtitle' ? 'text/vtt; charset=utf-8' : `${rendition.kind}/mp4`)
    if (request.method === 'HEAD') return await reply.send()
    return await playbacks.run(id, signalOfAnswer(reply), async (signal) => {
      const part = index === undefined ? await hls.init(open, rendition, signal) : await hls.segment(open, rendition, Number(index), signal)
      if (part === null) throw notFound('It has no such part.')
      const work = held(part, signal)
      work.catch(() => { /* awaited below, unless the client goes first */ })
      try {
        const canBegin = rendition.kind !== 'subtitle' && index !== undefined
        const made = canBegin ? await race<Held | 'late'>(signal, async () => await work, async (signal) => { await pause(deadlines.mediaHeadersMs, signal); return 'late' }) : await work
        if (made !== 'late') reply.header('Content-Length', made.bytes.length)
        const gone = new AbortController()
        return await sendBody(reply, pieces(made === 'late' ? work : made, gone), AbortSignal.any([signal, gone.signal]))
      } finally {
        work.then(({ give }) => { give() }, () => { /* it holds nothing */ })
      }
    })
  })

  /** Makes it when there is room for it, which is taken until it is given back. */
  async function held ({ expectedBytes, make }: Part, signal: AbortSignal): Promise<Held> {
    const give = await heldBytes.take(expectedBytes, signal)
    try {
      return { bytes: await make(signal), give }
    } catch (error) {
      give()
      throw error
    }
  }

  for (const [path, params] of [['/hlsv2/probe', null], ['/hlsv2/:id/:file', masterSchema.params], ['/hlsv2/:id/:rendition/:file', segmentSchema.params]] as const) {
    fastify.options(path, { schema: { ...preflightSchema, ...params === null ? {} : { params } }, config: { access: 'public' } }, async (request, reply) => await reply.code(204).headers(preflightHeaders(request.headers)).send())
  }

  function present (): Hls {
    if (fastify.hls === null) throw notFound(missing)
    return fastify.hls
  }

  /** What is asked for, if this client may have it, with the shortest address that it has here. */
  async function begun (request: FastifyRequest<{ Querystring: { mediaURL: string } }>, reply: FastifyReply): Promise<{ hls: Hls, open: Open, address: string }> {
    const hls = present()
    const asked = await admitted(request, request.query.mediaURL)
    if (asked instanceof URL) {
      // It has the server fetch something: for pages of others that is not theirs to say.
      fastify.access.gate.guardGet(askingOf(request), fastify.access.identityOf(request))
      return { hls, address: asked.href, open: async (signal) => await fetched(async () => await openForeign(asked, fastify.fetcher, relayHeaders(request), signal)) }
    }
    const fileIndex = await fileIndexAsked(request, reply, asked)
    const wanted = { ...wantedOf(request, { infoHash: asked.infoHash, fileIndex, tr: trackersOf(asked.tr) }), head: { start: 0 } }
    const query = asked.tr.map((tracker) => `tr=${encodeURIComponent(tracker)}`).join('&')
    return {
      hls,
      address: `/stream/proxy/${asked.infoHash.toLowerCase()}?${fileIndex === undefined ? '' : `fileIndex=${fileIndex}&`}${query}`.replace(/[?&]$/, ''),
      open: async (signal) => (await fastify.sources.open(wanted, signal)).file
    }
  }
}

export default stremioServerHls

function notFound (message: string): Error {
  return Object.assign(new Error(message), { statusCode: 404 })
}

function describe ({ index, type, codec, language, title, isDefault, isForced, width, height, frameRate, channels, sampleRate }: MediaTrack): object {
  const known = { language, title, width, height, frameRate, channels, numberOfChannels: channels, sampleRate }
  return { id: index, index, track: type, codec, default: isDefault, forced: isForced, ...Object.fromEntries(Object.entries(known).filter(([, value]) => value !== null)) }
}

interface Held {
  readonly bytes: Buffer
  readonly give: () => void
}

async function * pieces (work: Held | Promise<Held>, gone: AbortController): AsyncGenerator<Uint8Array, void, void> {
  if (work instanceof Promise) yield segmentType
  const { bytes } = await work
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    const timer = setTimeout(() => { gone.abort(new CodedError('SOURCE_TIMEOUT', 'the client takes nothing')) }, TAKE_MS)
    try {
      yield bytes.subarray(at, at + PIECE_BYTES)
    } finally {
      clearTimeout(timer)
    }
  }
}
