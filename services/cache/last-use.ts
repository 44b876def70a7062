import { join } from 'node:path'
import { StateRecord } from '../state-record.ts'
import type { Fields } from '../state-record.ts'
import { stateFolder } from './stored-files.ts'
import type { CacheListener } from '../events.ts'
import type { Log } from '../log.ts'

/** Where readers say that they stream: what is read here is not evicted, and goes last afterwards. */
export interface StreamUse {
  /** A reader of this file begins; `fileIndex` null: nobody knows which of the torrent's files it is. */
  begin (infohash: string, fileIndex: number | null): Reading
}

/** One reader, from its begin to its end. */
export interface Reading {
  /** It took bytes. Costs next to nothing. */
  touch (): void
  /** It took no byte for so long that it keeps its socket, but not its claim on the disk. */
  readonly isStalled: boolean
  /** Ending twice does nothing more. */
  end (): void
}

/** For tests and tools that evict nothing. */
export const untracked: StreamUse = { begin: () => ({ touch () {}, isStalled: false, end () {} }) }

/** Passes the chunks of a reader on, and says so. */
export async function * tracked<T> (reading: Reading, chunks: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    for await (const chunk of chunks) {
      reading.touch()
      yield chunk
      // It asks for the next one: the last one was taken only now.
      reading.touch()
    }
  } finally {
    reading.end()
  }
}

export interface LastUseOptions {
  /** The download directory. */
  readonly directory: string
  readonly log: Log
  /** Nothing is written: what is streamed now is forgotten with the process. */
  readonly isReadOnly?: boolean
  readonly onChange?: CacheListener
  /** Milliseconds since 1970. */
  readonly now?: () => number
}

/** A reader that took no byte for so long has no claim any more. */
const stalledAfterMs = 120_000
const saveDelayMs = 5000
const formatVersion = 1

interface Streamed {
  at: number
}

/**
 * When bytes were last streamed, for each file, and which torrents are pinned. Kept in `.self-streme/last-use.json`,
 * written some seconds after a change and at close: a crash forgets the last seconds, never the rest.
 */
export class LastUse implements StreamUse {
  readonly #record: StateRecord
  readonly #log: Log
  readonly #isReadOnly: boolean
  readonly #onChange: CacheListener
  readonly #now: () => number
  /** By infohash, then by file index (or `?`). */
  readonly #streamed = new Map<string, Map<string, Streamed>>()
  readonly #readings = new Map<string, Set<{ readonly fileIndex: number | null, readonly reading: Reading }>>()
  readonly #pinned = new Set<string>()
  #isDirty = false
  #timer: NodeJS.Timeout | null = null
  #writing: Promise<void> = Promise.resolve()

