import { once } from 'node:events'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

import t from 'tap'

import { streamBody } from '../../../services/http/body.ts'
import type { ResponseBody } from '../../../services/http/body.ts'
import { planResponse } from '../../../services/http/plan-response.ts'
import type { ByteRange } from '../../../services/pieces/geometry.ts'

/** Mulberry32: the same "random" numbers in each run, so that a failure can be seen again. */
function randomFrom (seed: number): (below: number) => number {
  return below => {
    seed = (seed + 0x6d2b79f5) | 0
    let x = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) % below
  }
}

function fileOf (lengthBytes: number, random: (below: number) => number): Buffer {
  return Buffer.from(Array.from({ length: lengthBytes }, () => random(256)))
}

/** Reads a range in chunks of random lengths, empty ones included. */
async function * readChunks (file: Buffer, { start, end }: ByteRange, random: (below: number) => number) {
  for (let at = start; at <= end;) {
    const length = Math.min(random(50), end + 1 - at)
    yield file.subarray(at, at + length)
    at += length
  }
}

async function gather (chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}

/** RFC 2046 section 5.1.1, written without a look at how the body is made. */
function parseMultipart (body: Buffer, boundary: string): Array<{ headers: string[], content: Buffer }> {
  const text = body.toString('latin1')
  const pieces = text.split(`\r\n--${boundary}`)
  const [preamble, ...parts] = pieces
  if (preamble !== '' || parts.pop() !== '--\r\n') throw new Error('no multipart')
  return parts.map(part => {
    const split = part.indexOf('\r\n\r\n')
    if (!part.startsWith('\r\n') || split < 0) throw new Error('no part')
    return { headers: part.slice(2, split).split('\r\n'), content: Buffer.from(part.slice(split + 4), 'latin1') }
  })
}

function single (start: number, end: number): ResponseBody {
  return { parts: [{ head: Buffer.alloc(0), range: { start, end } }], tail: Buffer.alloc(0), lengthBytes: end - start + 1 }
}

/** A range that has one chunk and then waits for ever, as for a piece that nobody has. */
function stuck (onReturn: () => void): AsyncIterable<Uint8Array> & { waiting: Promise<void> } {
  const waiting = Promise.withResolvers<void>()
  const never = Promise.withResolvers<IteratorResult<Uint8Array>>()
  let count = 0
  const iterator: AsyncIterator<Uint8Array> = {
    next: async () => {
      if (count++ === 0) return { done: false, value: Buffer.from('abc') }
      waiting.resolve()
      return await never.promise
    },
    return: async () => {
      onReturn()
      never.resolve({ done: true, value: undefined })
      return { done: true, value: undefined }
    }
  }
  return { waiting: waiting.promise, [Symbol.asyncIterator]: () => iterator }
}

t.test('whatever is asked, the body is those bytes of the file and as long as promised', async t => {
  const random = randomFrom(2024)
  const seen = { 200: 0, 206: 0, 416: 0, multipart: 0 }
  for (let round = 0; round < 3000; round++) {
    const file = fileOf(random(20) === 0 ? random(3) : random(3000), random)
    const asked = Array.from({ length: 1 + random(random(2) === 0 ? 1 : 6) }, () => {
      const first = random(3200)
      return [`${first}-${first + random(400)}`, `${first}-`, `-${random(400)}`][random(4) === 0 ? 1 + random(2) : 0]
    })
    const range = `bytes=${asked.join(random(2) === 0 ? ',' : ' , ')}`
    const representation = {
      lengthBytes: file.length, etag: '"e"', lastModified: null, contentType: 'video/mp4', fileName: 'f.mp4', isDownload: false, cacheControl: 'no-cache'
    }
    const plan = planResponse({ method: 'GET', headers: { range }, representation })
    const bytes = plan.body === null ? Buffer.alloc(0) : await gather(streamBody(plan.body, range => readChunks(file, range, random)))
    const what = `${range} of ${file.length}`

    // The reference: a set of byte positions, found one spec at a time
    const positions = new Set<number>()
    for (const spec of asked) {
      const [first = '', last = ''] = (spec ?? '').split('-')
      const from = first === '' ? Math.max(0, file.length - Number(last)) : Number(first)
      const to = first === '' || last === '' ? file.length - 1 : Math.min(Number(last), file.length - 1)
      for (let i = from; i <= to; i++) positions.add(i)
    }

    if (bytes.length !== plan.headers['Content-Length']) t.fail(`${what}: Content-Length`)
    if (plan.status === 416) {
      if (positions.size > 0 || plan.headers['Content-Range'] !== `bytes */${file.length}`) t.fail(`${what}: 416`)
      seen[416]++
      continue
    }
    if (positions.size === 0) t.fail(`${what}: nothing to send, yet ${plan.status}`)
    if (plan.status !== 206) {
      t.fail(`${what}: ${plan.status}`)
      continue
    }
    seen[206]++
    const boundary = /^multipart\/byteranges; boundary=(.+)$/.exec(String(plan.headers['Content-Type']))?.[1]
    const parts = boundary === undefined
      ? [{ headers: ['Content-Type: video/mp4', `Content-Range: ${plan.headers['Content-Range']}`], content: bytes }]
      : parseMultipart(bytes, boundary)
    if (boundary !== undefined) {
      seen.multipart++
      if ('Content-Range' in plan.headers || parts.length < 2) t.fail(`${what}: multipart`)
    }
    let sent = 0
    for (const { headers, content } of parts) {
      const [, start, end, total] = /^Content-Range: bytes (\d+)-(\d+)\/(\d+)$/.exec(headers[1] ?? '')?.map(Number) ?? []
      if (headers[0] !== 'Content-Type: video/mp4' || headers.length !== 2 || start === undefined || end === undefined || total !== file.length) {
        t.fail(`${what}: ${headers.join()}`)
        break
      }
      if (!content.equals(file.subarray(start, end + 1))) t.fail(`${what}: bytes ${start}-${end}`)
      for (let i = start; i <= end; i++) positions.delete(i)
      sent += content.length
    }
    if (positions.size > 0) t.fail(`${what}: ${positions.size} bytes were not sent`)
    if (sent > file.length) t.fail(`${what}: bytes were sent twice`)
  }
  t.ok(seen[206] > 1000 && seen.multipart > 200 && seen[416] > 50, JSON.stringify(seen))
})

