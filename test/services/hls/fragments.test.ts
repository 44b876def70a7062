import fc from 'fast-check'
import t from 'tap'
import { CodedError } from '../../../services/errors.ts'
import { fragmentOf, isKeyframe, readFragments } from '../../../services/hls/fragments.ts'
import type { Init, Sample } from '../../../services/hls/fragments.ts'

function box (type: string, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const head = Buffer.alloc(8)
  head.writeUInt32BE(body.length + 8)
  head.write(type, 4, 'latin1')
  return Buffer.concat([head, body])
}

function head (): Buffer {
  const mdhd = Buffer.alloc(24)
  mdhd.writeUInt32BE(90_000, 12)
  return Buffer.concat([box('ftyp', Buffer.from('iso5')), box('moov', box('trak', box('mdia', box('mdhd', mdhd))))])
}

const samples: Sample[] = [
  { decodeTime: 900_000, offset: 0, duration: 3750, flags: 0x2000000, data: Buffer.from('key') },
  { decodeTime: 903_750, offset: 7500, duration: 3750, flags: 0x1010000, data: Buffer.from('second') },
  { decodeTime: 907_600, offset: -3750, duration: 3700, flags: 0x1010000, data: Buffer.alloc(0) }
]

async function read (bytes: Buffer, chunkBytes = bytes.length): Promise<Array<Init | Sample>> {
  const parts: Array<Init | Sample> = []
  async function * chunks () { for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes) }
  for await (const part of readFragments(chunks())) parts.push(part)
  return parts
}

t.test('a fragment is read as it was written, in whatever pieces it comes', async (t) => {
  const bytes = Buffer.concat([head(), fragmentOf(samples, 1), box('free'), fragmentOf(samples, 2)])
  const [first, second, third] = samples
  // Each but the last is as long as it takes to the next.
  const expected = [first, { ...second, duration: 3850 }, third]
  for (const chunkBytes of [1, 7, bytes.length]) t.same(await read(bytes, chunkBytes), [{ bytes: head(), timescale: 90_000 }, ...expected, ...expected])
  t.same(samples.map(isKeyframe), [true, false, false])
})

t.test('what is broken is refused, and nothing is read outside of it', async (t) => {
  const good = Buffer.concat([head(), fragmentOf(samples, 1)])
  const isFine = async (bytes: Buffer): Promise<void> => {
    try {
      await read(bytes)
    } catch (error) {
      if (!(error instanceof CodedError)) throw error
    }
  }
  for (let length = 0; length < good.length; length++) await isFine(good.subarray(0, length))
  await fc.assert(fc.asyncProperty(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }), async (changes) => {
    const bytes = Buffer.from(good)
    for (const [at, value] of changes) bytes[at] = value
    await isFine(bytes)
  }), { seed: 8, numRuns: 3000 })
  await t.rejects(read(Buffer.concat([head(), box('moof'), box('mdat')])), { code: 'SOURCE_FAILED' })
})
