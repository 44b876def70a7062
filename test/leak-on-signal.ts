import { basename } from 'node:path'

/**
 * Loaded into the swarm's process before its own code (NODE_OPTIONS=--import …): from a signal on it leaks, in small steps, so
 * that it goes on to work and to answer. SIGUSR2: JavaScript objects, until its heap is full. SIGWINCH: memory outside the
 * heap, which has no limit of its own; up to 600 MB, for it is real.
 */
if (basename(process.argv[1] ?? '') === 'host.ts') {
  const leaked: unknown[] = []
  process.once('SIGUSR2', () => {
    setInterval(() => { leaked.push(Array.from({ length: 100_000 }, (_, i) => ({ i }))) }, 20)
  })
  process.once('SIGWINCH', () => {
    setInterval(() => { if (process.memoryUsage.rss() < 600e6) leaked.push(Buffer.alloc(8_000_000, 1)) }, 50)
  })
}
