import t from 'tap'

import { planResponse } from '../../../services/http/plan-response.ts'
import type { Representation } from '../../../services/http/plan-response.ts'

const etag = '"dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c-0"'
const film: Representation = {
  lengthBytes: 1000,
  etag,
  lastModified: new Date('2020-01-02T03:04:05.678Z'),
  contentType: 'video/mp4',
  fileName: 'film.mp4',
  isDownload: false,
  cacheControl: 'private, max-age=3600'
}

const lastModified = 'Thu, 02 Jan 2020 03:04:05 GMT'
const everywhere = { 'Cross-Origin-Resource-Policy': 'cross-origin', 'X-Content-Type-Options': 'nosniff' }
const validators = { ETag: etag, 'Last-Modified': lastModified, 'Cache-Control': 'private, max-age=3600' }
const whole = {
  ...everywhere,
  ...validators,
  'Content-Type': 'video/mp4',
  'Content-Length': 1000,
  'Content-Disposition': 'inline; filename="film.mp4"',
  'Accept-Ranges': 'bytes',
  'transferMode.dlna.org': 'Streaming',
  'contentFeatures.dlna.org': 'DLNA.ORG_OP=01;DLNA.ORG_CI=0;DLNA.ORG_FLAGS=01700000000000000000000000000000'
}

function get (headers: Record<string, string> = {}, changes: Partial<Representation> = {}) {
  return planResponse({ method: 'GET', headers, representation: { ...film, ...changes } }, () => 'X')
}

function head (headers: Record<string, string> = {}, changes: Partial<Representation> = {}) {
  return planResponse({ method: 'HEAD', headers, representation: { ...film, ...changes } }, () => 'X')
}

function single (start: number, end: number) {
  return { parts: [{ head: Buffer.alloc(0), range: { start, end } }], tail: Buffer.alloc(0), lengthBytes: end - start + 1 }
}

t.test('no range -> 200, the whole file and every header', async t => {
  t.same(get(), { status: 200, headers: whole, body: single(0, 999) })
})

t.test('HEAD has the headers of GET and no body, with or without a range', async t => {
  for (const headers of [{}, { range: 'bytes=0-1' }, { range: 'bytes=5000-' }, { range: 'bytes=0-0,500-500' }, { range: 'bytes=0-', 'if-range': etag }]) {
    t.same(head(headers), { status: 200, headers: whole, body: null }, JSON.stringify(headers))
  }
  t.same(head({}, { lengthBytes: 0 }).headers, get({}, { lengthBytes: 0 }).headers, 'an empty file too')
})

t.test('one range -> 206 with exactly that range', async t => {
  const table: Array<[range: string, start: number, end: number]> = [
    ['bytes=0-', 0, 999], ['bytes=0-1', 0, 1], ['bytes=0-0', 0, 0], ['bytes=7-', 7, 999], ['bytes=-1', 999, 999], ['bytes=-5000', 0, 999],
    ['bytes=990-2000', 990, 999], ['bytes=0-9,10-19', 0, 19], ['bytes=0-9,2000-', 0, 9]
  ]
  for (const [range, start, end] of table) {
    const headers = { ...whole, 'Content-Length': end - start + 1, 'Content-Range': `bytes ${start}-${end}/1000` }
    t.same(get({ range }), { status: 206, headers, body: single(start, end) }, range)
  }
})

t.test('a range that is none is ignored -> 200', async t => {
  for (const range of ['bytes=9-0', 'bytes=a-b', 'items=0-1', 'bytes=', '']) {
    t.same(get({ range }), { status: 200, headers: whole, body: single(0, 999) }, range)
  }
})

t.test('seeks past the end -> 416 with the length', async t => {
  const headers = { ...everywhere, 'Content-Length': 0, 'Cache-Control': 'no-store', 'Accept-Ranges': 'bytes', 'Content-Range': 'bytes */1000' }
  for (const range of ['bytes=1000-', 'bytes=-0', 'bytes=5000-6000,7000-']) t.same(get({ range }), { status: 416, headers, body: null }, range)
})

t.test('several ranges -> 206 multipart/byteranges, no Content-Range at the top, the length exact', async t => {
  const plan = get({ range: 'bytes=500-509,0-9' })
  const first = '\r\n--X\r\nContent-Type: video/mp4\r\nContent-Range: bytes 500-509/1000\r\n\r\n'
  const second = '\r\n--X\r\nContent-Type: video/mp4\r\nContent-Range: bytes 0-9/1000\r\n\r\n'
  const tail = '\r\n--X--\r\n'
  const lengthBytes = first.length + second.length + 20 + tail.length
  t.same(plan, {
    status: 206,
    headers: { ...whole, 'Content-Type': 'multipart/byteranges; boundary=X', 'Content-Length': lengthBytes },
    body: {
      parts: [{ head: Buffer.from(first), range: { start: 500, end: 509 } }, { head: Buffer.from(second), range: { start: 0, end: 9 } }],
      tail: Buffer.from(tail),
      lengthBytes
    }
  })
})

