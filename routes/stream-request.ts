import { realpath } from 'node:fs/promises'
import { hopsOf } from '../services/download/via.ts'
import { formatBytes } from '../services/format.ts'
import { streamBody } from '../services/http/body.ts'
import { readField } from '../services/http/conditional.ts'
import { contentTypeOf } from '../services/http/content-type.ts'
import { planResponse } from '../services/http/plan-response.ts'
import { parseRangeHead } from '../services/http/range.ts'
import { isForProxy, sendfileHeader } from '../services/http/sendfile.ts'
import { NothingServes } from '../services/source-walk.ts'
import { parseAlternatives } from '../services/stremio/alternatives.ts'
import { wishedFile } from '../services/stremio/wished-file.ts'
import { describe } from '../services/torrent/description.ts'
import { parseInfohash } from '../services/torrent/infohash.ts'
import { trackerUrls } from '../services/torrent/urls.ts'
import { sendBody } from './send-body.ts'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Representation } from '../services/http/plan-response.ts'
import type { SourceFile, StreamRequest } from '../services/source.ts'
import type { SourceChain } from '../services/source-chain.ts'
import type { Walked } from '../services/source-walk.ts'
import type { Opened } from '../services/stremio/alternatives.ts'
import type { Wish } from '../services/stremio/wished-file.ts'

const MAX_TRACKERS = 20

/** What a stream URL asks for, as the text that it has. */
export interface Asked {
  readonly infoHash: string
  readonly fileIndex?: string | undefined
  readonly tr?: readonly string[] | undefined
}

/** What is asked for, of whichever file. Throws NothingServes for an infohash that is none. */
export function whereOf (request: FastifyRequest, { infoHash, tr = [] }: Pick<Asked, 'infoHash' | 'tr'>): Pick<StreamRequest, 'infohash' | 'trackers' | 'hops'> {
  return { infohash: infohashOf(infoHash), trackers: trackerUrls(tr, MAX_TRACKERS), hops: hopsOf(request.headers.via) }
}

/** The whole of it: which file, and where to begin. Throws as `whereOf` and `fileIndexOf` do. */
export function wantedOf (request: FastifyRequest, asked: Asked): StreamRequest {
  return {
    ...whereOf(request, asked),
    fileIndex: fileIndexOf(asked.fileIndex ?? ''),
    head: request.method === 'HEAD' ? null : parseRangeHead(request.headers.range)
  }
}

/** What may be said of a stream beside what is wanted. */
export interface StreamChoice {
  readonly isDownload: boolean
  /** HASH:IDX of what may play in its place. */
  readonly alt?: readonly string[] | undefined
  /** What to choose where no index is wanted. */
  readonly wish?: Wish | null
}

/**
 * Opens what is wanted, or one of `alt` in its place, and answers with it, ranges and conditions included. Throws
 * NothingServes before anything was sent.
 */
export async function sendStream (request: FastifyRequest, reply: FastifyReply, asked: StreamRequest, { isDownload, alt = [], wish = null }: StreamChoice): Promise<unknown> {
  const { nextVideos } = request.server
  const signal = signalOfAnswer(reply)
  request.log.debug({ infohash: asked.infohash }, `[Hybrid] Getting stream for ${asked.infohash}`)
  const { wanted, walked } = alt.length === 0 ? await openWished(request, asked, wish, signal) : await openFirst(request, asked, alt, wish, signal)
  const fields = { infohash: wanted.infohash }
  const { file } = walked
  const representation: Representation = {
    lengthBytes: file.lengthBytes,
    etag: file.etag,
    lastModified: file.lastModified,
    contentType: contentTypeOf(file.name),
    fileName: file.name,
    isDownload,
    cacheControl: cacheControlOf(file, request.server.access.secondsLeft(request, wanted.infohash))
  }
  const handed = await handOver(request, file)
  if (handed !== null) {
    // All about the whole file, and none of its bytes: the proxy knows which of them the client wants.
    const { headers: { 'Accept-Ranges': _, ...headers } } = planResponse({ method: 'HEAD', headers: {}, representation })
    return await reply.headers({ ...headers, ...sourceHeaders(walked), ...handed, 'Content-Length': 0 }).send()
  }
  const plan = planResponse({ method: request.method === 'HEAD' ? 'HEAD' : 'GET', headers: request.headers, representation })
  reply.code(plan.status).headers({ ...plan.headers, ...sourceHeaders(walked) })
  if (plan.body === null) return await reply.send()
  // A player asks for dozens of ranges; the one from the beginning tells people that somebody watches.
  const level = plan.body.parts[0]?.range.start === 0 ? 'info' : 'debug'
  request.log[level](fields, `[API] Stream method: ${methodName(file)} for ${wanted.infohash.slice(0, 6)}...`)
  request.log[level](fields, `[API] Streaming ${file.name} (${formatBytes(file.lengthBytes)}) via ${methodName(file)}`)
  return await sendBody(reply, streamBody(plan.body, (range) => isDownload ? file.read(range, signal) : nextVideos.watch(wanted, file, range, signal)), signal, () => {
    // The one that was opened may have died before its first byte.
    reply.header('X-Stream-Source', walked.engaged())
  })
}

