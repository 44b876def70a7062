import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import t from 'tap'

import { openMockVideo } from '../../../services/mock/mock-video.ts'

const path = new URL('../../../assets/mock.mp4', import.meta.url)
const signal = new AbortController().signal

t.test('the mock is the committed video, as long as the documents say, with an ETag of its own', async t => {
  const bytes = await readFile(path)
  const file = await openMockVideo(null)
  t.equal(file.lengthBytes, 2_097_152)
  t.match(file, { source: 'mock', name: 'self-streme-mock.mp4', isVerified: false, isLocal: true })
  t.equal(file.etag, `"mock-${createHash('sha1').update(bytes).digest('hex').slice(0, 16)}"`)
  const chunks = []
  for await (const chunk of file.read({ start: 0, end: file.lengthBytes - 1 }, signal)) chunks.push(chunk)
  t.ok(Buffer.concat(chunks).equals(bytes))
})

t.test('it is one file, with index 0', async t => {
  t.equal((await openMockVideo(0)).lengthBytes, 2_097_152)
  for (const fileIndex of [1, 99]) await t.rejects(openMockVideo(fileIndex), { code: 'FILE_INDEX', message: /only file 0/ })
})

t.test('it plays from its first bytes on: the index is before the media, and the padding after it', async t => {
  t.same(boxesOf(await readFile(path)), ['ftyp', 'moov', 'free', 'mdat', 'free'])
})

/** The top-level boxes (ISO/IEC 14496-12 section 4.2); throws when they do not fill the file exactly. */
function boxesOf (bytes: Buffer): string[] {
  const types = []
  let offset = 0
  while (offset < bytes.length) {
    const size = bytes.readUInt32BE(offset)
    if (size < 8) throw new Error(`box of ${size} bytes at ${offset}`)
    types.push(bytes.toString('latin1', offset + 4, offset + 8))
    offset += size
  }
  if (offset !== bytes.length) throw new Error('the last box ends beyond the file')
  return types
}
