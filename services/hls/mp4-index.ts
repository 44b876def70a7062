import { children, inside } from './fragments.ts'
import type { ReadAt } from './keyframes.ts'

/** A `moov` beyond this is not read into memory: two hours of film need a few MB. */
const MAX_MOOV_BYTES = 32 * 1024 * 1024
/** Boxes at the top of the file that are looked at. */
const MAX_BOXES = 100
/** Entries of a table; keyframes, where each frame is one. */
const MAX_ENTRIES = 1_000_000
const TOLERANCE_SECONDS = 0.01

/**
 * When the keyframes of the first video track are shown, in seconds, in order, as the `moov` has them (ISO/IEC 14496-12
 * sections 8.6.1 to 8.6.6); null: it does not tell, for there are fragments, or edits other than at a keyframe. Reads the `moov`, and of others the heads.
 */
export async function mp4Keyframes (read: ReadAt, lengthBytes: number): Promise<number[] | null> {
  let at = 0
  for (let count = 0; count < MAX_BOXES && at + 16 <= lengthBytes; count++) {
    const head = await read(at, 16)
    const short = head.readUInt32BE(0)
    const size = short === 1 ? Number(head.readBigUInt64BE(8)) : short === 0 ? lengthBytes - at : short
    if (size < 8 || at + size > lengthBytes) return null
    if (head.toString('latin1', 4, 8) === 'moov') return size > MAX_MOOV_BYTES ? null : timesIn((await read(at, size)).subarray(short === 1 ? 16 : 8))
    at += size
  }
  return null
}

function timesIn (moov: Buffer): number[] | null {
  const mvhd = inside(moov, 'mvhd')
  const movieScale = mvhd === null ? null : u32(mvhd, mvhd[0] === 1 ? 20 : 12)
  if (movieScale === null || movieScale === 0 || inside(moov, 'mvex') !== null) return null
  for (const { type, body: trak } of children(moov, 0)) {
    if (type !== 'trak' || inside(trak, 'mdia', 'hdlr')?.toString('latin1', 8, 12) !== 'vide') continue
    const mdhd = inside(trak, 'mdia', 'mdhd')
    const scale = mdhd === null ? null : u32(mdhd, mdhd[0] === 1 ? 20 : 12)
    const stbl = inside(trak, 'mdia', 'minf', 'stbl')
    const shift = shiftOf(inside(trak, 'edts', 'elst'), movieScale)
    if (scale === null || scale === 0 || stbl === null || shift === null) return null
    const times = keyframesIn(stbl)?.map((time) => (time - shift.ticks) / scale + shift.seconds).sort((a, b) => a - b) ?? null
    // What was cut off before the first picture that is shown has to be decoded all the same, and players have no place for it.
    return times === null || (times[0] ?? 0) < -TOLERANCE_SECONDS ? null : times
  }
  return null
}

/** How much later than in the media it is shown; null: it is cut in several places. */
function shiftOf (elst: Buffer | null, movieScale: number): { seconds: number, ticks: number } | null {
  if (elst === null || elst.length < 8) return { seconds: 0, ticks: 0 }
  const isLong = elst[0] === 1
  const count = elst.readUInt32BE(4)
  const bytes = isLong ? 20 : 12
  if (count > 2 || elst.length < 8 + count * bytes) return null
  let shift = { seconds: 0, ticks: 0 }
  for (let index = 0; index < count; index++) {
    const at = 8 + index * bytes
    const duration = isLong ? Number(elst.readBigUInt64BE(at)) : elst.readUInt32BE(at)
    const ticks = isLong ? Number(elst.readBigInt64BE(at + 8)) : elst.readInt32BE(at + 4)
    if (ticks === -1 && index === 0) shift = { seconds: duration / movieScale, ticks: 0 }
    else if (ticks >= 0 && index === count - 1) shift = { ...shift, ticks }
    else return null
  }
  return shift
}

/** In ticks of the media. */
function keyframesIn (stbl: Buffer): number[] | null {
  const stts = table(inside(stbl, 'stts'), 8)
  const ctts = table(inside(stbl, 'ctts'), 8)
  const stss = table(inside(stbl, 'stss'), 4)
  if (stts === null) return null
  const decodeTimes = runs(stts, (body, at) => body.readUInt32BE(at))
  // Version 0 is meant to be unsigned; those who write a negative one into it mean that.
  const offsets = ctts === null ? null : runs(ctts, (body, at) => body.readInt32BE(at))
  const samples = decodeTimes.reduce((sum, { count }) => sum + count, 0)
  const keys = stss === null ? (samples > MAX_ENTRIES ? null : Array.from({ length: samples }, (_, index) => index)) : Array.from({ length: stss.count }, (_, index) => stss.body.readUInt32BE(8 + index * 4) - 1)
  if (keys === null || keys.length === 0) return null
  const times: number[] = []
  let [run, runStart, runTime] = [0, 0, 0]
  let [offsetRun, offsetStart] = [0, 0]
  let last = -1
  for (const key of keys) {
    if (key <= last || key >= samples) return null
    last = key
    for (let each = decodeTimes[run]; each !== undefined && key >= runStart + each.count; each = decodeTimes[++run]) {
      runStart += each.count
      runTime += each.count * each.value
    }
    for (let each = offsets?.[offsetRun]; each !== undefined && key >= offsetStart + each.count; each = offsets?.[++offsetRun]) offsetStart += each.count
    times.push(runTime + (key - runStart) * (decodeTimes[run]?.value ?? 0) + (offsets?.[offsetRun]?.value ?? 0))
  }
  return times
}

function table (body: Buffer | null, entryBytes: number): { body: Buffer, count: number } | null {
  const count = body === null ? null : u32(body, 4)
  return body === null || count === null || count > MAX_ENTRIES || 8 + count * entryBytes > body.length ? null : { body, count }
}

function runs ({ body, count }: { body: Buffer, count: number }, valueAt: (body: Buffer, at: number) => number): Array<{ count: number, value: number }> {
  return Array.from({ length: count }, (_, index) => ({ count: body.readUInt32BE(8 + index * 8), value: valueAt(body, 12 + index * 8) }))
}

function u32 (body: Buffer, at: number): number | null {
  return at + 4 > body.length ? null : body.readUInt32BE(at)
}
