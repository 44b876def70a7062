import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { CodedError } from '../errors.ts'

interface Entry {
  readonly path: string
  readonly handle: Promise<FileHandle>
  users: number
  isRetired: boolean
}

/**
 * File handles that are kept open between uses, at most `limit` at a time: the least recently used idle one is closed
 * for a new one, and when all are busy the next user waits. Nobody may use a second handle while it holds one, or
 * `limit` of them would wait for each other.
 */
export class HandlePool {
  readonly #limit: number
  /** In order of last use: a Map keeps the order of insertion, and each use inserts anew. */
  readonly #entries = new Map<string, Entry>()
  readonly #waiting: Array<() => void> = []
  readonly #idle: Array<() => void> = []
  readonly #closing = new Set<Promise<void>>()
  #openCount = 0
  #users = 0
  #isClosed = false

  constructor (limit = 64) {
    this.#limit = limit
  }

  /** Handles that are open now, or being opened or closed. */
  get size (): number {
    return this.#openCount
  }

  /**
   * Calls `work` with the handle of an existing file, open for reading and writing, and keeps the handle for the next.
   * Throws what open() and `work` throw, STORE_CLOSED after close().
   */
  async use<T> (path: string, work: (handle: FileHandle) => Promise<T>): Promise<T> {
    this.#enter()
    try {
      const entry = await this.#acquire(path)
      try {
        return await work(await entry.handle)
      } finally {
        await this.#release(entry)
      }
    } finally {
      this.#leave()
    }
  }

  /** Calls `work` with a handle opened with these flags, and closes it afterwards. For files that are used once. */
  async once<T> (path: string, flags: string, work: (handle: FileHandle) => Promise<T>): Promise<T> {
    this.#enter()
    try {
      await this.#slot()
      try {
        const handle = await open(path, flags)
        try {
          return await work(handle)
        } finally {
          await handle.close()
        }
      } finally {
        this.#freeSlot()
      }
    } finally {
      this.#leave()
    }
  }

  /** Forgets a path that has vanished; its handle is closed when nobody uses it any more. */
  retire (path: string): void {
    const entry = this.#entries.get(path)
    if (entry !== undefined) this.#retire(entry)
  }

  /** The paths whose handles are kept. */
  paths (): string[] {
    return [...this.#entries.keys()]
  }

  /** Waits for what is under way, then closes every handle. */
  async close (): Promise<void> {
    this.#isClosed = true
    if (this.#users > 0) await new Promise<void>(resolve => this.#idle.push(resolve))
    for (const entry of [...this.#entries.values()]) this.#retire(entry)
    await Promise.all(this.#closing)
  }

  #enter (): void {
    if (this.#isClosed) throw new CodedError('STORE_CLOSED', 'the store was closed')
    this.#users++
  }

  #leave (): void {
    this.#users--
    if (this.#users === 0) for (const resolve of this.#idle.splice(0)) resolve()
  }

  async #acquire (path: string): Promise<Entry> {
    for (;;) {
      const known = this.#entries.get(path)
      if (known !== undefined) {
        known.users++
        this.#entries.delete(path)
        this.#entries.set(path, known)
        return known
      }
      await this.#slot()
      if (this.#entries.has(path)) {
        // Another user opened it while this one waited for the slot.
        this.#freeSlot()
        continue
      }
      const entry: Entry = { path, handle: open(path, 'r+'), users: 1, isRetired: false }
      // A handle that could not be opened must not be what the next user finds.
      entry.handle.catch(() => this.#retire(entry))
      this.#entries.set(path, entry)
      return entry
    }
  }

  async #release (entry: Entry): Promise<void> {
    entry.users--
    if (entry.users > 0) return
    if (entry.isRetired) await this.#shut(entry)
    else if (this.#waiting.length > 0) this.#retire(entry)
  }

  #retire (entry: Entry): void {
    if (entry.isRetired) return
    entry.isRetired = true
    if (this.#entries.get(entry.path) === entry) this.#entries.delete(entry.path)
    if (entry.users > 0) return
    // What was written is made safe by sync(), not by the close of a handle: its failure tells nothing new.
    const closing = this.#shut(entry).catch(() => {}).finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }

  async #shut (entry: Entry): Promise<void> {
    try {
      const handle = await entry.handle.catch(() => null)
      await handle?.close()
    } finally {
      this.#freeSlot()
    }
  }

  /** Waits until one more handle may be open, and counts it. */
  async #slot (): Promise<void> {
    if (this.#openCount < this.#limit) {
      this.#openCount++
      return
    }
    const oldest = [...this.#entries.values()].find(entry => entry.users === 0)
    const granted = new Promise<void>(resolve => this.#waiting.push(resolve))
    if (oldest !== undefined) this.#retire(oldest)
    await granted
  }

  #freeSlot (): void {
    // The slot goes from hand to hand, so that nobody who comes later takes it from the one who waited.
    const next = this.#waiting.shift()
    if (next !== undefined) next()
    else this.#openCount--
  }
}
