/**
 * `work` as a function that runs one at a time: who calls while a run is under way shares the next one, which begins
 * when that has ended. So each caller gets a run that began after its call, and no crowd of callers costs more than two.
 */
export function coalesce<T> (work: () => Promise<T>): () => Promise<T> {
  let running: Promise<unknown> = Promise.resolve()
  let next: Promise<T> | null = null
  return () => {
    next ??= running.then(() => {
      next = null
      const run = work()
      running = run.catch(() => { /* it was told to whoever asked for it */ })
      return run
    })
    return next
  }
}
