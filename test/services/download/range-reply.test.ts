import t from 'tap'
import { judgeReply, maxSkipBytes, retryAfterMs } from '../../../services/download/range-reply.ts'

const asked = { start: 100, end: 199, fileLengthBytes: 5_000_000 }

t.test('replies to bytes=100-199 of a file of 5,000,000 bytes', async (t) => {
  const table: Array<[what: string, status: number, headers: Record<string, string>, kind: string]> = [
    ['exactly that', 206, { 'content-range': 'bytes 100-199/5000000' }, 'accepted'],
    ['less than that', 206, { 'content-range': 'bytes 100-149/5000000' }, 'accepted'],
    ['more than that', 206, { 'content-range': 'bytes 100-4999999/5000000' }, 'accepted'],
    ['the unit in capitals, plain encoding', 206, { 'content-range': 'Bytes 100-199/5000000', 'content-encoding': 'identity' }, 'accepted'],
    ['an earlier start', 206, { 'content-range': 'bytes 99-199/5000000' }, 'failed'],
    ['a later start', 206, { 'content-range': 'bytes 101-199/5000000' }, 'failed'],
    ['an end before its start', 206, { 'content-range': 'bytes 100-99/5000000' }, 'failed'],
    ['an end beyond the file', 206, { 'content-range': 'bytes 100-5000000/5000000' }, 'failed'],
    ['a start as text', 206, { 'content-range': 'bytes 1e2-199/5000000' }, 'failed'],
    ['an unknown total', 206, { 'content-range': 'bytes 100-199/*' }, 'failed'],
    ['no Content-Range', 206, {}, 'failed'],
    ['two of them', 206, { 'content-range': 'bytes 100-199/5000000, bytes 0-1/5000000' }, 'failed'],
    ['another total', 206, { 'content-range': 'bytes 100-199/5000001' }, 'not-here'],
    ['gzip', 206, { 'content-range': 'bytes 100-199/5000000', 'content-encoding': 'gzip' }, 'not-here'],
    ['the whole file', 200, { 'content-length': '5000000' }, 'accepted'],
    ['a whole file of unknown length', 200, {}, 'accepted'],
    ['a file of another length', 200, { 'content-length': '100' }, 'not-here'],
    ['gone', 410, {}, 'not-here'],
    ['not found', 404, {}, 'not-here'],
    ['range not satisfiable', 416, {}, 'not-here'],
    ['forbidden', 403, {}, 'failed'],
    ['a redirect without a target', 302, {}, 'failed'],
    ['no content', 204, {}, 'failed']
  ]
  for (const [what, status, headers, kind] of table) t.equal(judgeReply({ status, headers }, asked).kind, kind, what)
})

t.test('a whole file is skipped into so far and no further', async (t) => {
  const reply = { status: 200, headers: { 'content-length': '5000000' } }
  t.strictSame(judgeReply(reply, { ...asked, start: 0 }), { kind: 'accepted', skipBytes: 0, isWholeFile: true, last: 4_999_999, validator: null })
  t.strictSame(judgeReply(reply, { ...asked, start: maxSkipBytes, end: maxSkipBytes }), { kind: 'accepted', skipBytes: maxSkipBytes, isWholeFile: true, last: 4_999_999, validator: null })
  t.equal(judgeReply(reply, { ...asked, start: maxSkipBytes + 1, end: maxSkipBytes + 1 }).kind, 'ignores-range')
})

t.test('says whether the server is busy, and until when', async (t) => {
  t.match(judgeReply({ status: 503, headers: { 'retry-after': '7' } }, asked), { kind: 'failed', isBusy: true, retryAfterMs: 7000, why: 'status 503' })
  t.match(judgeReply({ status: 429, headers: {} }, asked), { kind: 'failed', isBusy: true, retryAfterMs: 0 })
  t.match(judgeReply({ status: 500, headers: {} }, asked), { kind: 'failed', isBusy: false })
  const now = Date.parse('2026-01-01T00:00:00Z')
  t.equal(retryAfterMs('Thu, 01 Jan 2026 00:00:30 GMT', now), 30_000)
  t.equal(retryAfterMs('Wed, 31 Dec 2025 00:00:00 GMT', now), 0)
  t.equal(retryAfterMs('99999999', now), 600_000)
  t.equal(retryAfterMs('soon', now), 0)
  t.equal(retryAfterMs('-5', now), 0)
})

t.test('says how far it goes, and which version of the file it is of', async (t) => {
  const range = { 'content-range': 'bytes 100-149/5000000' }
  t.match(judgeReply({ status: 206, headers: { ...range, etag: '"a"', 'last-modified': 'today' } }, asked), { last: 149, validator: '"a"' })
  t.match(judgeReply({ status: 206, headers: { ...range, etag: 'W/"a"', 'last-modified': 'today' } }, asked), { validator: 'today' }, 'a weak ETag says nothing of bytes')
  t.match(judgeReply({ status: 206, headers: range }, asked), { validator: null })
  t.match(judgeReply({ status: 200, headers: {} }, { ...asked, isExact: true }), { last: 199 })
})
