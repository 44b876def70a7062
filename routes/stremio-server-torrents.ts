import { Type } from 'typebox'
import { getBytes } from '../services/download/torrent-get.ts'
import { deadlines } from '../services/deadlines.ts'
import { CodedError } from '../services/errors.ts'
import { guessFile } from '../services/stremio-server/choose-file.ts'
import { knownStatistics, progressOf } from '../services/stremio-server/known-statistics.ts'
import { statisticsOf } from '../services/stremio-server/statistics.ts'
import { describe } from '../services/torrent/description.ts'
import { selectFile } from '../services/torrent/file-selection.ts'
import { parseMagnet } from '../services/torrent/magnet.ts'
import { maxTorrentBytes, parseMetadata } from '../services/torrent/metadata.ts'
import { refuse } from '../plugins/errors.ts'
import { errors } from './schemas.ts'
import { relayHeaders } from './relay-headers.ts'
import { infohashOf, signalOfReply, whereOf } from './stream-request.ts'
import { allowPreflight, letStremioIn } from './stremio-server-pages.ts'
import { createExample, fileParams, json, pageHeaders, serverTags as tags, torrentParams, torrentPath } from './stremio-server-schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Metadata } from '../services/torrent/metadata.ts'
import type { Guess } from '../services/stremio-server/choose-file.ts'
import type { Statistics } from '../services/stremio-server/statistics.ts'

/** Hex takes two bytes for each of the `.torrent`. */
const BODY_BYTES = 3 * 1024 * 1024

const statistics = json('as it is now', { $ref: 'Statistics#' })
const statisticsOrNull = json('as it is now; null: it neither runs nor is cached', { anyOf: [{ $ref: 'Statistics#' }, { type: 'null' }] })
const any = { description: 'as Stremio clients send it' }

const create = {
  tags,
  summary: 'Begin with a torrent',
  description: 'Looks for its metadata, and answers when that is there.',
  params: torrentParams,
  response: { 200: statistics, ...errors({ 400: 'no JSON', 404: 'nobody has its metadata', 413: 'a body of more than 1 MiB', 415: 'no JSON' }, pageHeaders) }
}
const createWith = {
  ...create,
  description: 'As GET, with trackers (peerSearch.sources), and a guess at which file is meant (guessFileIdx: season and episode; fileMustInclude).',
  body: { content: { 'application/json': { schema: Type.Object({ torrent: Type.Optional(Type.Any(any)), peerSearch: Type.Optional(Type.Any(any)), guessFileIdx: Type.Optional(Type.Any(any)), fileMustInclude: Type.Optional(Type.Any(any)) }, { examples: [createExample] }) } } }
}
const createFrom = {
  tags,
  summary: 'Begin with a `.torrent`',
  description: 'Its bytes as hex digits, or where it is: an http(s) URL or a magnet link. Never a file of this machine.',
  body: { content: { 'application/json': { schema: Type.Object({ blob: Type.Optional(Type.String({ description: 'hex digits' })), from: Type.Optional(Type.String({ maxLength: 100_000 })), guessFileIdx: Type.Optional(Type.Any(any)), fileMustInclude: Type.Optional(Type.Any(any)) }) } } },
  response: { 200: statistics, ...errors({ 400: 'neither, or no `.torrent`', 403: 'CACHE_READ_ONLY=true', 404: 'nobody has its metadata', 413: 'a body of more than 3 MiB', 415: 'no JSON' }, pageHeaders) }
}
const torrentStats = { tags, summary: 'Statistics of a torrent', description: 'Starts nothing.', params: torrentParams, response: { 200: statisticsOrNull, ...errors({}, pageHeaders) } }
const fileStats = { ...torrentStats, summary: 'Statistics of a torrent and one of its files', params: fileParams }
const empty = json('done', Type.Object({}))
const remove = { tags, summary: 'Stop a torrent', description: 'What is stored of it stays, and it starts again when it is asked for.', params: torrentParams, response: { 200: empty, ...errors({}, pageHeaders) } }
const removeAll = { tags, summary: 'Stop all torrents', response: { 200: empty, ...errors({}, pageHeaders) } }

