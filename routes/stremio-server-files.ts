import { Type } from 'typebox'
import { corsHeaders, preflightHeaders } from '../services/http/cors.ts'
import { fileNamed, guessFile } from '../services/stremio-server/choose-file.ts'
import { wishedFile } from '../services/stremio/wished-file.ts'
import { describe } from '../services/torrent/description.ts'
import { selectFile } from '../services/torrent/file-selection.ts'
import { answerStreamError } from '../plugins/errors.ts'
import { infoHash, trackersQuery } from './schemas.ts'
import { isYes, sendStream, signalOfReply, wantedOf, whereOf } from './stream-request.ts'
import { preflightAnswers, rangeHeaders, streamAnswers } from './stream-schemas.ts'
import { fileParams, serverTags as tags, torrentPath } from './stremio-server-schemas.ts'
import { trackersOf } from './stremio-server-torrents.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { Wish } from '../services/stremio/wished-file.ts'
import type { Metadata, TorrentFile } from '../services/torrent/metadata.ts'

/** What a Stremio client's address of a file says. */
export interface FileAsked {
  readonly infoHash: string
  /** The index, `-1`, or the first part of a path in the torrent; empty: the default file. */
  readonly idx: string
  /** What comes behind it: of an index nothing that counts. */
  readonly rest?: string
  readonly tr?: readonly string[] | undefined
  readonly f?: readonly string[] | undefined
  /** What to choose of an address without an index. */
  readonly wish?: Wish | null
}

const query = Type.Object({
  tr: trackersQuery,
  f: Type.Optional(Type.Array(Type.String(), { description: 'with -1: what the name includes, as text or /regex/i' })),
  external: Type.Optional(Type.String({ description: '1: be sent to the address with the name of the file' })),
  download: Type.Optional(Type.String({ description: '1: offer the file for saving', examples: ['1'] })),
  subtitles: Type.Optional(Type.String({ description: 'the URL of subtitles, for televisions that go by the header CaptionInfo.sec' }))
})
const schema = {
  tags,
  summary: 'A file of a torrent, at the address that Stremio has for it',
  description: 'As /stream/proxy/{infoHash}.',
  params: fileParams,
  headers: rangeHeaders,
  querystring: query,
  response: { ...streamAnswers, 307: { description: 'the address with the name of the file', headers: { Location: { type: 'string' } }, type: 'null' } }
}
const restParams = Type.Object({ infoHash, idx: fileParams.properties.idx, '*': Type.String({ description: 'a name, for players that go by it; or the rest of a path', examples: ['film.mp4'] }) })
const preflightSchema = { tags, summary: 'Preflight: any page may play it', response: preflightAnswers }

/** Files at `/{infoHash}/{idx}`, by the same chain as /stream/proxy. */
const stremioServerFiles: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.addHook('onRequest', async (_request, reply) => { reply.headers(corsHeaders) })
  fastify.setErrorHandler<FastifyError>(answerStreamError)

  const paths = [[`${torrentPath}/:idx`, fileParams], [`${torrentPath}/:idx/*`, restParams]] as const
  for (const [url, params] of paths) {
    fastify.options(url, { schema: { ...preflightSchema, params }, config: { access: 'public' } }, async (request, reply) => await reply.code(204).headers(preflightHeaders(request.headers)).send())
    fastify.route({
      method: ['GET', 'HEAD'],
      exposeHeadRoute: false,
      url,
      schema: { ...schema, params },
      config: { access: 'stream', isStream: true },
      async handler (request, reply) {
        const { tr, f, external, download, subtitles } = request.query
        const { params } = request
        const asked = { ...params, rest: '*' in params ? params['*'] : '', tr, f }
        const caption = captionOf(subtitles)
        if (caption !== null) reply.header('CaptionInfo.sec', caption)
        if (external === '1') return await sendToName(request, reply, { ...asked, download })
        return await sendStream(request, reply, wantedOf(request, { infoHash: asked.infoHash, fileIndex: await fileIndexAsked(request, reply, asked), tr: trackersOf(tr ?? []) }), { isDownload: isYes(download) })
      }
    })
  }
}

export default stremioServerFiles

/**
 * The index of the file that is asked for, as text; undefined: the default one. Looks for the metadata where the index does
 * not say it. Throws NothingServes, or FILE_INDEX.
 */
export async function fileIndexAsked (request: FastifyRequest, reply: FastifyReply, { infoHash, idx, rest = '', tr = [], f = [], wish = null }: FileAsked): Promise<string | undefined> {
  if (idx === '' && wish === null) return undefined
  const isGuess = idx === '-1'
  if (/^-?\d{1,15}$/.test(idx) && !isGuess) return idx
  if (isGuess && f.length === 0) return undefined
  const where = whereOf(request, { infoHash, tr: trackersOf(tr) })
  const { metadata } = await describe(where, request.server, signalOfReply(reply))
  // There is one file only, and nobody knows more of it.
  if (metadata === null) return undefined
  const file = idx === '' && wish !== null ? wishedFile(metadata, wish) : isGuess ? guessFile(metadata, { mustInclude: f }) : fileNamed(metadata, rest === '' ? idx : `${idx}/${rest}`)
  return file === null ? undefined : String(file.index)
}

/** Old televisions play what ends in a name. */
async function sendToName (request: FastifyRequest, reply: FastifyReply, asked: FileAsked & { readonly download: string | undefined }): Promise<unknown> {
  const { metadata, file } = await describe(whereOf(request, { infoHash: asked.infoHash, tr: trackersOf(asked.tr ?? []) }), request.server, signalOfReply(reply))
  const index = await fileIndexAsked(request, reply, asked)
  const chosen = metadata === null ? null : selectFile(metadata, index === undefined ? null : Number(index))
  const name = chosen?.name ?? file?.name ?? ''
  // By its name alone only where that means this file: there may be others of the same name, or it is a number.
  const path = metadata === null || chosen === null || isNamed(metadata, chosen) ? encodeURIComponent(name) : `${chosen.index}/${encodeURIComponent(name)}`
  const { prefix = '', queryFor = () => '' } = request.server.access.grantOf(request)
  const query = [isYes(asked.download) ? 'download=1' : '', queryFor(asked.infoHash.toLowerCase())].filter((part) => part !== '').join('&')
  const base = URL.parse(request.server.config.BASE_URL ?? '')?.pathname.replace(/\/+$/, '') ?? ''
  return await reply.code(307).header('Location', `${base}${prefix}/${asked.infoHash}/${path}${query === '' ? '' : `?${query}`}`).header('Cache-Control', 'no-store').send()
}

/** Does this file's name, at the place of an index, mean this file? */
function isNamed (metadata: Metadata, { name, index }: TorrentFile): boolean {
  return !/^(?:-?\d+|\.{1,2}|create|remove|stats\.json)$/.test(name) && fileNamed(metadata, name).index === index
}

/** Only what is an address: it goes into a header. */
function captionOf (subtitles: string | undefined): string | null {
  const url = URL.parse(subtitles ?? '')
  return url !== null && /^https?:$/.test(url.protocol) ? url.href : null
}