  private constructor ({ directory, log, isReadOnly = false, onChange = () => {}, now = Date.now }: LastUseOptions) {
    this.#record = new StateRecord({
      path: join(directory, stateFolder, 'last-use.json'),
      version: formatVersion,
      title: 'record of what was streamed when',
      without: 'it is begun anew, without pins',
      isReadOnly,
      log
    })
    this.#log = log
    this.#isReadOnly = isReadOnly
    this.#onChange = onChange
    this.#now = now
  }

  /** Reads the record. Never fails: one that cannot be understood is put aside, and begun anew. */
  static async open (options: LastUseOptions): Promise<LastUse> {
    const lastUse = new LastUse(options)
    await lastUse.#load()
    return lastUse
  }

  begin (infohash: string, fileIndex: number | null): Reading {
    const streamed = this.#streamedOf(infohash, fileIndex)
    const now = this.#now
    const changed = (): void => { this.#saveLater() }
    let takenAt = now()
    const reading: Reading = {
      touch () {
        takenAt = now()
        streamed.at = Math.max(streamed.at, takenAt)
        changed()
      },
      get isStalled () { return now() - takenAt >= stalledAfterMs },
      end: () => {
        const readings = this.#readings.get(infohash)
        if (readings?.delete(entry) === true && readings.size === 0) this.#readings.delete(infohash)
      }
    }
    const entry = { fileIndex, reading }
    const readings = this.#readings.get(infohash) ?? new Set()
    readings.add(entry)
    this.#readings.set(infohash, readings)
    return reading
  }

  /** Is it being streamed? Without an index: any of the torrent's files. A reader of nobody-knows-which counts for each. */
  isStreaming (infohash: string, fileIndex?: number): boolean {
    const readings = this.#readings.get(infohash) ?? []
    for (const { fileIndex: index, reading } of readings) {
      if (!reading.isStalled && (fileIndex === undefined || index === null || index === fileIndex)) return true
    }
    return false
  }

  /** When bytes of the file, or without an index of any of the torrent's, were last streamed; milliseconds since 1970, null: never. */
  at (infohash: string, fileIndex?: number): number | null {
    const files = this.#streamed.get(infohash)
    if (files === undefined) return null
    const times = fileIndex === undefined ? [...files.values()] : [files.get(keyOf(fileIndex))].filter((time) => time !== undefined)
    const latest = Math.max(0, ...times.map(({ at }) => at))
    return latest === 0 ? null : latest
  }

  isPinned (infohash: string): boolean {
    return this.#pinned.has(infohash)
  }

  /** Resolves when it is on the disk. Throws what the file system says. */
  async pin (infohash: string): Promise<void> {
    const isNew = !this.#pinned.has(infohash)
    this.#pinned.add(infohash)
    if (isNew) this.#onChange(infohash, null, 'pinned')
    await this.#saveNow()
  }

  /** Resolves when it is on the disk. Throws what the file system says. */
  async unpin (infohash: string): Promise<void> {
    if (!this.#pinned.delete(infohash)) return
    this.#onChange(infohash, null, 'unpinned')
    await this.#saveNow()
  }

  /** Forgets everything about torrents that `isKnown` denies; not what is pinned or read now. */
  prune (isKnown: (infohash: string) => boolean): void {
    for (const infohash of this.#streamed.keys()) {
      if (isKnown(infohash) || this.#pinned.has(infohash) || this.#readings.has(infohash)) continue
      this.#streamed.delete(infohash)
      this.#saveLater()
    }
  }

  /** Writes what is not written yet. */
  async close (): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    if (this.#isDirty) await this.#save()
    await this.#writing
  }

  #streamedOf (infohash: string, fileIndex: number | null): Streamed {
    const files = this.#streamed.get(infohash) ?? new Map<string, Streamed>()
    this.#streamed.set(infohash, files)
    const streamed = files.get(keyOf(fileIndex)) ?? { at: 0 }
    files.set(keyOf(fileIndex), streamed)
    return streamed
  }

  async #load (): Promise<void> {
    for (const fields of await this.#record.read()) {
      const record = parseRecord(fields)
      if (record === null) {
        await this.#record.putAside(new Error('it has no lists'))
        continue
      }
      for (const infohash of record.pinned) this.#pinned.add(infohash)
      for (const { infohash, fileIndex, at } of record.streamed) {
        const streamed = this.#streamedOf(infohash, fileIndex)
        streamed.at = Math.max(streamed.at, at)
      }
    }
  }

  #saveLater (): void {
    this.#isDirty = true
    if (this.#timer !== null || this.#isReadOnly) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      void this.#save()
    }, saveDelayMs)
    this.#timer.unref()
  }

  /** Never rejects: the next change tries again. */
  async #save (): Promise<void> {
    await this.#saveNow().catch((error: unknown) => {
      this.#log.warn({ path: this.#record.path, err: error }, 'the record of what was streamed when cannot be written')
    })
  }

  /** One at a time, each with all that was known when it began. */
  #saveNow (): Promise<void> {
    if (this.#isReadOnly) return Promise.resolve()
    const write = this.#writing.then(async () => {
      this.#isDirty = false
      const streamed = [...this.#streamed].flatMap(([infohash, files]) =>
        [...files].filter(([, { at }]) => at > 0).map(([key, { at }]) => ({ infohash, fileIndex: key === unknownIndex ? null : Number(key), at })))
      await this.#record.write({ pinned: [...this.#pinned], streamed })
    })
    this.#writing = write.catch(() => { this.#isDirty = true })
    return write
  }
}

const unknownIndex = '?'

function keyOf (fileIndex: number | null): string {
  return fileIndex === null ? unknownIndex : String(fileIndex)
}

interface LastUseRecord {
  readonly pinned: string[]
  readonly streamed: Array<{ infohash: string, fileIndex: number | null, at: number }>
}

function parseRecord ({ pinned, streamed }: Fields): LastUseRecord | null {
  if (!Array.isArray(pinned) || !Array.isArray(streamed)) return null
  return { pinned: pinned.filter(isInfohash), streamed: streamed.flatMap(parseStreamed) }
}

function parseStreamed (value: unknown): LastUseRecord['streamed'] {
  if (typeof value !== 'object' || value === null) return []
  const { infohash, fileIndex, at }: { infohash?: unknown, fileIndex?: unknown, at?: unknown } = value
  if (!isInfohash(infohash) || typeof at !== 'number' || !Number.isFinite(at)) return []
  if (fileIndex !== null && (typeof fileIndex !== 'number' || !Number.isSafeInteger(fileIndex) || fileIndex < 0)) return []
  return [{ infohash, fileIndex, at }]
}

function isInfohash (value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{40}$/.test(value)
}
