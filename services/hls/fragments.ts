import { CodedError } from '../errors.ts'

/** One frame of a track, as a fragment of an mp4 has it. Times are in the track's timescale. */
export interface Sample {
  readonly decodeTime: number
  /** What is added to it for the time at which it is shown. */
  readonly offset: number
  readonly duration: number
  /** As in a `trun` (ISO/IEC 14496-12 section 8.8.3.1). */
  readonly flags: number
  readonly data: Buffer
}

/** What stands before the fragments, for EXT-X-MAP, and how its only track counts time. */
export interface Init {
  readonly bytes: Buffer
  /** Units in a second. */
  readonly timescale: number
}

/** A box beyond this is not read: it would be held in memory. */
const MAX_BOX_BYTES = 64 * 1024 * 1024
const IS_NOT_SYNC = 0x10000

/** Can one begin to play here? */
export function isKeyframe ({ flags }: Sample): boolean {
  return (flags & IS_NOT_SYNC) === 0
}

/**
 * Reads a fragmented mp4 of one track while it comes: first what stands before the fragments, then each frame, once the whole of
 * its fragment is there. Throws SOURCE_FAILED for what is no such mp4.
 */
export async function * readFragments (chunks: AsyncIterable<Buffer>): AsyncGenerator<Init | Sample, void, void> {
  let head: Buffer[] = []
  let moof: Buffer | null = null
  for await (const { type, bytes } of boxes(chunks)) {
    if (type === 'ftyp') head = [bytes]
    if (type === 'moov') yield { bytes: Buffer.concat([...head, bytes]), timescale: timescaleOf(bytes) }
    if (type === 'moof') moof = bytes
    if (type === 'mdat' && moof !== null) {
      yield * samplesOf(moof, bytes)
      moof = null
    }
  }
}

/** A `moof` and its `mdat` with these frames, one after the other, none of them lost: a segment. */
export function fragmentOf (samples: readonly Sample[], sequence: number): Buffer {
  const [first] = samples
  const trun = Buffer.alloc(20 + 16 * samples.length)
  header(trun, 'trun', 0x01000f01)
  trun.writeUInt32BE(samples.length, 12)
  for (const [index, { decodeTime, duration, data, flags, offset }] of samples.entries()) {
    const at = 20 + 16 * index
    const next = samples[index + 1]
    // Only the first says when it is: each other begins where the one before ends.
    trun.writeUInt32BE((next === undefined ? duration : Math.max(0, next.decodeTime - decodeTime)) >>> 0, at)
    trun.writeUInt32BE(data.length, at + 4)
    trun.writeUInt32BE(flags >>> 0, at + 8)
    trun.writeInt32BE(offset, at + 12)
  }
  const tfhd = Buffer.alloc(16)
  // The data begins where the moof does.
  header(tfhd, 'tfhd', 0x00020000)
  tfhd.writeUInt32BE(1, 12)
  const tfdt = Buffer.alloc(20)
  header(tfdt, 'tfdt', 0x01000000)
  tfdt.writeBigUInt64BE(BigInt(first?.decodeTime ?? 0), 12)
  const mfhd = Buffer.alloc(16)
  header(mfhd, 'mfhd', 0)
  mfhd.writeUInt32BE(sequence, 12)
  const moof = boxOf('moof', mfhd, boxOf('traf', tfhd, tfdt, trun))
  // Behind the head of the mdat; the trun is the last thing in the moof.
  moof.writeInt32BE(moof.length + 8, moof.length - trun.length + 16)
  return Buffer.concat([moof, boxOf('mdat', ...samples.map(({ data }) => data))])
}

function header (box: Buffer, type: string, versionAndFlags: number): void {
  box.writeUInt32BE(box.length, 0)
  box.write(type, 4, 'latin1')
  box.writeUInt32BE(versionAndFlags, 8)
}

function boxOf (type: string, ...parts: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(parts.reduce((sum, { length }) => sum + length, 8), 0)
  head.write(type, 4, 'latin1')
  return Buffer.concat([head, ...parts])
}

async function * boxes (chunks: AsyncIterable<Buffer>): AsyncGenerator<{ type: string, bytes: Buffer }, void, void> {
  let parts: Buffer[] = []
  let length = 0
  let needed = 8
  for await (const chunk of chunks) {
    parts.push(chunk)
    length += chunk.length
    if (length < needed) continue
    let bytes = Buffer.concat(parts)
    for (needed = 8; bytes.length >= needed; needed = 8) {
      const size = bytes.readUInt32BE(0)
      if (size < 8 || size > MAX_BOX_BYTES) throw broken(`a box of ${size} bytes`)
      needed = size
      if (bytes.length < size) break
      yield { type: bytes.toString('latin1', 4, 8), bytes: bytes.subarray(0, size) }
      bytes = bytes.subarray(size)
    }
    parts = [bytes]
    length = bytes.length
  }
}

