import t from 'tap'
import { CodedError } from '../../../services/errors.ts'
import { Loopback } from '../../../services/media/loopback.ts'
import { testBytes } from '../../testnet.ts'
import type { SourceFile } from '../../../services/source.ts'

const bytes = testBytes(300_000, 'lent')

function fileThat (read: SourceFile['read']): SourceFile {
  return { source: 'test', name: 'film.mkv', lengthBytes: bytes.length, etag: '"x"', lastModified: null, isVerified: true, isLocal: true, read }
}

t.test('a lent file is read by ranges, counted, and gone when it is given back', async (t) => {
  const loopback = new Loopback()
  t.teardown(async () => { await loopback.close() })
  const lent = await loopback.lend(fileThat(async function * ({ start, end }) { yield bytes.subarray(start, end + 1) }), new AbortController().signal)
  t.same(Buffer.from(await (await fetch(lent.url, { headers: { range: 'bytes=1000-250999' } })).arrayBuffer()), bytes.subarray(1000, 251_000))
  t.equal(lent.sentBytes(), 250_000)
  t.equal(lent.failure(), null)
  lent.release()
  t.equal((await fetch(lent.url)).status, 404)
})

t.test('what keeps an answer from being whole is told, a reader that leaves is not', async (t) => {
  const loopback = new Loopback()
  t.teardown(async () => { await loopback.close() })
  const broken = await loopback.lend(fileThat(async function * () {
    yield bytes.subarray(0, 1000)
    throw new CodedError('STALLED', 'nobody goes on')
  }), new AbortController().signal)
  await t.rejects((await fetch(broken.url)).arrayBuffer())
  t.match(broken.failure(), { code: 'STALLED' })

  const { promise: left, resolve } = Promise.withResolvers<void>()
  const patient = await loopback.lend(fileThat(async function * (_range, signal) {
    yield bytes.subarray(0, 1000)
    await new Promise<void>((resolve) => { signal.addEventListener('abort', () => { resolve() }) })
    resolve()
    throw signal.reason
  }), new AbortController().signal)
  const leaving = new AbortController()
  const response = await fetch(patient.url, { signal: leaving.signal })
  t.equal(response.status, 200)
  leaving.abort()
  await left
  t.equal(patient.failure(), null)
})
