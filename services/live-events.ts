import { randomBytes } from 'node:crypto'

/** Who follows the events: a connection, seen from here. */
export interface EventClient {
  /** Bytes that were written and have not left this process. */
  readonly bufferedBytes: number
  write (bytes: Uint8Array): void
  /** Ends it; what was written may still arrive. */
  end (): void
  /** Ends it at once. */
  destroy (): void
}

export interface LiveEventsOptions {
  readonly heartbeatMs: number
  /** So many may follow at a time. */
  readonly maxClients?: number
  /** Who lets more than this wait is dropped: it comes back, and asks for what it missed. */
  readonly maxBufferedBytes?: number
  /** What is kept for those who come back: so many events, and so many bytes of them. */
  readonly keptEvents?: number
  readonly keptBytes?: number
}

export interface Following {
  /** Only the events of this torrent, and those of no torrent; null: all. */
  readonly infohash: string | null
  /** The last event that the client had; null: it has had none. */
  readonly lastEventId: string | null
}

export interface Published {
  readonly type: string
  /** null: it concerns no torrent in particular. */
  readonly infohash: string | null
  readonly data: object
  /** Of events with the same key the latest says everything: earlier ones are not kept. */
  readonly latestOf?: string
}

interface Event {
  readonly id: number
  readonly infohash: string | null
  readonly bytes: Buffer
}

const RETRY_MS = 2000
/** Nobody sees that an event comes so much later; with hundreds of clients and events a second it is most of the work. */
const GATHER_MS = 50
const heartbeat = Buffer.from(':\n\n')

/**
 * Events for clients that follow them (Server-Sent Events, HTML Living Standard section 9.2): each is serialised once
 * and kept for a while, so that a client that was cut off gets what it missed, or `reset` where that is gone. Nothing is
 * ever queued for a slow client beyond its bound.
 */
export class LiveEvents {
  /** Ids of another life of the server mean nothing in this one. */
  readonly #life = randomBytes(4).toString('hex')
  readonly #clients = new Map<EventClient, string | null>()
  /** In the order of their ids, by what they are the latest of. */
  readonly #kept = new Map<string, Event>()
  readonly #maxClients: number
  readonly #maxBufferedBytes: number
  readonly #keptEvents: number
  readonly #keptBytes: number
  readonly #heartbeatMs: number
  #bytesKept = 0
  #lastId = 0
  /** Of what was not superseded nothing before this one is kept. */
  #forgottenId = 0
  /** Published, and not sent yet: what happens at nearly the same time is one write for each client. */
  #pending: Event[] = []
  #gathering: NodeJS.Timeout | undefined
  #timer: NodeJS.Timeout | undefined
  #isClosed = false
  #dropped = 0

  constructor ({ heartbeatMs, maxClients = 500, maxBufferedBytes = 256 * 1024, keptEvents = 1000, keptBytes = 256 * 1024 }: LiveEventsOptions) {
    this.#heartbeatMs = heartbeatMs
    this.#maxClients = maxClients
    this.#maxBufferedBytes = maxBufferedBytes
    this.#keptEvents = keptEvents
    this.#keptBytes = keptBytes
  }

