import { readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { stateFolder } from '../cache/stored-files.ts'
import { coalesce } from '../coalesce.ts'
import { asCoded } from '../errors.ts'
import { writeFileAtomically } from '../write-file.ts'
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
  readonly #path: string
  readonly #entries = new Map<string, AddedTorrent>()
  readonly #write = coalesce(async () => {
    await writeFileAtomically(this.#path, JSON.stringify({ version: FORMAT_VERSION, added: [...this.#entries.values()] }, null, 2))
  })

  private constructor (directory: string) {
    this.#path = join(directory, stateFolder, 'added.json')
  }

  /**
   * Reads the record. Never fails: one that cannot be understood is put aside with a warning (read-only: left where it
   * is), what can be is kept.
   */
  static async open (directory: string, log: Log, { isReadOnly = false } = {}): Promise<AddedTorrents> {
    const added = new AddedTorrents(directory)
    try {
      const record: unknown = JSON.parse(await readFile(added.#path, 'utf8'))
      if (typeof record !== 'object' || record === null || !('added' in record) || !Array.isArray(record.added)) throw new Error('it is not a list of torrents')
      const entries = record.added.map(parseEntry)
      for (const entry of entries) if (entry !== null) added.#entries.set(entry.infohash, entry)
      if (entries.includes(null)) throw new Error(`${entries.filter((entry) => entry === null).length} entries make no sense`)
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return added
      if (isReadOnly) {
        log.warn({ err: error, path: added.#path }, 'the list of added torrents is damaged')
        return added
      }
      const aside = `${added.#path}.corrupt-${Date.now()}`
      await rename(added.#path, aside).catch(() => { /* a directory that cannot be written: what was read counts all the same */ })
      log.warn({ err: error, path: aside }, 'the list of added torrents was damaged and is put aside')
    }
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
