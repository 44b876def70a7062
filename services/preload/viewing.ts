/** The last part of a file, of which it is counted what was read, and where in it the file counts as mostly read. */
const FROM = 0.8
const UNTIL = 0.9
const BUCKETS = 64
const LIMIT = 200

interface Viewed {
  /** Bytes that were read of each of the stretches that the last part is divided into; no more than it has. */
  readonly readBytes: Float64Array
  isTold: boolean
}

/** Counts what is read of one response. */
export interface Viewing {
  /** So many bytes from this one on were handed out. */
  read (position: number, bytes: number): void
}

/**
 * Notices when files were read to 90 %: a reader has passed that place, and half of the last fifth of the file was really
 * read, each byte counted once. So one that only seeks there, as players do for the index at the end, is none that nears
 * the end, and one that came in at the middle is. Remembers the latest 200 files.
 */
export class Viewings {
  readonly #viewed = new Map<string, Viewed>()

  /** `onMostlyRead` is called once for each file, whichever of its responses it was. */
  begin (key: string, lengthBytes: number, onMostlyRead: () => void): Viewing {
    const viewed = this.#viewed.get(key) ?? { readBytes: new Float64Array(BUCKETS), isTold: false }
    this.#viewed.delete(key)
    this.#viewed.set(key, viewed)
    const [oldest] = this.#viewed.keys()
    if (oldest !== undefined && this.#viewed.size > LIMIT) this.#viewed.delete(oldest)
    return {
      read: (position, bytes) => {
        if (viewed.isTold) return
        count(viewed, lengthBytes, position, position + bytes)
        if (position + bytes < lengthBytes * UNTIL) return
        const readBytes = viewed.readBytes.reduce((sum, each) => sum + each, 0)
        if (readBytes < lengthBytes * (UNTIL - FROM)) return
        viewed.isTold = true
        onMostlyRead()
      }
    }
  }
}

function count ({ readBytes }: Viewed, lengthBytes: number, start: number, end: number): void {
  const first = lengthBytes * FROM
  const bucketBytes = (lengthBytes - first) / BUCKETS
  if (end <= first || bucketBytes === 0) return
  const from = Math.max(start, first)
  for (let bucket = Math.floor((from - first) / bucketBytes); bucket < BUCKETS; bucket++) {
    const begin = first + bucket * bucketBytes
    if (begin >= end) return
    const bytes = Math.min(end, begin + bucketBytes) - Math.max(from, begin)
    readBytes[bucket] = Math.min(bucketBytes, (readBytes[bucket] ?? 0) + bytes)
  }
}

/** The chunks as they come; each is told with the byte that it begins at. */
export function counted (chunks: AsyncIterable<Uint8Array>, start: number, viewing: Viewing): AsyncIterable<Uint8Array> {
  return {
    [Symbol.asyncIterator] () {
      const iterator = chunks[Symbol.asyncIterator]()
      let position = start
      // No generator: that would keep a return() waiting behind a next() that waits for a piece.
      return {
        async next () {
          const result = await iterator.next()
          if (result.done === true) return result
          viewing.read(position, result.value.length)
          position += result.value.length
          return result
        },
        async return () {
          return await iterator.return?.() ?? { done: true, value: undefined }
        }
      }
    }
  }
}