  /** How many follow. */
  get size (): number { return this.#clients.size }

  /** How many were dropped because they were too slow. */
  get dropped (): number { return this.#dropped }

  /** The id of the last event: who asks for what came after it misses nothing. */
  get lastEventId (): string { return this.#idOf(this.#lastId) }

  /** Tells all who follow. `data` becomes JSON, now. */
  publish ({ type, infohash, data, latestOf }: Published): void {
    if (this.#isClosed) return
    const id = ++this.#lastId
    const event: Event = { id, infohash, bytes: this.#frame(type, id, data) }
    this.#keep(latestOf ?? String(id), event)
    if (this.#clients.size === 0) return
    this.#pending.push(event)
    this.#gathering ??= setTimeout(() => { this.#flush() }, GATHER_MS)
  }

  /**
   * From now on the client gets what happens, after what it missed. Returns the function that ends that; null: there are
   * too many, or the server stops.
   */
  follow (client: EventClient, { infohash, lastEventId }: Following): (() => void) | null {
    if (this.#isClosed || this.#clients.size >= this.#maxClients) return null
    // What is pending is among what was kept: it would come twice.
    this.#flush()
    client.write(Buffer.concat([Buffer.from(`retry: ${RETRY_MS}\n\n`), ...this.#missed(infohash, lastEventId)]))
    this.#clients.set(client, infohash)
    this.#timer ??= setInterval(() => { this.#send(() => heartbeat) }, this.#heartbeatMs).unref()
    return () => { this.#forget(client) }
  }

  /** Ends everybody's. */
  close (): void {
    this.#flush()
    this.#isClosed = true
    for (const client of this.#clients.keys()) {
      // One that does not read would keep the server from stopping.
      if (client.bufferedBytes > 0) client.destroy()
      else client.end()
      this.#forget(client)
    }
  }

  #missed (infohash: string | null, lastEventId: string | null): Buffer[] {
    const now = { lastEventId: this.lastEventId }
    if (lastEventId === null) return [this.#frame('ready', this.#lastId, now)]
    const last = this.#numberOf(lastEventId)
    if (last === null || last < this.#forgottenId) return [this.#frame('reset', this.#lastId, now)]
    return [...this.#kept.values()].filter((event) => event.id > last && isFor(event, infohash)).map(({ bytes }) => bytes)
  }

  #keep (key: string, event: Event): void {
    this.#bytesKept += event.bytes.length - (this.#kept.get(key)?.bytes.length ?? 0)
    this.#kept.delete(key)
    this.#kept.set(key, event)
    for (const [oldest, { id, bytes }] of this.#kept) {
      if (this.#kept.size <= this.#keptEvents && this.#bytesKept <= this.#keptBytes) break
      this.#kept.delete(oldest)
      this.#bytesKept -= bytes.length
      this.#forgottenId = id
    }
  }

  #flush (): void {
    clearTimeout(this.#gathering)
    this.#gathering = undefined
    if (this.#pending.length === 0) return
    const events = this.#pending
    this.#pending = []
    const batches = new Map<string | null, Buffer | null>()
    this.#send((infohash) => {
      let batch = batches.get(infohash)
      if (batch === undefined) {
        const bytes = events.filter((event) => isFor(event, infohash)).map((event) => event.bytes)
        batch = bytes.length === 0 ? null : Buffer.concat(bytes)
        batches.set(infohash, batch)
      }
      return batch
    })
  }

  #send (bytesFor: (infohash: string | null) => Buffer | null): void {
    for (const [client, infohash] of this.#clients) {
      const bytes = bytesFor(infohash)
      if (bytes === null) continue
      if (client.bufferedBytes <= this.#maxBufferedBytes) {
        client.write(bytes)
      } else {
        this.#dropped++
        this.#forget(client)
        client.destroy()
      }
    }
  }

  #forget (client: EventClient): void {
    this.#clients.delete(client)
    if (this.#clients.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #frame (type: string, id: number, data: object): Buffer {
    return Buffer.from(`id: ${this.#idOf(id)}\nevent: ${type}\ndata: ${JSON.stringify(data)}\n\n`)
  }

  #idOf (id: number): string {
    return `${this.#life}-${id}`
  }

  /** null: it is none of ours. */
  #numberOf (lastEventId: string): number | null {
    const [, life, digits] = /^([0-9a-f]{8})-(\d{1,15})$/.exec(lastEventId) ?? []
    const id = Number(digits)
    return life === this.#life && id <= this.#lastId ? id : null
  }
}

function isFor (event: Event, infohash: string | null): boolean {
  return infohash === null || event.infohash === null || event.infohash === infohash
}
