import t from 'tap'
import { cuesOf } from '../../../services/stremio-server/cues.ts'
import { videoHash } from '../../../services/stremio-server/video-hash.ts'

async function hashOf (bytes: Buffer): Promise<string> {
  return (await videoHash(bytes.length, async (start, end) => bytes.subarray(start, end + 1))).hash
}

t.test('the hash is the size and the numbers at both ends, added up', async (t) => {
  t.equal(await hashOf(Buffer.alloc(200_000)), (200_000).toString(16).padStart(16, '0'))
  const bytes = Buffer.alloc(200_000)
  bytes.writeBigUInt64LE(5n, 0)
  bytes.writeBigUInt64LE(7n, 200_000 - 65_536)
  bytes.writeBigUInt64LE(100n, 100_000)
  t.equal(await hashOf(bytes), (200_012).toString(16).padStart(16, '0'), 'what is in the middle does not count')
  bytes.fill(0xff)
  t.equal(await hashOf(bytes), (BigInt(200_000) - 2n * 8192n & 0xffff_ffff_ffff_ffffn).toString(16).padStart(16, '0'), 'it wraps around')
  t.equal(await hashOf(Buffer.alloc(0)), '0'.repeat(16))
  t.equal(await hashOf(Buffer.alloc(10)), 'a'.padStart(16, '0'), 'a file without eight bytes is not read beyond')
})

t.test('cues of WebVTT come as a list', async (t) => {
  t.same(cuesOf('WEBVTT\n\nNOTE x\n\n1\n00:01.500 --> 00:02.000 line:0\nHello\nyou\n\n01:00:00.000 --> 01:00:01.001\nBye\n'), [
    { number: 1, startTime: 1500, endTime: 2000, text: 'Hello\nyou' },
    { number: 2, startTime: 3_600_000, endTime: 3_601_001, text: 'Bye' }
  ])
})
