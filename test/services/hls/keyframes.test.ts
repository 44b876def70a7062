import fc from 'fast-check'
import t from 'tap'
import { keyframesOf } from '../../../services/hls/keyframes.ts'
import { matroskaKeyframes } from '../../../services/hls/matroska-index.ts'
import { mp4Keyframes } from '../../../services/hls/mp4-index.ts'
import type { ReadAt } from '../../../services/hls/keyframes.ts'
import type { SourceFile } from '../../../services/source.ts'

/** An EBML element with a size of eight bytes. */
function element (id: string, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const size = Buffer.alloc(8)
  size.writeBigUInt64BE(BigInt(body.length) | (1n << 56n))
  return Buffer.concat([Buffer.from(id, 'hex'), size, body])
}

function number (id: string, value: number): Buffer {
  const bytes = Buffer.alloc(6)
  bytes.writeUIntBE(value, 0, 6)
  return element(id, bytes)
}

function box (type: string, ...parts: ReadonlyArray<Buffer | readonly number[]>): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.isBuffer(part) ? part : words(part)))
  return Buffer.concat([words([body.length + 8]), Buffer.from(type, 'latin1'), body])
}

function words (values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length)
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, 4 * index)
  return bytes
}

const track = (value: number, type: number): Buffer => element('ae', number('d7', value), number('83', type))
const cue = (time: number, ...tracks: readonly number[]): Buffer => element('bb', number('b3', time), ...tracks.map((each) => element('b7', number('f7', each))))
const cues = element('1c53bb6b', cue(0, 2), cue(2500, 1, 2), cue(0, 2, 1), cue(5000, 2), cue(7500, 2))
const info = element('1549a966', number('2ad7b1', 1_000_000))
const tracks = element('1654ae6b', track(1, 2), track(2, 1))
const cluster = element('1f43b675', Buffer.alloc(1000))
const ebml = element('1a45dfa3', Buffer.from('matroska'))

/** As muxers write it: the index behind the clusters, and where it is before them. */
function matroska (): Buffer {
  const seek = (position: number): Buffer => element('114d9b74', element('4dbb', element('53ab', Buffer.from('1c53bb6b', 'hex')), number('53ac', position)))
  const before = Buffer.concat([seek(0), info, tracks, cluster])
  return Buffer.concat([ebml, element('18538067', seek(before.length), info, tracks, cluster, cues)])
}

const elst = (...entries: ReadonlyArray<readonly [number, number]>): Buffer => box('edts', box('elst', [0, entries.length, ...entries.flatMap(([duration, time]) => [duration, time, 0x10000])]))

function mp4 (edits: Buffer = elst([10_000, 1024]), more: readonly Buffer[] = []): Buffer {
  const stbl = box('stbl', box('stsd', [0, 0]), box('stts', [0, 2, 100, 512, 100, 1024]), box('ctts', [0, 3, 1, 1024, 99, 2048, 100, 1024]), box('stss', [0, 3, 1, 51, 151]))
  const trak = (type: string): Buffer => box('trak', edits, box('mdia', box('mdhd', [0, 0, 0, 12_800, 153_600, 0]), box('hdlr', Buffer.from(`\0\0\0\0\0\0\0\0${type}\0\0\0\0`, 'latin1')), box('minf', stbl)))
  return Buffer.concat([box('ftyp', Buffer.from('isom')), box('mdat', Buffer.alloc(500)), box('moov', box('mvhd', [0, 0, 0, 1000, 12_000]), ...more, trak('soun'), trak('vide'))])
}

interface Reading { readonly read: ReadAt, readonly ranges: Array<readonly [number, number]> }

/** Throws for what is not in the file, as reading does. */
function readerOf (bytes: Buffer): Reading {
  const ranges: Array<readonly [number, number]> = []
  return {
    ranges,
    async read (position, length) {
      ranges.push([position, length])
      if (position < 0 || length < 0 || position + length > bytes.length) throw new RangeError(`${length} bytes at ${position} of ${bytes.length}`)
      return bytes.subarray(position, position + length)
    }
  }
}

t.test('the keyframes of an mkv are those that its Cues have of the first video, and no cluster is read', async (t) => {
  const bytes = matroska()
  const { read, ranges } = readerOf(bytes)
  t.same(await matroskaKeyframes(read, bytes.length), [0, 2.5, 5, 7.5])
  const at = bytes.indexOf(Buffer.from('1f43b675', 'hex'))
  t.notOk(ranges.some(([start, length]) => start < at + 1000 && start + length > at + 100), 'only the head of the cluster')
})

