import { readFileSync } from 'node:fs'
import t from 'tap'
import { reasonCodes } from '../../../services/errors.ts'
import { noticeFor, notices, openNotice } from '../../../services/stremio/notices.ts'
import type { ReasonCode } from '../../../services/errors.ts'

t.test('each reason comes to a video that is there, small, and an MP4', async (t) => {
  for (const name of Object.keys(notices)) {
    const bytes = readFileSync(new URL(`../../../assets/notices/${name}.mp4`, import.meta.url))
    t.ok(bytes.length < 100_000, name)
    t.equal(bytes.toString('latin1', 4, 8), 'ftyp')
  }
  const etags = new Set()
  // The keys of a literal.
  for (const code of Object.keys(reasonCodes) as ReasonCode[]) etags.add((await openNotice(noticeFor([code]))).etag)
  t.equal(etags.size, Object.keys(notices).length, 'and no video is without a reason')
})

t.test('of several reasons the one counts that people can do something about', async (t) => {
  for (const [codes, expected] of [
    [['P2P_TIMEOUT', 'HTTP_NO_MIRROR'], 'no-peers'],
    [['P2P_UNAVAILABLE', 'METADATA_NOT_FOUND'], 'not-found'],
    [['P2P_TIMEOUT', 'FILE_INDEX'], 'no-such-file'],
    [['NO_ROOM', 'P2P_TIMEOUT'], 'too-busy'],
    [['SIGNATURE_EXPIRED'], 'not-allowed'],
    [['SOURCE_FAILED', 'HTTP_NO_MIRROR'], 'failed'],
    [[], 'not-found']
  ] as const) t.equal(noticeFor(codes), expected, codes.join())
})
