/** The answers in the order of the items, at most `concurrency` of which are worked on at a time. */
export async function mapBounded<T, U> (items: readonly T[], concurrency: number, work: (item: T) => Promise<U>): Promise<U[]> {
  const results: U[] = []
  const queue = items.entries()
  const worker = async (): Promise<void> => {
    for (const [i, item] of queue) results[i] = await work(item)
  }
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, worker))
  return results
}
