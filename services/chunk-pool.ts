import { memoryBudget, memoryLimits } from './memory-budget.ts'

/**
 * Buffers of up to 1 MiB for streaming, used again. Each new one counts as memory outside the heap, and V8 answers every
 * 50 MB or so of that with a collection of the whole heap: at gigabytes a second those cost more than all the copying.
 *
 * 1 MiB a read moved about twice the bytes that Node's default of 64 KiB did, and kept up with sendfile. But a response
 * holds a buffer while its client takes it, a paused player's for hours: so they are smaller when there are many.
 */
export const maxChunkBytes = 1024 * 1024
const minChunkBytes = 64 * 1024

/** What is kept of each size for the next reader; beyond that the garbage collector has it. */
const keptBytes = 16 * maxChunkBytes

const { readerBytes } = memoryBudget(memoryLimits())
/** By size: the powers of two from the least to the most. */
const free = new Map<number, ArrayBufferLike[]>()
for (let size = minChunkBytes; size <= maxChunkBytes; size *= 2) free.set(size, [])
const taken = new WeakSet<ArrayBufferLike>()
let readers = 0

/** A response begins, which will hold a chunk; gives what to call when it has ended. Twice does nothing more. */
export function beginResponse (): () => void {
  let isOver = false
  readers++
  return () => {
    if (!isOver) readers--
    isOver = true
  }
}

/** How many bytes a response should ask for at a time, with as many of them as there are now: 64 KiB to 1 MiB. */
export function chunkBytesNow (): number {
  let size = maxChunkBytes
  while (size > minChunkBytes && size * readers > readerBytes) size /= 2
  return size
}

/** A buffer of this length, at most 1 MiB, with anything in it. It may be recycled, and need not be. */
export function takeChunk (lengthBytes: number): Buffer {
  if (lengthBytes > maxChunkBytes) throw new RangeError(`a chunk has at most ${maxChunkBytes} bytes`)
  let size = minChunkBytes
  while (size < lengthBytes) size *= 2
  const kept = free.get(size)?.pop()
  // What is no whole chunk is a file's end, or a small range: it comes once.
  if (kept === undefined && lengthBytes < size) return Buffer.allocUnsafeSlow(lengthBytes)
  const memory = kept ?? Buffer.allocUnsafeSlow(size).buffer
  taken.add(memory)
  return Buffer.from(memory, 0, lengthBytes)
}

/**
 * Gives a chunk back, when nobody will look at it again: for a response, once the socket has taken it (the callback of
 * `write`). Only its last owner may. Whatever is no chunk of ours, or was given back before, is left alone.
 */
export function recycleChunk (chunk: Uint8Array): void {
  const memory = chunk.buffer
  const list = free.get(memory.byteLength)
  if (taken.delete(memory) && list !== undefined && list.length < keptBytes / memory.byteLength) list.push(memory)
}

/**
 * Frees the memory of a chunk that came from a socket and was copied elsewhere, at once instead of with the next
 * collection, which at hundreds of megabytes a second would always be under way. Only its last owner may; the chunk is
 * empty afterwards. One that shares its memory, with whatever came right before or after it, is left alone.
 */
export function freeChunk ({ buffer, length }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === length) buffer.transfer(0)
}
