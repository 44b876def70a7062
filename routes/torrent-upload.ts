import { CodedError } from '../services/errors.ts'
import { maxTorrentBytes } from '../services/torrent/metadata.ts'
import { Slots } from '../services/slots.ts'
import type { FastifyInstance, FastifyRequest } from 'fastify'

/** What a form has beside its file: field names, boundaries, a magnet. */
const FORM_BYTES = 256 * 1024
/** Each holds its whole body in memory. */
const UPLOADS_AT_A_TIME = 4
const WAIT_MS = 10_000

const torrentTypes = ['application/x-bittorrent', 'application/octet-stream']
const rawTorrent = { schema: { description: 'the bytes of a `.torrent`, up to 10 MiB' } }

/** The bodies of POST /api/torrents that are no JSON, for its schema: each is what acceptTorrents() makes of it. */
export const uploadContent = {
  'application/x-bittorrent': rawTorrent,
  'application/octet-stream': rawTorrent,
  'multipart/form-data': {
    schema: {
      type: 'object',
      properties: {
        torrent: { description: 'a `.torrent` of up to 10 MiB; one a time', contentMediaType: 'application/x-bittorrent' },
        magnetUri: { type: 'string', maxLength: 100_000 },
        infoHash: { type: 'string', maxLength: 100 },
        name: { type: 'string', maxLength: 1000 }
      }
    }
  }
}

/** Lets the routes of this plugin take a raw `.torrent`, and a form with one. */
export function acceptTorrents (fastify: FastifyInstance): void {
  const slots = new Slots(UPLOADS_AT_A_TIME)

  fastify.addContentTypeParser(torrentTypes, { parseAs: 'buffer', bodyLimit: maxTorrentBytes }, async (_request: FastifyRequest, body: Buffer) => ({ torrent: body }))

  fastify.addContentTypeParser('multipart/form-data', { parseAs: 'buffer', bodyLimit: maxTorrentBytes + FORM_BYTES }, async (request: FastifyRequest, body: Buffer) => await formOf(body, request.headers['content-type'] ?? ''))

  // Before the body is read: what waits here takes no memory.
  fastify.addHook('preParsing', async (request, reply, payload) => {
    if (!isUpload(request)) return payload
    const place = Promise.withResolvers<void>()
    const { promise: done, resolve: release } = Promise.withResolvers<void>()
    reply.raw.once('close', () => { release() })
    const signal = AbortSignal.timeout(WAIT_MS)
    slots.run(async () => {
      place.resolve()
      await done
    }, signal).catch(() => {
      place.reject(new CodedError('TOO_MANY_UPLOADS', `${UPLOADS_AT_A_TIME} uploads are under way, and none has ended within ${WAIT_MS / 1000} s`))
    })
    await place.promise
    return payload
  })
}

/** Throws METADATA_INVALID for what is no form, or has several files. */
async function formOf (body: Buffer, contentType: string): Promise<Record<string, unknown>> {
  const form = await new Response(new Uint8Array(body), { headers: { 'content-type': contentType } }).formData().catch((error: unknown) => {
    throw new CodedError('METADATA_INVALID', 'this form cannot be read: send multipart/form-data with a boundary, as browsers and curl -F do', { cause: error })
  })
  const fields = [...form].filter(([, value]) => typeof value === 'string')
  const files = [...form.values()].filter((value) => typeof value !== 'string')
  const [file, another] = files
  if (another !== undefined) throw new CodedError('METADATA_INVALID', `this form has ${files.length} files: add one .torrent at a time`)
  if (file === undefined) return Object.fromEntries(fields)
  return { ...Object.fromEntries(fields), torrent: new Uint8Array(await file.arrayBuffer()) }
}

function isUpload ({ headers }: FastifyRequest): boolean {
  const [type = ''] = (headers['content-type'] ?? '').split(';')
  return [...torrentTypes, 'multipart/form-data'].includes(type.trim().toLowerCase())
}
