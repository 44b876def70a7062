/** Items under each infohash of theirs. */
export class ByInfohash<T> {
  readonly #items = new Map<string, Set<T>>()

  /** The items with this infohash, in lower case, in the order in which they were added. */
  get (infohash: string): T[] {
    return [...this.#items.get(infohash) ?? []]
  }

  add (infohashes: Iterable<string>, item: T): void {
    for (const infohash of infohashes) {
      const items = this.#items.get(infohash)
      if (items === undefined) this.#items.set(infohash, new Set([item]))
      else items.add(item)
    }
  }

  delete (infohashes: Iterable<string>, item: T): void {
    for (const infohash of infohashes) {
      const items = this.#items.get(infohash)
      items?.delete(item)
      if (items?.size === 0) this.#items.delete(infohash)
    }
  }
}

/** All strings of 40 hexadecimal digits in the text, in lower case; in a longer run each of those that it contains. */
export function infohashesIn (text: string): string[] {
  return [...text.matchAll(/[0-9a-f]{40,}/gi)].flatMap(([run]) => {
    const digits = run.toLowerCase()
    return Array.from({ length: digits.length - 39 }, (_, i) => digits.slice(i, i + 40))
  })
}
