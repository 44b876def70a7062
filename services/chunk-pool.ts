/**
 * Buffers of 1 MiB for streaming, used again. Each new one counts as memory outside the heap, and V8 answers every 50 MB
 * or so of that with a collection of the whole heap: at gigabytes a second those cost more than all the copying.
 */
export const maxChunkBytes = 1024 * 1024

/** What is kept for the next reader, 16 MiB; beyond that the garbage collector has it. */
const keptChunks = 16

const free: ArrayBufferLike[] = []
const taken = new WeakSet<ArrayBufferLike>()

/** A buffer of this length, at most 1 MiB, with anything in it. It may be recycled, and need not be. */
export function takeChunk (lengthBytes: number): Buffer {
  if (lengthBytes > maxChunkBytes) throw new RangeError(`a chunk has at most ${maxChunkBytes} bytes`)
  const kept = free.pop()
  if (kept === undefined && lengthBytes < maxChunkBytes) return Buffer.allocUnsafeSlow(lengthBytes)
  const memory = kept ?? Buffer.allocUnsafeSlow(maxChunkBytes).buffer
  taken.add(memory)
  return Buffer.from(memory, 0, lengthBytes)
}

/**
 * Gives a chunk back, when nobody will look at it again: for a response, once the socket has taken it (the callback of
 * `write`). Only its last owner may. Whatever is no chunk of ours, or was given back before, is left alone.
 */
export function recycleChunk (chunk: Uint8Array): void {
  const memory = chunk.buffer
  if (taken.delete(memory) && free.length < keptChunks) free.push(memory)
}

/**
 * Frees the memory of a chunk that came from a socket and was copied elsewhere, at once instead of with the next
 * collection, which at hundreds of megabytes a second would always be under way. Only its last owner may; the chunk is
 * empty afterwards. One that shares its memory, with whatever came right before or after it, is left alone.
 */
export function freeChunk ({ buffer, length }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === length) buffer.transfer(0)
}
