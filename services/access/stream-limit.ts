/** How many streams there may be at a time, of one client and in all; null: as many as come. */
export class StreamLimit {
  readonly #perClient: number | null
  readonly #inAll: number | null
  readonly #clients = new Map<string, number>()
  #open = 0

  constructor ({ perClient, inAll }: { readonly perClient: number | null, readonly inAll: number | null }) {
    this.#perClient = perClient
    this.#inAll = inAll
  }

  get open (): number { return this.#open }

  /** Takes a place; call what it returns, once, when the stream is over. `client` null: one whose streams are not counted, but in all. */
  enter (client: string | null): 'client' | 'all' | (() => void) {
    if (this.#inAll !== null && this.#open >= this.#inAll) return 'all'
    const own = client === null ? 0 : this.#clients.get(client) ?? 0
    if (client !== null && this.#perClient !== null && own >= this.#perClient) return 'client'
    this.#open++
    if (client !== null) this.#clients.set(client, own + 1)
    return () => {
      this.#open--
      if (client === null) return
      const left = (this.#clients.get(client) ?? 1) - 1
      if (left === 0) this.#clients.delete(client)
      else this.#clients.set(client, left)
    }
  }
}
