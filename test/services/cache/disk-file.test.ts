import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { getEventListeners } from 'node:events'
import { appendFile, mkdir, open, rename, stat, symlink, truncate, unlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'

import { identityOf, openDiskFile } from '../../../services/cache/disk-file.ts'
import type { ByteRange } from '../../../services/pieces/geometry.ts'
import type { SourceFile } from '../../../services/source.ts'
import type { Test } from 'tap'
import { descriptorsOf, eventually } from './fixtures.ts'

const MiB = 1024 * 1024
const content = randomBytes(3 * MiB + 12345)
const signal = new AbortController().signal

async function fileOf (t: Test, bytes: Uint8Array = content): Promise<{ path: string, file: SourceFile }> {
  const path = join(t.testdir(), 'video.mp4')
  await writeFile(path, bytes)
  const anHourAgo = new Date(Date.now() - 3_600_000)
  await utimes(path, anHourAgo, anHourAgo)
  return { path, file: await openDiskFile({ path, source: 'cache', isVerified: false }) }
}

async function bytesOf (file: SourceFile, range: ByteRange): Promise<Buffer> {
  const chunks = []
  for await (const chunk of file.read(range, signal)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

t.test('every range comes out as exactly those bytes', async t => {
  const { file } = await fileOf(t)
  const last = content.length - 1
  const ranges = [[0, 0], [0, 1], [1, 1], [last, last], [0, last], [MiB - 1, MiB], [MiB, 2 * MiB - 1], [5, last - 5]]
  for (const [start = 0, end = 0] of ranges) {
    t.ok((await bytesOf(file, { start, end })).equals(content.subarray(start, end + 1)), `bytes ${start}-${end}`)
  }
  const reads = await Promise.all(ranges.map(async ([start = 0, end = 0]) => await bytesOf(file, { start, end })))
  t.ok(ranges.every(([start = 0, end = 0], i) => reads[i]?.equals(content.subarray(start, end + 1))), 'all of them at the same time too')
})

t.test('the file is read in chunks of 1 MiB', async t => {
  const { file } = await fileOf(t)
  const lengths = []
  for await (const chunk of file.read({ start: 10, end: content.length - 1 }, signal)) lengths.push(chunk.length)
  t.same(lengths, [MiB, MiB, MiB, 12335])
})

t.test('an empty file has no bytes and is no error', async t => {
  const { file } = await fileOf(t, Buffer.alloc(0))
  t.equal(file.lengthBytes, 0)
  t.equal((await bytesOf(file, { start: 0, end: -1 })).length, 0)
})

t.test('a range that does not lie in the file is refused', async t => {
  const { file } = await fileOf(t)
  for (const range of [{ start: 0, end: content.length }, { start: -1, end: 5 }, { start: 5, end: 3 }]) {
    await t.rejects(bytesOf(file, range), RangeError)
  }
})

t.test('the file says what it is', async t => {
  const { path, file } = await fileOf(t)
  const { mtimeMs } = await stat(path)
  t.match(file, {
    source: 'cache',
    name: 'video.mp4',
    lengthBytes: content.length,
    etag: `"${content.length}-${Math.floor(mtimeMs)}"`,
    lastModified: new Date(Math.floor(mtimeMs)),
    isVerified: false,
    isLocal: true
  })
  const named = await openDiskFile({ path, source: 'mock', name: 'other.mp4', etag: '"fixed"', isVerified: true, lastModified: null })
  t.match(named, { source: 'mock', name: 'other.mp4', etag: '"fixed"', isVerified: true, lastModified: null })
  const derived = await openDiskFile({ path, source: 'cache', etag: ({ lengthBytes }) => `"of-${lengthBytes}"`, isVerified: false })
  t.equal(derived.etag, `"of-${content.length}"`)
})

t.test('only a regular file is opened', async t => {
  const directory = t.testdir({ 'video.mp4': 'video' })
  await mkdir(join(directory, 'folder'))
  await symlink(join(directory, 'video.mp4'), join(directory, 'link'))
  execFileSync('mkfifo', [join(directory, 'fifo')])
  for (const name of ['folder', 'link', 'fifo', 'nothing', 'video.mp4/inside']) {
    await t.rejects(openDiskFile({ path: join(directory, name), source: 'cache', isVerified: false }), { code: 'FILE_CHANGED' }, name)
  }
})

t.test('another file than the one that was found is refused', async t => {
  const { path } = await fileOf(t)
  const identity = identityOf(await stat(path, { bigint: true }))
  await t.resolves(openDiskFile({ path, source: 'cache', isVerified: false, identity }))
  await appendFile(path, 'more')
  await t.rejects(openDiskFile({ path, source: 'cache', isVerified: false, identity }), { code: 'FILE_CHANGED' })
})

const changes: Array<[what: string, change: (path: string) => Promise<void>]> = [
  ['deleted', unlink],
  ['truncated', async path => { await truncate(path, MiB + MiB / 2) }],
  ['emptied', async path => { await truncate(path, 0) }],
  ['appended to', async path => { await appendFile(path, 'more') }],
  ['overwritten in place', async path => { await overwrite(path, randomBytes(content.length)) }],
  ['replaced by one of the same length', async path => {
    await writeFile(`${path}.new`, randomBytes(content.length))
    await rename(`${path}.new`, path)
  }],
  ['replaced by a link', async path => {
    await rename(path, `${path}.old`)
    await symlink(`${path}.old`, path)
  }]
]

for (const [what, change] of changes) {
  t.test(`a file that is ${what} before a read -> FILE_CHANGED`, async t => {
    const { path, file } = await fileOf(t)
    await change(path)
    await t.rejects(bytesOf(file, { start: 0, end: 0 }), { code: 'FILE_CHANGED', isTemporary: true })
  })
}

for (const [what, change] of changes.slice(1, 5)) {
  t.test(`a file that is ${what} during a read -> FILE_CHANGED, and no end that looks like one`, async t => {
    const { path, file } = await fileOf(t)
    const chunks = file.read({ start: 0, end: content.length - 1 }, signal)[Symbol.asyncIterator]()
    t.ok(Buffer.from((await chunks.next()).value ?? []).equals(content.subarray(0, MiB)), 'the first chunk is the file\'s')
    await change(path)
    await t.rejects(chunks.next(), { code: 'FILE_CHANGED' })
    t.equal(await descriptorsOf(path), 0)
  })
}

t.test('a file that is deleted during a read is read to its end', async t => {
  const { path, file } = await fileOf(t)
  const chunks = file.read({ start: 0, end: content.length - 1 }, signal)[Symbol.asyncIterator]()
  const parts = [(await chunks.next()).value ?? []]
  await unlink(path)
  for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) parts.push(next.value)
  t.ok(Buffer.concat(parts.map(part => Buffer.from(part))).equals(content))
})

t.test('an abort ends a read at once, with the reason', async t => {
  const { path, file } = await fileOf(t)
  const reason = new Error('the client left')

  await t.rejects(file.read({ start: 0, end: 9 }, AbortSignal.abort(reason))[Symbol.asyncIterator]().next(), reason, 'before it begins')

  const during = new AbortController()
  const first = file.read({ start: 0, end: 9 }, during.signal)[Symbol.asyncIterator]().next()
  during.abort(reason)
  await t.rejects(first, reason, 'while it opens the file')

  const between = new AbortController()
  const chunks = file.read({ start: 0, end: content.length - 1 }, between.signal)[Symbol.asyncIterator]()
  await chunks.next()
  between.abort(reason)
  await t.rejects(chunks.next(), reason, 'between two chunks')
  await eventually(async () => await descriptorsOf(path) === 0)
})

t.test('a read that came to its end leaves no descriptor and no listener', async t => {
  const { path, file } = await fileOf(t)
  const controller = new AbortController()
  for await (const chunk of file.read({ start: 0, end: content.length - 1 }, controller.signal)) t.ok(chunk.length > 0)
  t.equal(await descriptorsOf(path), 0)
  t.equal(getEventListeners(controller.signal, 'abort').length, 0)
})

t.test('1,000 reads that nobody finishes leave no descriptor open', async t => {
  const { path, file } = await fileOf(t)
  // Kept, for the garbage collector closes what nobody holds.
  const abandoned: Array<AsyncIterator<Uint8Array>> = []
  const ways: Array<() => Promise<void>> = [
    async () => { for await (const chunk of file.read({ start: 0, end: content.length - 1 }, signal)) if (chunk.length > 0) break },
    async () => {
      const controller = new AbortController()
      const chunks = file.read({ start: 0, end: content.length - 1 }, controller.signal)[Symbol.asyncIterator]()
      abandoned.push(chunks)
      await chunks.next()
      controller.abort()
    },
    async () => {
      const controller = new AbortController()
      const next = file.read({ start: MiB, end: content.length - 1 }, controller.signal)[Symbol.asyncIterator]().next()
      setImmediate(() => { controller.abort() })
      await next.catch(() => {})
      controller.abort()
    },
    async () => {
      const controller = new AbortController()
      controller.abort()
      await file.read({ start: 0, end: 0 }, controller.signal)[Symbol.asyncIterator]().next().catch(() => {})
    },
    async () => { file.read({ start: 0, end: 0 }, signal)[Symbol.asyncIterator]() }
  ]
  for (let i = 0; i < 1000; i += 20) {
    await Promise.all(Array.from({ length: 20 }, async (_, j) => await ways[(i + j) % ways.length]?.()))
  }
  await eventually(async () => await descriptorsOf(path) === 0)
  t.equal(abandoned.length, 200)
  t.equal(getEventListeners(signal, 'abort').length, 0)
})

async function overwrite (path: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, 'r+')
  await handle.write(bytes, 0, bytes.length, 0)
  await handle.close()
}
