import { Refused } from '../services/access/refused.ts'
import { CodedError } from '../services/errors.ts'
import { planResponse } from '../services/http/plan-response.ts'
import { parseRangeHead } from '../services/http/range.ts'
import { NothingServes } from '../services/source-walk.ts'
import { noticeFor, openNotice } from '../services/stremio/notices.ts'
import { answerStreamError } from '../plugins/errors.ts'
import { isYes } from './stream-request.ts'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { ReasonCode } from '../services/errors.ts'

/**
 * As `answerStreamError`; who has asked for it (`notice=1`) gets a start's failure as a short video that says why. Never in
 * the middle of a film: then a player takes an error better than other bytes.
 */
export async function answerWithNotice (error: FastifyError, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  const codes = codesOf(error)
  const notice = codes === null || reply.raw.destroyed || !wantsNotice(request) ? null : await openNotice(noticeFor(codes)).catch(() => null)
  if (notice === null || !isBeginning(request, notice.bytes.length, notice.etag)) return await answerStreamError(error, request, reply)
  const { name, bytes, etag } = notice
  const { range, ...headers } = request.headers
  const plan = planResponse({
    method: request.method === 'HEAD' ? 'HEAD' : 'GET',
    // Of several ranges it gets the whole: it is small.
    headers: range?.includes(',') === true ? headers : request.headers,
    representation: { lengthBytes: bytes.length, etag, lastModified: null, contentType: 'video/mp4', fileName: `${name}.mp4`, isDownload: false, cacheControl: 'no-store' }
  })
  request.log.debug({ notice: name }, 'a start that failed is told by a video')
  reply.code(plan.status).headers({ ...plan.headers, 'X-Stream-Notice': name })
  const [part] = plan.body?.parts ?? []
  return await (part === undefined ? reply.send() : reply.send(bytes.subarray(part.range.start, part.range.end + 1)))
}

function wantsNotice ({ method, query, server }: FastifyRequest): boolean {
  if ((method !== 'GET' && method !== 'HEAD') || !server.config.STREAM_NOTICES) return false
  const notice = typeof query === 'object' && query !== null && 'notice' in query ? query.notice : null
  return typeof notice === 'string' && isYes(notice)
}

function isBeginning ({ headers }: FastifyRequest, lengthBytes: number, etag: string): boolean {
  if (headers['if-range'] !== undefined && headers['if-range'] !== etag) return false
  if (headers['if-match'] !== undefined && headers['if-match'] !== etag) return false
  const head = parseRangeHead(headers.range)
  return 'last' in head || head.start < lengthBytes
}

/** null: the server itself failed, or the request is none. */
function codesOf (error: Error): readonly ReasonCode[] | null {
  if (error instanceof NothingServes) return error.refusals.map(({ code }) => code)
  return error instanceof CodedError || error instanceof Refused ? [error.code] : null
}