type Streamed = Opened<Awaited<ReturnType<SourceChain['open']>>>

/** The file of an index, else the one that is wished for, as soon as the files are known. */
async function openWished ({ server }: FastifyRequest, asked: StreamRequest, wish: Wish | null, signal: AbortSignal): Promise<Streamed> {
  const metadata = asked.fileIndex === null && wish !== null ? (await describe(asked, server, signal)).metadata : null
  const file = metadata === null || wish === null ? null : wishedFile(metadata, wish)
  const wanted = file === null ? asked : { ...asked, fileIndex: file.index }
  return { wanted, walked: await server.sources.open(wanted, signal) }
}

async function openFirst (request: FastifyRequest, asked: StreamRequest, alt: readonly string[], wish: Wish | null, signal: AbortSignal): Promise<Streamed> {
  const { alternatives, access, config } = request.server
  const { head } = asked
  const others = parseAlternatives(alt).map((other) => ({ ...asked, ...other }))
  const isStart = head === null || ('start' in head && head.start === 0)
  const isAllowed = async (infohash: string): Promise<boolean> => await access.admit(request, 'stream', infohash).then(() => true, () => false)
  const { walked } = await alternatives.open([asked, ...others], { isStart, ifRange: readField(request.headers, 'if-range') }, { open: async (wanted, signal) => await openWished(request, wanted, wish, signal), isAllowed, turnMs: config.P2P_TIMEOUT }, signal)
  return walked
}

/** The header that has the reverse proxy send the file; null: the server does. */
async function handOver ({ server, headers }: FastifyRequest, file: SourceFile): Promise<Record<string, string> | null> {
  const { SENDFILE_HEADER: header, TORRENT_DOWNLOAD_PATH } = server.config
  if (header === null || file.handOver === undefined || !isForProxy(headers)) return null
  // As the file's own path: every link resolved.
  const directory = await realpath(TORRENT_DOWNLOAD_PATH).catch(() => null)
  return directory === null ? null : sendfileHeader(file.handOver(), { header, directory })
}

/** Throws the refusal of a malformed infohash, before any source is asked. */
export function infohashOf (text: string): string {
  const infohash = parseInfohash(text)
  if (infohash !== null) return infohash
  const message = `${JSON.stringify(text.slice(0, 80))} is not an infohash: 40 hex digits or 32 base32 characters`
  throw new NothingServes([{ source: 'request', code: 'INFOHASH_INVALID', message, isTemporary: false }])
}

/** Empty: the default file. Throws FILE_INDEX for a number that no torrent has, a 400 for what is no whole number. */
export function fileIndexOf (text: string): number | null {
  if (text === '') return null
  if (!/^-?\d{1,15}$/.test(text)) {
    throw Object.assign(new Error(`fileIndex must be a whole number from 0 on, got ${JSON.stringify(text.slice(0, 80))}`), { statusCode: 400 })
  }
  const fileIndex = Number(text)
  if (fileIndex >= 0) return fileIndex
  throw new NothingServes([{ source: 'request', code: 'FILE_INDEX', message: `fileIndex ${fileIndex} is out of range: files are counted from 0`, isTemporary: false }])
}

/** Aborts when the response is over or the client has gone, whichever is first. */
export function signalOfReply (reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  reply.raw.once('close', () => { controller.abort() })
  return controller.signal
}

/** As signalOfReply; it aborts, too, when the server closes. */
export function signalOfAnswer (reply: FastifyReply): AbortSignal {
  return AbortSignal.any([signalOfReply(reply), reply.server.sources.closing])
}

/** What caches may keep: bytes that were checked are the torrent's for ever; by a signed URL (`secondsLeft`) only while that counts. */
export function cacheControlOf ({ source, isVerified }: Pick<SourceFile, 'source' | 'isVerified'>, secondsLeft: number | null): string {
  if (source === 'mock') return 'no-store'
  return isVerified ? `private, max-age=${Math.min(3600, secondsLeft ?? Infinity)}` : 'no-cache'
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

/** A switch of a query. */
export function isYes (text = ''): boolean {
  return /^(?:true|1|yes)$/i.test(text)
}
