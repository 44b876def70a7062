/** Time as the server sees it, so that tests can simulate it. */
export interface Clock {
  /** Milliseconds that never go back. */
  now (): number
  /** Calls `then` once after `ms` milliseconds, unless the function that it returns was called before. */
  after (ms: number, then: () => void): () => void
}

export const steadyClock: Clock = {
  now: () => performance.now(),
  after (ms, then) {
    const timer = setTimeout(then, ms)
    return () => { clearTimeout(timer) }
  }
}

export const timeUp = Symbol('time is up')

/**
 * What the promise resolves with, or `timeUp` after `ms` milliseconds. Rejects as the promise does, or with the signal's
 * reason as soon as that aborts. The promise itself goes on; a late rejection is taken.
 */
export async function within<T> (promise: Promise<T>, ms: number, clock: Clock, signal: AbortSignal): Promise<T | typeof timeUp> {
  promise.catch(() => {})
  signal.throwIfAborted()
  const { promise: other, resolve, reject } = Promise.withResolvers<typeof timeUp>()
  const onAbort = (): void => { reject(signal.reason) }
  signal.addEventListener('abort', onAbort, { once: true })
  const cancel = clock.after(ms, () => { resolve(timeUp) })
  try {
    return await Promise.race([promise, other])
  } finally {
    cancel()
    signal.removeEventListener('abort', onAbort)
  }
}
