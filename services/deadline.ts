/**
 * Settles as `promise` does, or rejects with the signal's reason as soon as that aborts: nobody waits for a promise
 * that never settles. The promise itself goes on; its late rejection is taken, so it cannot bring the process down.
 */
export async function abortable<T> (promise: Promise<T>, signal: AbortSignal): Promise<T> {
  promise.catch(() => {})
  signal.throwIfAborted()
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const onAbort = (): void => { reject(signal.reason) }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** Resolves after `ms` milliseconds, or rejects with the signal's reason when that aborts first. */
export async function pause (ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(() => { resolve() }, ms)
  try {
    await abortable(promise, signal)
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Runs the task with a signal that also follows `signal`, and aborts with what `late` gives once so many milliseconds are
 * over. It is up to the task to end then.
 */
export async function withTimeout<T> (ms: number, late: () => Error, signal: AbortSignal, task: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController()
  const timer = setTimeout(() => { stop.abort(late()) }, ms)
  try {
    return await task(AbortSignal.any([signal, stop.signal]))
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Runs the tasks side by side and settles as the first of them does; the others are aborted. Each gets a signal that
 * also follows `signal`.
 */
export async function race<T> (signal: AbortSignal, ...tasks: ReadonlyArray<(signal: AbortSignal) => Promise<T>>): Promise<T> {
  const stop = new AbortController()
  const both = AbortSignal.any([signal, stop.signal])
  const promises = tasks.map(async (task) => await task(both))
  for (const promise of promises) promise.catch(() => {})
  try {
    return await Promise.race(promises)
  } finally {
    stop.abort()
  }
}
