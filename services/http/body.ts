import { CodedError } from '../errors.ts'
import type { ByteRange } from '../pieces/geometry.ts'

/** What a response's body is made of: `head` and then the bytes of `range` for each part, `tail` at the end. */
export interface ResponseBody {
  readonly parts: ReadonlyArray<{ readonly head: Buffer, readonly range: ByteRange }>
  readonly tail: Buffer
  /** Heads, ranges and tail together: the Content-Length. */
  readonly lengthBytes: number
}

/**
 * The bytes of a body, exactly as many as it promised. `read` gives the bytes of one range; it is called when the range
 * is due, and whatever it waits for is bounded by its own signal. A range that ends early throws SOURCE_FAILED, so that
 * the socket is destroyed and a player asks again, rather than takes half a file for the whole; one that gives more
 * is cut and returned. Returning or throwing into the iteration returns the iterator of the range at once, also while
 * it is being waited for.
 */
export function streamBody (
  body: ResponseBody, read: (range: ByteRange) => AsyncIterable<Uint8Array>
): AsyncGenerator<Uint8Array, void, void> {
  let current: RangeIterator | null = null
  let isLeft = false

  async function * chunks (): AsyncGenerator<Uint8Array, void, void> {
    for (const { head, range } of body.parts) {
      if (head.length > 0) yield head
      let missing = range.end - range.start + 1
      current = new RangeIterator(read(range))
      for await (const chunk of current) {
        if (isLeft) return
        const bytes = chunk.length > missing ? chunk.subarray(0, missing) : chunk
        missing -= bytes.length
        if (bytes.length > 0) yield bytes
        if (missing === 0) break
      }
      if (isLeft) return
      if (missing > 0) throw new CodedError('SOURCE_FAILED', `bytes ${range.start}-${range.end} ended ${missing} bytes early`)
      current = null
    }
    if (body.tail.length > 0) yield body.tail
  }

  const stream = chunks()
  // A generator queues return() behind a next() that still waits for a piece, and the range would go on for nobody
  const leave = () => {
    isLeft = true
    current?.return().catch(() => {}) // the generator's own return() of the range reports it
  }
  return {
    next: () => stream.next(),
    return: async () => { leave(); return await stream.return() },
    throw: async (error) => { leave(); return await stream.throw(error) },
    async [Symbol.asyncDispose] () { await this.return() },
    [Symbol.asyncIterator] () { return this }
  }
}

/** One range's iterator, returned once however many ask for it. */
class RangeIterator implements AsyncIterableIterator<Uint8Array> {
  readonly #iterator: AsyncIterator<Uint8Array>
  #returned: Promise<IteratorResult<Uint8Array>> | undefined

  constructor (iterable: AsyncIterable<Uint8Array>) {
    this.#iterator = iterable[Symbol.asyncIterator]()
  }

  next (): Promise<IteratorResult<Uint8Array>> {
    return this.#iterator.next()
  }

  return (): Promise<IteratorResult<Uint8Array>> {
    this.#returned ??= this.#iterator.return?.() ?? Promise.resolve({ done: true, value: undefined })
    return this.#returned
  }

  [Symbol.asyncIterator] (): this {
    return this
  }
}
