import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { ReasonCode } from '../errors.ts'

/** What people at a TV are told where nothing plays; `scripts/notices.ts` makes a short video of each. */
export const notices = {
  'no-peers': { title: 'Nobody answered in time', lines: ['Those who have this video are offline, or too slow.', 'Choose another stream, or try this one again later.'] },
  'not-found': { title: 'This video was not found', lines: ['No source has it at the moment.', 'Choose another stream.'] },
  'too-busy': { title: 'The server is busy', lines: ['It has as many streams or downloads as it may have.', 'Stop one of them, or try again later.'] },
  'no-such-file': { title: 'The torrent has no such file', lines: ['Choose another stream.'] },
  'not-allowed': { title: 'This link does not count', lines: ['It has expired, was revoked, or is not for this device.', 'Ask the owner of the server, or install the addon again.'] },
  failed: { title: 'This stream could not start', lines: ['The server says why in its log and on its page.', 'Choose another stream, or try again later.'] }
} as const

export type NoticeName = keyof typeof notices

export interface Notice {
  readonly name: NoticeName
  readonly bytes: Buffer
  /** Strong, with its quotes: that of no film. */
  readonly etag: string
}

const busy: ReadonlySet<ReasonCode> = new Set(['TOO_MANY_TORRENTS', 'NO_ROOM', 'SHUTTING_DOWN', 'TOO_MANY_STREAMS', 'TOO_MANY_NEW', 'TOO_MANY_ATTEMPTS'])
const notAllowed: ReadonlySet<ReasonCode> = new Set(['TOKEN_NEEDED', 'TOKEN_WRONG', 'SIGNATURE_WRONG', 'SIGNATURE_EXPIRED', 'SECRET_PATH_UNKNOWN', 'INFOHASH_BLOCKED', 'HOST_REFUSED', 'ORIGIN_REFUSED'])
const late: ReadonlySet<ReasonCode> = new Set(['P2P_TIMEOUT', 'START_TIMEOUT', 'SOURCE_TIMEOUT', 'STALLED', 'HTTP_TIMEOUT', 'METADATA_TIMEOUT'])
const missing: ReadonlySet<ReasonCode> = new Set(['METADATA_NOT_FOUND', 'HTTP_NO_MIRROR', 'NOT_CACHED', 'INFOHASH_INVALID', 'P2P_UNAVAILABLE', 'HTTP_LOOP', 'ADDRESS_REFUSED', 'DELETED', 'METADATA_V2_ONLY'])

/** Which of them says what these reasons of a failed start come to. */
export function noticeFor (codes: readonly ReasonCode[]): NoticeName {
  if (codes.includes('FILE_INDEX')) return 'no-such-file'
  if (codes.some((code) => notAllowed.has(code))) return 'not-allowed'
  if (codes.some((code) => busy.has(code))) return 'too-busy'
  if (codes.some((code) => late.has(code))) return 'no-peers'
  return codes.every((code) => missing.has(code)) ? 'not-found' : 'failed'
}

const read = new Map<NoticeName, Promise<Notice>>()

/** The video; read once, for it is part of the program. Throws what the file system says. */
export async function openNotice (name: NoticeName): Promise<Notice> {
  const known = read.get(name)
  if (known !== undefined) return await known
  const reading = readFile(fileURLToPath(new URL(`../../assets/notices/${name}.mp4`, import.meta.url)))
    .then((bytes) => ({ name, bytes, etag: `"notice-${name}-${createHash('sha1').update(bytes).digest('hex').slice(0, 16)}"` }))
  read.set(name, reading)
  reading.catch(() => { read.delete(name) })
  return await reading
}