t.test('each multipart answer has a boundary of its own, long enough that no file contains it', async t => {
  const request = { method: 'GET' as const, headers: { range: 'bytes=0-0,500-500' }, representation: film }
  const types = [planResponse(request), planResponse(request)].map(plan => plan.headers['Content-Type'])
  t.not(types[0], types[1])
  for (const type of types) t.match(type, /^multipart\/byteranges; boundary=[0-9a-f]{32}$/)
})

t.test('too many parts -> 200 with the whole file', async t => {
  const range = 'bytes=' + Array.from({ length: 11 }, (_, i) => `${i * 90}-${i * 90}`).join()
  t.same(get({ range }), { status: 200, headers: whole, body: single(0, 999) })
})

t.test('If-Range: the range only when the client holds these bytes, else 200', async t => {
  const table: Array<[ifRange: string, status: number]> = [
    [etag, 206], [lastModified, 206], [`W/${etag}`, 200], ['"other"', 200], ['Thu, 02 Jan 2020 03:04:06 GMT', 200], ['nonsense', 200]
  ]
  for (const [ifRange, status] of table) {
    t.equal(get({ range: 'bytes=0-9', 'if-range': ifRange }).status, status, ifRange)
    t.equal(get({ range: 'bytes=5000-', 'if-range': ifRange }).status, status === 206 ? 416 : 200, `${ifRange}, past the end`)
  }
  t.equal(get({ 'if-range': '"other"' }).status, 200, 'without Range it means nothing')
})

t.test('the client has it already -> 304 with the validators, before any range', async t => {
  for (const plan of [get({ 'if-none-match': etag }), head({ 'if-none-match': etag }), get({ 'if-none-match': etag, range: 'bytes=0-1' }), get({ 'if-modified-since': lastModified })]) {
    t.same(plan, { status: 304, headers: { ...everywhere, ...validators }, body: null })
  }
})

t.test('the file is another one -> 412 without a body, before 304 and any range', async t => {
  const headers = { ...everywhere, 'Content-Length': 0, 'Cache-Control': 'no-store' }
  for (const conditions of [{ 'if-match': '"other"' }, { 'if-match': `W/${etag}`, 'if-none-match': etag }, { 'if-unmodified-since': 'Thu, 02 Jan 2020 03:04:04 GMT' }]) {
    t.same(get({ ...conditions, range: 'bytes=7-' }), { status: 412, headers, body: null })
    t.same(head(conditions), { status: 412, headers, body: null })
  }
})

t.test('VLC seeks with If-Match and goes on at its byte', async t => {
  const plan = get({ range: 'bytes=700-', 'if-match': etag })
  t.equal(plan.status, 206)
  t.equal(plan.headers['Content-Range'], 'bytes 700-999/1000')
})

t.test('200, 206 and 304 carry the same ETag', async t => {
  const plans = [get(), get({ range: 'bytes=1-2' }), get({ range: 'bytes=1-2,500-600' }), get({ 'if-none-match': etag }), head()]
  t.same(plans.map(plan => plan.status), [200, 206, 206, 304, 200])
  for (const plan of plans) t.equal(plan.headers['ETag'], etag)
})

t.test('an empty file is whole when nothing is sent; any range of it is unsatisfiable', async t => {
  t.same(get({}, { lengthBytes: 0 }), { status: 200, headers: { ...whole, 'Content-Length': 0 }, body: null })
  for (const range of ['bytes=0-', 'bytes=0-0', 'bytes=-1']) {
    const plan = get({ range }, { lengthBytes: 0 })
    t.equal(plan.status, 416, range)
    t.equal(plan.headers['Content-Range'], 'bytes */0', range)
  }
  t.equal(get({ range: 'nonsense' }, { lengthBytes: 0 }).status, 200)
})

t.test('a download is an attachment, and its name may be in any script', async t => {
  t.equal(get({}, { isDownload: true, fileName: '映画.mkv' }).headers['Content-Disposition'], "attachment; filename=\"__.mkv\"; filename*=UTF-8''%E6%98%A0%E7%94%BB.mkv")
})

t.test('a date that is unknown, to come or impossible is neither sent nor compared', async t => {
  for (const date of [null, new Date(NaN), new Date(Date.now() + 86_400_000), new Date(-1)]) {
    const plan = get({ 'if-unmodified-since': 'Thu, 01 Jan 1970 00:00:00 GMT' }, { lastModified: date })
    t.equal(plan.status, 200, String(date))
    t.notOk('Last-Modified' in plan.headers, String(date))
    t.equal(get({ 'if-modified-since': 'Thu, 31 Dec 2099 00:00:00 GMT' }, { lastModified: date }).status, 200)
  }
})

t.test('media is never sent encoded, and one answer does not change another', async t => {
  const plan = get({ 'accept-encoding': 'gzip, br' })
  t.notOk('Content-Encoding' in plan.headers)
  t.notOk('Vary' in plan.headers)
  plan.headers['X-Stream-Source'] = 'cache'
  t.same(get().headers, whole)
})