t.test('without a range the whole file comes', async t => {
  const random = randomFrom(1)
  const file = fileOf(5000, random)
  t.same(await gather(streamBody(single(0, 4999), range => readChunks(file, range, random))), file)
})

t.test('a source that ends early breaks the response, and no tail pretends that it is whole', async t => {
  const body = { ...single(0, 9), tail: Buffer.from('tail') }
  const got: Uint8Array[] = []
  await t.rejects(async () => {
    for await (const chunk of streamBody(body, async function * () { yield Buffer.from('1234567') })) got.push(chunk)
  }, { code: 'SOURCE_FAILED', message: 'bytes 0-9 ended 3 bytes early' })
  t.same(Buffer.concat(got), Buffer.from('1234567'))
  await t.rejects(gather(streamBody(body, async function * () {})), { code: 'SOURCE_FAILED' })
})

t.test('a source that gives too much is cut and let go', async t => {
  let isReturned = false
  async function * endless () {
    try {
      for (;;) yield Buffer.from('1234567')
    } finally {
      isReturned = true
    }
  }
  t.same(await gather(streamBody({ ...single(0, 9), tail: Buffer.from('!') }, endless)), Buffer.from('1234567123!'))
  t.ok(isReturned)
})

t.test('the error of a source reaches the response', async t => {
  const error = new Error('disk on fire')
  await t.rejects(gather(streamBody(single(0, 9), async function * () { throw error })), error)
})

t.test('ranges are read one after the other, when they are due', async t => {
  const body = { ...single(0, 1), parts: [...single(0, 1).parts, ...single(5, 6).parts] }
  const reads: ByteRange[] = []
  const stream = streamBody(body, async function * (range) {
    reads.push(range)
    yield Buffer.from('xy')
  })
  t.same(reads, [])
  await stream.next()
  t.same(reads, [{ start: 0, end: 1 }])
  await stream.next()
  t.same(reads, [{ start: 0, end: 1 }, { start: 5, end: 6 }])
  t.same(await stream.next(), { done: true, value: undefined })
})

t.test('a reader that leaves between chunks ends the range', async t => {
  let returned = 0
  const stream = streamBody(single(0, 99), () => stuck(() => returned++))
  t.same(await stream.next(), { done: false, value: Buffer.from('abc') })
  await stream.return()
  t.equal(returned, 1)
})

t.test('a reader that leaves while a piece is awaited ends the range at once', async t => {
  for (const how of ['return', 'throw', 'dispose'] as const) {
    let returned = 0
    const range = stuck(() => returned++)
    const stream = streamBody({ ...single(0, 99), tail: Buffer.from('tail') }, () => range)
    await stream.next()
    const pending = stream.next()
    await range.waiting
    if (how === 'throw') await t.rejects(stream.throw(new Error('gone')), { message: 'gone' })
    else if (how === 'return') t.same(await stream.return(), { done: true, value: undefined })
    else await stream[Symbol.asyncDispose]()
    t.same(await pending, { done: true, value: undefined }, how)
    t.equal(returned, 1, how)
    t.same(await stream.next(), { done: true, value: undefined })
  }
})

t.test('a reader that leaves before the first byte starts nothing', async t => {
  const stream = streamBody(single(0, 9), () => { throw new Error('read') })
  await stream.return()
  t.same(await stream.next(), { done: true, value: undefined })
})

t.test('a destroyed stream ends the range that it waits for', async t => {
  let returned = 0
  const range = stuck(() => returned++)
  const readable = Readable.from(streamBody(single(0, 99), () => range), { objectMode: false })
  readable.resume()
  await range.waiting
  const closed = once(readable, 'close')
  readable.destroy()
  await closed
  t.equal(returned, 1)
})

t.test('a source that fails to let go says so', async t => {
  const iterator: AsyncIterator<Uint8Array> = {
    next: async () => ({ done: false, value: Buffer.from('abc') }),
    return: async () => { throw new Error('cannot close') }
  }
  const stream = streamBody(single(0, 99), () => ({ [Symbol.asyncIterator]: () => iterator }))
  await stream.next()
  await t.rejects(stream.return(), { message: 'cannot close' })
})

t.test('a slow reader holds the source back', async t => {
  let reads = 0
  async function * source () {
    for (let i = 0; i < 1000; i++) {
      reads++
      yield Buffer.alloc(1000)
    }
  }
  let most = 0
  let taken = 0
  const slow = new Writable({
    highWaterMark: 1,
    write (chunk, _encoding, callback) {
      taken++
      most = Math.max(most, reads - taken)
      setImmediate(callback)
    }
  })
  await pipeline(streamBody(single(0, 999_999), source), slow)
  t.equal(taken, 1000)
  t.ok(most < 10, `${most} chunks ahead`)
})
