import type { ReadAt } from './keyframes.ts'

/** RFC 9559 section 5.1; each with its marker bits, as they stand in the file. */
const ids = {
  ebml: 0x1a45dfa3,
  segment: 0x18538067,
  seekHead: 0x114d9b74,
  seek: 0x4dbb,
  seekId: 0x53ab,
  seekPosition: 0x53ac,
  info: 0x1549a966,
  timestampScale: 0x2ad7b1,
  tracks: 0x1654ae6b,
  trackEntry: 0xae,
  trackNumber: 0xd7,
  trackType: 0x83,
  cues: 0x1c53bb6b,
  cuePoint: 0xbb,
  cueTime: 0xb3,
  cueTrackPositions: 0xb7,
  cueTrack: 0xf7,
  cluster: 0x1f43b675
} as const

const VIDEO = 1
/** More of one element is not read into memory. */
const MAX_ELEMENT_BYTES = 4 * 1024 * 1024
/** Elements of the segment that are looked at before the clusters. */
const MAX_ELEMENTS = 100

interface Element {
  readonly id: number
  /** null: unknown; it goes on until its parent ends. */
  readonly size: number | null
  readonly headBytes: number
}

/**
 * When the keyframes of the first video track are shown, in seconds, in order, as the Cues (RFC 9559 section 5.1.5) have them;
 * null: there are none. Reads the heads of elements, and those that it needs: never a cluster.
 */
export async function matroskaKeyframes (read: ReadAt, lengthBytes: number): Promise<number[] | null> {
  const ebml = await elementAt(read, 0, lengthBytes)
  if (ebml?.id !== ids.ebml || ebml.size === null) return null
  const at = ebml.headBytes + ebml.size
  const segment = await elementAt(read, at, lengthBytes)
  if (segment?.id !== ids.segment) return null
  const start = at + segment.headBytes
  const end = segment.size === null ? lengthBytes : Math.min(lengthBytes, start + segment.size)

  const bodies = new Map<number, Buffer>()
  const wanted: readonly number[] = [ids.seekHead, ids.info, ids.tracks, ids.cues]
  const take = async (position: number): Promise<number | null> => {
    const element = await elementAt(read, position, end)
    if (element === null || element.id === ids.cluster || element.size === null) return null
    const bodyAt = position + element.headBytes
    if (wanted.includes(element.id) && !bodies.has(element.id) && element.size <= MAX_ELEMENT_BYTES && bodyAt + element.size <= end) bodies.set(element.id, await read(bodyAt, element.size))
    return bodyAt + element.size
  }
  let next: number | null = start
  for (let count = 0; count < MAX_ELEMENTS && next !== null && next < end && !wanted.every((id) => bodies.has(id)); count++) next = await take(next)
  for (const { id, body } of elements(bodies.get(ids.seekHead))) {
    if (id !== ids.seek) continue
    const target = number(body, ids.seekId)
    const position = number(body, ids.seekPosition)
    if (target !== null && position !== null && wanted.includes(target) && !bodies.has(target) && start + position < end) await take(start + position)
  }
  return timesIn(bodies.get(ids.cues), videoTrack(bodies.get(ids.tracks)), number(bodies.get(ids.info), ids.timestampScale) ?? 1_000_000)
}

function timesIn (cues: Buffer | undefined, track: number | null, nanosecondsPerTick: number): number[] | null {
  if (cues === undefined || track === null) return null
  const times = new Set<number>()
  for (const { id, body } of elements(cues)) {
    if (id !== ids.cuePoint) continue
    const time = number(body, ids.cueTime)
    const isOurs = [...elements(body)].some((each) => each.id === ids.cueTrackPositions && number(each.body, ids.cueTrack) === track)
    if (time !== null && isOurs) times.add(time * nanosecondsPerTick / 1e9)
  }
  return times.size === 0 ? null : [...times].sort((a, b) => a - b)
}

function videoTrack (tracks: Buffer | undefined): number | null {
  for (const { id, body } of elements(tracks)) if (id === ids.trackEntry && number(body, ids.trackType) === VIDEO) return number(body, ids.trackNumber)
  return null
}

async function elementAt (read: ReadAt, position: number, end: number): Promise<Element | null> {
  const length = Math.min(12, end - position)
  return length < 2 ? null : elementIn(await read(position, length), 0)
}

/** RFC 8794 sections 4 and 5. */
function elementIn (bytes: Buffer, at: number): Element | null {
  const idBytes = Math.clz32(bytes[at] ?? 0) - 23
  const sizeBytes = Math.clz32(bytes[at + idBytes] ?? 0) - 23
  if (idBytes > 4 || sizeBytes > 8 || at + idBytes + sizeBytes > bytes.length) return null
  let size = (bytes[at + idBytes] ?? 0) & (0xff >> sizeBytes)
  let isUnknown = size === 0xff >> sizeBytes
  for (let index = 1; index < sizeBytes; index++) {
    const byte = bytes[at + idBytes + index] ?? 0
    size = size * 256 + byte
    isUnknown &&= byte === 0xff
  }
  return { id: bytes.readUIntBE(at, idBytes), size: isUnknown ? null : size, headBytes: idBytes + sizeBytes }
}

function * elements (bytes: Buffer | undefined): Generator<{ id: number, body: Buffer }, void, void> {
  if (bytes === undefined) return
  for (let at = 0; at < bytes.length;) {
    const element = elementIn(bytes, at)
    if (element === null || element.size === null) return
    const start = at + element.headBytes
    at = start + element.size
    if (at > bytes.length) return
    yield { id: element.id, body: bytes.subarray(start, at) }
  }
}

function number (bytes: Buffer | undefined, id: number): number | null {
  const body = [...elements(bytes)].find((each) => each.id === id)?.body
  if (body === undefined || body.length === 0 || body.length > 8) return null
  const value = body.reduce((sum, byte) => sum * 256 + byte, 0)
  return Number.isSafeInteger(value) ? value : null
}
