import { totalmem } from 'node:os'

/** What the machine, or whoever runs us, gives us. */
export interface MemoryLimits {
  /** SERVER_MEMORY, as panels set it: megabytes, `0` for no limit. */
  readonly serverMemory: string | undefined
  /** The limit of the control group, in bytes; 0, or more than the machine has: none. */
  readonly constrainedBytes: number
  readonly machineBytes: number
}

/** How much of it each part may take. Bytes of pieces are outside the JavaScript heaps. */
export interface MemoryBudget {
  /** Both processes together stay below this. */
  readonly totalBytes: number
  /** `--max-old-space-size` of the server, in MiB. */
  readonly serverHeapMb: number
  /** The same of the swarm's process. */
  readonly swarmHeapMb: number
  /** Pieces that the swarm's process receives at a time, over all torrents; one at least, whatever it takes. */
  readonly piecesInFlightBytes: number
  /** The same for all downloads over HTTP together. */
  readonly downloadBytes: number
  /** Chunks that responses hold until their clients have taken them. */
  readonly readerBytes: number
}

const bytesPerMb = 1_000_000
const mebibyte = 1024 * 1024

/** Two processes that do nothing: 75 MB and 90 MB for the bare frameworks, and what is built on them. */
const idleBytes = 200 * bytesPerMb
/**
 * What a byte of a piece costs while it is received: the blocks, the whole that they are joined to, and what the garbage
 * collector has not seen to yet.
 */
const costInFlight = 2.5
const costInDownload = 2
/** Beyond this more pieces in flight bring nothing. */
const mostBytes = 256 * mebibyte

/**
 * For the environment of a process that is about to start: glibc gives large buffers back as soon as they are freed (by
 * itself it keeps ever larger ones, once one was freed), and has few arenas to spread the small ones over. What is set
 * already stays.
 */
export const allocatorSettings = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: String(2 * mebibyte), MALLOC_TRIM_THRESHOLD_: String(16 * mebibyte) } as const

/**
 * What the swarm's process may take at most, in bytes, with a JavaScript heap of so many MiB and so many bytes of pieces in
 * flight; half as much again as it ever needs. Beyond that something leaks, outside the heap's own limit.
 */
export function swarmMemoryLimit (heapMb: number, piecesInFlightBytes: number): number {
  return 1.5 * (idleBytes / 2 + heapMb * mebibyte + costInFlight * piecesInFlightBytes)
}

/** The limits that hold for this process. */
export function memoryLimits (env: NodeJS.ProcessEnv = process.env): MemoryLimits {
  return { serverMemory: env.SERVER_MEMORY, constrainedBytes: process.constrainedMemory(), machineBytes: totalmem() }
}

/**
 * Divides the least of the limits. What the two processes need to run at all comes first; of the rest half goes to the
 * swarm's pieces, a fifth to downloads over HTTP and a seventh to responses; the heaps' growth and the page cache's
 * bookkeeping have what is left.
 */
export function memoryBudget ({ serverMemory, constrainedBytes, machineBytes }: MemoryLimits): MemoryBudget {
  const given = /^\d+$/.test(serverMemory?.trim() ?? '') ? Number(serverMemory) * bytesPerMb : 0
  const totalBytes = Math.min(machineBytes, ...[given, constrainedBytes].filter((bytes) => bytes > 0))
  const restBytes = Math.max(0, totalBytes - idleBytes)
  const share = (part: number, cost: number): number => Math.floor(clamp(restBytes * part / cost, 4 * mebibyte, mostBytes))
  const heapMb = Math.floor(totalBytes / 4 / mebibyte)
  return {
    totalBytes,
    serverHeapMb: clamp(heapMb, 96, 2048),
    swarmHeapMb: clamp(heapMb, 96, 512),
    piecesInFlightBytes: share(0.5, costInFlight),
    downloadBytes: share(0.2, costInDownload),
    readerBytes: Math.floor(clamp(restBytes * 0.15, 16 * mebibyte, 64 * mebibyte))
  }
}

function clamp (value: number, least: number, most: number): number {
  return Math.max(least, Math.min(most, value))
}