/** Torrents as a Stremio client begins, watches and stops them. */
const stremioServerTorrents: FastifyPluginAsyncTypebox = async (fastify) => {
  const { torrents } = fastify
  letStremioIn(fastify)

  fastify.get(`${torrentPath}/create`, { schema: create, config: { access: 'stream' } }, async (request, reply) => await begin(request, reply, request.params.infoHash, [], {}))
  fastify.post(`${torrentPath}/create`, { schema: createWith, config: { access: 'stream' } }, async (request, reply) => {
    const { peerSearch, ...body } = fieldsOf(request.body)
    return await begin(request, reply, request.params.infoHash, textsOf(fieldsOf(peerSearch)['sources']), body)
  })

  fastify.post('/create', { schema: createFrom, bodyLimit: BODY_BYTES, config: { access: 'add', tooLarge: 'A body may have 3 MiB here.' } }, async (request, reply) => {
    const body = fieldsOf(request.body)
    const { blob, from } = body
    if (typeof from === 'string' && /^magnet:/i.test(from)) {
      const { infohash, trackers } = parseMagnet(from)
      await fastify.access.admit(request, 'stream', infohash)
      return await begin(request, reply, infohash, trackers, body)
    }
    if (fastify.config.CACHE_READ_ONLY) return refuse(reply, 403, { error: 'Read only', message: 'CACHE_READ_ONLY=true: nothing is added.' })
    const bytes = typeof blob === 'string' && blob !== '' ? bytesOfHex(blob) : await fetched(request, reply, from)
    if (bytes === null) return refuse(reply, 400, { message: 'Give blob, the hex digits of a .torrent, or from, its http(s) URL.' })
    const metadata = parseMetadata(bytes)
    await fastify.access.admit(request, 'add', metadata.infohash)
    await torrents.keep(metadata)
    return await answerWith(metadata.infohash, metadata, body, null)
  })

  fastify.get(`${torrentPath}/stats.json`, { schema: torrentStats, config: { access: 'status' } }, async (request, reply) => {
    return await sendOrNull(reply, await knownStatistics(infohashOf(request.params.infoHash), null, fastify))
  })
  fastify.get(`${torrentPath}/:idx/stats.json`, { schema: fileStats, config: { access: 'status' } }, async (request, reply) => {
    return await sendOrNull(reply, await knownStatistics(infohashOf(request.params.infoHash), request.params.idx, fastify))
  })

  fastify.get(`${torrentPath}/remove`, { schema: remove, config: { access: 'manage', isChanging: 'removing' } }, async (request) => {
    await stop(infohashOf(request.params.infoHash))
    return {}
  })
  fastify.get('/removeAll', { schema: removeAll, config: { access: 'manage', isChanging: 'removing' } }, async () => {
    await Promise.all(torrents.list().map(async ({ infohash }) => { await stop(infohash) }))
    return {}
  })

  for (const path of ['/create', '/removeAll']) allowPreflight(fastify, path)
  for (const path of ['create', 'stats.json', 'remove']) allowPreflight(fastify, `${torrentPath}/${path}`, { params: torrentParams })
  allowPreflight(fastify, `${torrentPath}/:idx/stats.json`, { params: fileParams })

  async function begin (request: FastifyRequest, reply: FastifyReply, infoHash: string, sources: readonly string[], body: Fields): Promise<Statistics> {
    const where = whereOf(request, { infoHash, tr: trackersOf(sources) })
    const { metadata, file } = await describe(where, fastify, signalOfReply(reply))
    return await answerWith(where.infohash, metadata, body, file === null ? null : { name: file.name, length: file.lengthBytes, progress: 1 })
  }

  async function answerWith (infohash: string, metadata: Metadata | null, body: Fields, unnamed: { name: string, length: number, progress: number } | null): Promise<Statistics & { guessedFileIdx?: number }> {
    const guess = guessOf(body)
    const guessed = guess === null || metadata === null ? null : guessFile(metadata, guess)
    const status = await fastify.torrentList.status(infohash)
    const file = metadata === null ? unnamed : await progressOf(infohash, guessed ?? selectFile(metadata, null), fastify)
    return { ...statisticsOf({ infohash, status, metadata, torrent: torrents.get(infohash), file }), ...guess === null ? {} : { guessedFileIdx: guessed?.index ?? -1 } }
  }

  async function stop (infohash: string): Promise<void> {
    fastify.preloads.cancel(infohash)
    await torrents.remove(infohash, { deleteFiles: false })
  }

  /** The `.torrent` at a URL that the client gives; null: it gives none. Only for those who may have URLs fetched. */
  async function fetched (request: FastifyRequest, reply: FastifyReply, from: unknown): Promise<Buffer | null> {
    const url = typeof from === 'string' ? URL.parse(from) : null
    if (url === null || !/^https?:$/.test(url.protocol)) return null
    fastify.access.require(request, 'relay')
    try {
      return await getBytes(url, maxTorrentBytes, { fetcher: fastify.fetcher, isTrusted: false, headers: relayHeaders(request), signal: signalOfReply(reply), timeoutMs: deadlines.headersMs })
    } catch (error) {
      if (!(error instanceof CodedError)) throw error
      // Why exactly would tell strangers what answers where.
      throw Object.assign(new Error('This URL gives no .torrent.', { cause: error }), { statusCode: 400 })
    }
  }
}

export default stremioServerTorrents

type Fields = Readonly<Record<string, unknown>>

/** Fastify takes a null for no body at all. */
async function sendOrNull (reply: FastifyReply, statistics: Statistics | null): Promise<unknown> {
  return statistics ?? await reply.type('application/json; charset=utf-8').send('null')
}

/** Trackers as Stremio writes sources: `tracker:udp://…`; `dht:…` is no place to ask. */
export function trackersOf (sources: readonly string[]): string[] {
  return sources.filter((source) => !source.startsWith('dht:')).map((source) => source.replace(/^tracker:/, ''))
}

function guessOf ({ guessFileIdx, fileMustInclude }: Fields): Guess | null {
  const mustInclude = textsOf(fileMustInclude)
  if (typeof guessFileIdx !== 'object' || guessFileIdx === null) return mustInclude.length > 0 ? { mustInclude } : null
  const { season, episode } = fieldsOf(guessFileIdx)
  return { season: numberOf(season), episode: numberOf(episode), mustInclude }
}

function numberOf (value: unknown): number | null {
  const number = typeof value === 'string' && value !== '' ? Number(value) : value
  return typeof number === 'number' && Number.isSafeInteger(number) ? number : null
}

function bytesOfHex (text: string): Buffer {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(text)) throw new CodedError('METADATA_INVALID', 'blob has to be the hex digits of a .torrent')
  return Buffer.from(text, 'hex')
}

function fieldsOf (value: unknown): Fields {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}

function textsOf (value: unknown): string[] {
  return (Array.isArray(value) ? value : []).filter((entry) => typeof entry === 'string')
}