t.test('an index of a million keyframes is none, and a file that is shorter than it says fails', async (t) => {
  const { signal } = new AbortController()
  const fileOf = (bytes: Buffer, lengthBytes = bytes.length): SourceFile => ({ source: 'test', name: 'film.mkv', lengthBytes, etag: '"x"', lastModified: null, isVerified: true, isLocal: true, async * read ({ start, end }) { yield bytes.subarray(start, end + 1) } })
  const one = element('bb', number('b3', 0), element('b7', number('f7', 2)))
  const many = (count: number): Buffer => {
    const all = Buffer.alloc(count * one.length, one)
    for (let index = 0; index < count; index++) all.writeUIntBE(index, index * one.length + 18, 6)
    return Buffer.concat([ebml, element('18538067', info, tracks, element('1c53bb6b', all))])
  }
  t.equal((await keyframesOf(fileOf(many(1000)), 'matroska', signal))?.length, 1000)
  t.equal(await keyframesOf(fileOf(many(250_000)), 'matroska', signal), null)
  await t.rejects(keyframesOf(fileOf(matroska().subarray(0, 100), 5000), 'matroska', signal), { code: 'SOURCE_FAILED', message: 'film.mkv has fewer bytes than it says' })
})

t.test('an mkv without Cues has no index', async (t) => {
  const bytes = Buffer.concat([ebml, element('18538067', info, tracks, cluster)])
  t.equal(await matroskaKeyframes(readerOf(bytes).read, bytes.length), null)
})

t.test('the keyframes of an mp4 are shown when its tables say, less what its edit list cuts off', async (t) => {
  const bytes = mp4()
  const { read, ranges } = readerOf(bytes)
  // Frame 150 is decoded after 100 of 512 ticks and 50 of 1024.
  t.same(await mp4Keyframes(read, bytes.length), [0, (50 * 512 + 2048 - 1024) / 12_800, (100 * 512 + 50 * 1024 + 1024 - 1024) / 12_800])
  t.notOk(ranges.some(([start, length]) => start < 400 && start + length > 100), 'the data is not read')
  const late = mp4(elst([500, 0xffffffff], [10_000, 1024]))
  t.same((await mp4Keyframes(readerOf(late).read, late.length))?.[0], 0.5)
})

t.test('an mp4 that begins to be shown between two keyframes has no index', async (t) => {
  const bytes = mp4(elst([10_000, 12_800]))
  t.equal(await mp4Keyframes(readerOf(bytes).read, bytes.length), null)
})

t.test('an mp4 in fragments, or cut in several places, has no index', async (t) => {
  for (const bytes of [mp4(undefined, [box('mvex')]), mp4(elst([100, 0], [100, 5000])), mp4(elst([1, 0], [1, 0], [1, 0]))]) t.equal(await mp4Keyframes(readerOf(bytes).read, bytes.length), null)
})

t.test('whatever a file says, the index is a list in order or none, and nothing outside of the file is read', { timeout: 60_000 }, async (t) => {
  const answers = async (index: typeof mp4Keyframes, bytes: Buffer): Promise<void> => {
    const times = await index(readerOf(bytes).read, bytes.length)
    if (times === null) return
    for (const [at, time] of times.entries()) if (!Number.isFinite(time) || time < (times[at - 1] ?? -Infinity)) throw new Error(`${time} at ${at}`)
  }
  for (const [index, good] of [[matroskaKeyframes, matroska()], [mp4Keyframes, mp4()]] as const) {
    for (let length = 0; length < good.length; length++) await answers(index, good.subarray(0, length))
    await fc.assert(fc.asyncProperty(fc.array(fc.tuple(fc.nat(good.length - 1), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)), { minLength: 1, maxLength: 12 }), async (changes) => {
      const bytes = Buffer.from(good)
      for (const [at, value] of changes) bytes[at] = value
      await answers(index, bytes)
    }), { seed: 8, numRuns: 3000 })
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (random) => { await answers(index, Buffer.concat([good.subarray(0, 60), random])) }), { seed: 8, numRuns: 1000 })
    t.pass(index.name)
  }
})