/** The boxes inside of one, each without its head. */
export function * children (bytes: Buffer, start: number, end = bytes.length): Generator<{ type: string, body: Buffer }, void, void> {
  for (let at = start; at + 8 <= end;) {
    const short = bytes.readUInt32BE(at)
    const isLong = short === 1 && at + 16 <= end
    const size = isLong ? Number(bytes.readBigUInt64BE(at + 8)) : short === 0 ? end - at : short
    const head = isLong ? 16 : 8
    if (size < head || at + size > end) return
    yield { type: bytes.toString('latin1', at + 4, at + 8), body: bytes.subarray(at + head, at + size) }
    at += size
  }
}

/** The first box of this path inside of `body`; null: there is none. */
export function inside (body: Buffer, ...path: readonly string[]): Buffer | null {
  let found: Buffer | null = body
  for (const type of path) {
    if (found === null) return null
    found = [...children(found, 0)].find((child) => child.type === type)?.body ?? null
  }
  return found
}

function timescaleOf (moov: Buffer): number {
  const mdhd = inside(moov.subarray(8), 'trak', 'mdia', 'mdhd')
  const at = mdhd?.[0] === 1 ? 20 : 12
  if (mdhd === null || mdhd.length < at + 4) throw broken('no track')
  const timescale = mdhd.readUInt32BE(at)
  if (timescale === 0) throw broken('no timescale')
  return timescale
}

/** ISO/IEC 14496-12 sections 8.8.7, 8.8.8 and 8.8.12, as far as FFmpeg writes them. */
function * samplesOf (moof: Buffer, mdat: Buffer): Generator<Sample, void, void> {
  const traf = inside(moof.subarray(8), 'traf')
  if (traf === null) throw broken('a fragment without a track')
  const tfhd = reader(inside(traf, 'tfhd'))
  const head = tfhd.flags()
  tfhd.u32()
  if ((head & 0x01) !== 0) tfhd.u64()
  if ((head & 0x02) !== 0) tfhd.u32()
  const defaults = { duration: (head & 0x08) !== 0 ? tfhd.u32() : 0, size: (head & 0x10) !== 0 ? tfhd.u32() : 0, flags: (head & 0x20) !== 0 ? tfhd.u32() : 0 }
  const tfdt = reader(inside(traf, 'tfdt'))
  let decodeTime = tfdt.version() === 1 ? (tfdt.flags(), tfdt.u64()) : (tfdt.flags(), tfdt.u32())
  let at = 8
  for (const { type, body } of children(traf, 0)) {
    if (type !== 'trun') continue
    const trun = reader(body)
    const flags = trun.flags()
    const count = trun.u32()
    if (count > body.length && (flags & 0xf00) !== 0) throw broken('a fragment with fewer frames than it says')
    if (count > mdat.length) throw broken('a fragment with fewer bytes than frames')
    if ((flags & 0x01) !== 0) at = trun.i32() - moof.length
    const first = (flags & 0x04) !== 0 ? trun.u32() : null
    for (let index = 0; index < count; index++) {
      const duration = (flags & 0x100) !== 0 ? trun.u32() : defaults.duration
      const size = (flags & 0x200) !== 0 ? trun.u32() : defaults.size
      const own = (flags & 0x400) !== 0 ? trun.u32() : defaults.flags
      const offset = (flags & 0x800) !== 0 ? trun.i32() : 0
      if (at < 8 || at + size > mdat.length) throw broken('frames outside of their fragment')
      yield { decodeTime, offset, duration, flags: index === 0 ? first ?? own : own, data: mdat.subarray(at, at + size) }
      at += size
      decodeTime += duration
    }
  }
}

/** Reads numbers one after the other. Throws SOURCE_FAILED where there are no more. */
function reader (body: Buffer | null): { version (): number, flags (): number, u32 (): number, i32 (): number, u64 (): number } {
  if (body === null) throw broken('a fragment without its head')
  let at = 0
  const next = (length: number): number => {
    if (at + length > body.length) throw broken('a box that ends early')
    at += length
    return at - length
  }
  return {
    version: () => body[0] ?? 0,
    flags: () => body.readUInt32BE(next(4)) & 0xffffff,
    u32: () => body.readUInt32BE(next(4)),
    i32: () => body.readInt32BE(next(4)),
    u64: () => Number(body.readBigUInt64BE(next(8)))
  }
}

function broken (what: string): CodedError {
  return new CodedError('SOURCE_FAILED', `ffmpeg wrote ${what}`)
}
