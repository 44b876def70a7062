import { setTimeout as wait } from 'node:timers/promises'
import type { Test } from 'tap'
import type { SourceChain } from '../../services/source-chain.ts'
import type { SourceFile, StreamRequest } from '../../services/source.ts'

export interface SourceCase {
  /** A chain in which only this source serves. */
  readonly sources: SourceChain
  /** The source's name. */
  readonly name: string
  readonly infohash: string
  /** The default file's bytes. */
  readonly content: Buffer
  readonly isVerified: boolean
  readonly isLocal: boolean
}

const never = new AbortController().signal

/** What every source owes to whoever reads from it. */
export function testSource (t: Test, title: string, setUp: (t: Test) => Promise<SourceCase>): void {
  const requestOf = (infohash: string, more: Partial<StreamRequest> = {}): StreamRequest => ({ infohash, fileIndex: null, trackers: [], head: { start: 0 }, ...more })

  t.test(title, async (t) => {
    const { sources, name, infohash, content, isVerified, isLocal } = await setUp(t)
    const { file } = await sources.open(requestOf(infohash), never)

    t.test('it says what it has', async (t) => {
      t.match(file, { source: name, lengthBytes: content.length, isVerified, isLocal })
      t.match(file.etag, /^"[^"]+"$/, 'a strong ETag')
      t.equal((await sources.open(requestOf(infohash, { head: null }), never)).file.etag, file.etag, 'the same every time')
      if (isVerified) t.equal(file.etag, `"${infohash}-0"`)
    })

    t.test('any range is exactly its bytes, many at once too', async (t) => {
      const last = content.length - 1
      const ranges = [[0, 0], [0, 1], [1, 1], [last, last], [last - 1, last], [0, last], [16_383, 16_384], [100_000, 300_000], [last - 5, last - 5]] as const
      await Promise.all(ranges.map(async ([start, end]) => {
        t.ok(content.subarray(start, end + 1).equals(await bytesOf(file, start, end)), `${start}-${end}`)
      }))
    })

    t.test('an opened file can be asked for another place, from the end, too', async (t) => {
      for (const head of [{ start: content.length - 1 }, { last: 10 }, { start: content.length + 5 }, null]) {
        t.equal((await sources.open(requestOf(infohash, { head }), never)).file.lengthBytes, content.length)
      }
    })

    t.test('a reader that returns early leaves the file readable', async (t) => {
      const reading = file.read({ start: 0, end: content.length - 1 }, never)[Symbol.asyncIterator]()
      const { value } = await reading.next()
      t.ok(content.subarray(0, value?.length).equals(value ?? Buffer.alloc(0)))
      await reading.return?.()
      t.ok(content.subarray(5, 15).equals(await bytesOf(file, 5, 14)))
    })

    t.test('an abort ends a read at once, before and in the middle', async (t) => {
      await t.rejects(bytesOf(file, 0, content.length - 1, AbortSignal.abort(new Error('left'))), { message: 'left' })
      const controller = new AbortController()
      const reading = (async () => {
        for await (const chunk of file.read({ start: 0, end: content.length - 1 }, controller.signal)) {
          controller.abort(new Error('left'))
          await wait(0)
          if (chunk.length === content.length) throw new Error('left')
        }
      })()
      await t.rejects(reading, { message: 'left' })
    })

    t.test('an aborted open rejects', async (t) => {
      await t.rejects(sources.open(requestOf(infohash, { head: { start: 7 } }), AbortSignal.abort(new Error('gone'))), { message: 'gone' })
    })

    t.test('a file that is not in the torrent is refused with its valid range, or is a miss', async (t) => {
      const error: unknown = await sources.open(requestOf(infohash, { fileIndex: 99 }), never).catch((error: unknown) => error)
      t.match(error, { name: 'NothingServes' })
      if (!isLocal && isVerified) t.match(error, { refusals: [{ code: 'FILE_INDEX', message: /0/ }] })
    })
  })
}

async function bytesOf (file: SourceFile, start: number, end: number, signal = never): Promise<Buffer> {
  const chunks = []
  for await (const chunk of file.read({ start, end }, signal)) chunks.push(chunk)
  return Buffer.concat(chunks)
}
