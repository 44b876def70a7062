import { join } from 'node:path'
import { stateFolder } from '../cache/stored-files.ts'
import { coalesce } from '../coalesce.ts'
import { asCoded } from '../errors.ts'
import { StateRecord } from '../state-record.ts'
import type { Log } from '../log.ts'
import type { Hints } from './torrent.ts'

/** A torrent that somebody added, and what was said with it. */
export interface AddedTorrent {
  readonly infohash: string
  /** ISO 8601. */
  readonly addedAt: string
  readonly hints: Hints
  /** It was downloaded to the end. What went since, to make room or by hand, is not fetched again unless somebody asks. */
  readonly isDone: boolean
}

const FORMAT_VERSION = 1

/** The record of added torrents, `.self-streme/added.json`, in the order in which they were added. */
export class AddedTorrents {
  readonly #record: StateRecord
  readonly #entries = new Map<string, AddedTorrent>()
  readonly #write = coalesce(async () => { await this.#record.write({ added: [...this.#entries.values()] }) })

  private constructor (record: StateRecord) {
    this.#record = record
  }

  /**
   * Reads the record. Never fails: one that cannot be understood is put aside with a warning (read-only: left where it
   * is), what can be is kept.
   */
  static async open (directory: string, log: Log, { isReadOnly = false } = {}): Promise<AddedTorrents> {
    const record = new StateRecord({
      path: join(directory, stateFolder, 'added.json'),
      version: FORMAT_VERSION,
      title: 'list of added torrents',
      without: 'what cannot be read of it is not listed, and not downloaded by itself',
      isReadOnly,
      log
    })
    const added = new AddedTorrents(record)
    let rejected = 0
    for (const { added: list } of await record.read()) {
      for (const entry of Array.isArray(list) ? list.map(parseEntry) : [null]) {
        if (entry === null) rejected++
        else added.#entries.set(entry.infohash, entry)
      }
    }
    if (rejected > 0) await record.putAside(new Error(`${rejected} entries make no sense`))
    return added
  }

  get size (): number { return this.#entries.size }

  get (infohash: string): AddedTorrent | undefined {
    return this.#entries.get(infohash)
  }

  list (): AddedTorrent[] {
    return [...this.#entries.values()]
  }

  /** Takes the torrent in. Throws STORE_FAILED when that cannot be written; then nothing has changed. */
  async add (entry: AddedTorrent): Promise<void> {
    const before = this.#entries.get(entry.infohash)
    this.#entries.set(entry.infohash, entry)
    try {
      await this.#write()
    } catch (error) {
      if (this.#entries.get(entry.infohash) === entry) {
        if (before === undefined) this.#entries.delete(entry.infohash)
        else this.#entries.set(entry.infohash, before)
      }
      throw asCoded(error, 'STORE_FAILED')
    }
  }

  /** Notes that what was asked for with this entry is there; one that was replaced meanwhile stays as it is. Throws STORE_FAILED when that cannot be written. */
  async finish (entry: AddedTorrent): Promise<void> {
    if (this.#entries.get(entry.infohash) !== entry) return
    this.#entries.set(entry.infohash, { ...entry, isDone: true })
    try {
      await this.#write()
    } catch (error) {
      throw asCoded(error, 'STORE_FAILED')
    }
  }

  /** Forgets the torrent. Throws STORE_FAILED when that cannot be written; until the process ends it is forgotten all the same. */
  async remove (infohash: string): Promise<void> {
    if (!this.#entries.delete(infohash)) return
    try {
      await this.#write()
    } catch (error) {
      throw asCoded(error, 'STORE_FAILED')
    }
  }
}

/** The record is a file that anybody may have edited. */
function parseEntry (value: unknown): AddedTorrent | null {
  if (typeof value !== 'object' || value === null) return null
  const { infohash, addedAt, hints, isDone }: Partial<Record<keyof AddedTorrent, unknown>> = value
  if (typeof infohash !== 'string' || !/^[0-9a-f]{40}$/.test(infohash) || typeof addedAt !== 'string') return null
  if (typeof hints !== 'object' || hints === null) return null
  const { name, trackers, webSeeds, acceptableSources, exactSources, peers, selectOnly }: Partial<Record<keyof Hints, unknown>> = hints
  return {
    infohash,
    addedAt,
    isDone: isDone === true,
    hints: {
      name: typeof name === 'string' ? name : null,
      trackers: texts(trackers),
      webSeeds: texts(webSeeds),
      acceptableSources: texts(acceptableSources),
      exactSources: texts(exactSources),
      peers: texts(peers),
      selectOnly: Array.isArray(selectOnly) ? selectOnly.filter((index) => Number.isSafeInteger(index) && index >= 0) : []
    }
  }
}

function texts (value: unknown): string[] {
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : []
}
