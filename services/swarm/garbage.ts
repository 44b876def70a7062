import { getHeapStatistics, setFlagsFromString } from 'node:v8'

/** As V8 counts, 192 MiB more than the old objects may take. A process with a smaller heap has no memory to spare for garbage. */
const leastHeapBytes = 384 * 1024 * 1024

/**
 * Lets buffers count as part of the heap, whose limit is then that of both: they stay below twice of it. By itself V8
 * collects everything once 32 MiB of them were given out, dead or not, and a peer sends that in a fraction of a second: it
 * was a third of the CPU that a fast download took. A V8 that does not know the flag says so on stderr, and goes on.
 *
 * @returns whether there is memory for it.
 */
export function collectBuffersWithHeap (): boolean {
  if (getHeapStatistics().heap_size_limit < leastHeapBytes) return false
  setFlagsFromString('--external-memory-accounted-in-global-limit')
  return true
}
