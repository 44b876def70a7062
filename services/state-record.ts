import { copyFile, lstat, readFile, rename } from 'node:fs/promises'
import type { Log } from './log.ts'
import { writeFileAtomically } from './write-file.ts'

export type Fields = Readonly<Record<string, unknown>>

export interface StateRecordOptions {
  /** An absolute path that ends in `.json`. */
  readonly path: string
  /** Of the format that is written. A record says its own. */
  readonly version: number
  /** `upgrades[n]` makes a record of version n one of version n + 1. All versions below `version` have one. */
  readonly upgrades?: Readonly<Record<number, (record: Fields) => Fields>>
  /** For people: what this is the record of, and how it is without it. */
  readonly title: string
  readonly without: string
  /** Nothing is written, renamed or put aside. */
  readonly isReadOnly?: boolean
  /** Who may read it. */
  readonly mode?: number
  readonly log: Log
}

interface Found {
  readonly fields: Fields
  readonly mtimeNs: bigint
}

/**
 * A record that cannot be made again from anything else: one JSON object in a file, with the version of its format. So
 * that both an upgrade and the way back lose nothing:
 * - One of an older version is upgraded when it is read. The first write keeps it as it was beside the new one, as
 *   `name.v<its version>.json`, for the older server to find if it is started again.
 * - One of a newer version is left as it is. An older server reads and writes `name.v<its own version>.json` meanwhile,
 *   and what that has when the newer server is back is taken over by that one.
 * - One that makes no sense is renamed to `name.json.corrupt-<milliseconds since 1970>`. Nothing is ever deleted.
 */
export class StateRecord {
  readonly #options: StateRecordOptions
  #path: string
  /** What is at `#path` is of this version, and nobody has a copy of it yet. */
  #olderVersion: number | null = null

  constructor (options: StateRecordOptions) {
    this.#options = options
    this.#path = options.path
  }

  /** Where the record is that is read and written: beside one of a newer version, else in its place. */
  get path (): string {
    return this.#path
  }

  /**
   * The records to take over, one after the other: what a later one says wins. All are of this version; none: there is
   * nothing to be read. Never fails: what it cannot understand is put aside with a warning.
   */
  async read (): Promise<Fields[]> {
    const { path, version, title, without, log } = this.#options
    this.#path = path
    this.#olderVersion = null
    const main = await this.#find(path)
    const mainVersion = main === null ? null : versionOf(main.fields)
    const beside = await this.#findBeside()
    if (main !== null && mainVersion !== null && mainVersion <= version) {
      if (mainVersion < version) this.#olderVersion = mainVersion
      // Those from before are copies, kept for a way back that nobody went.
      return this.#upgraded([main, ...beside.filter(({ mtimeNs }) => mtimeNs > main.mtimeNs)])
    }
    if (mainVersion !== null) {
      this.#path = besidePath(path, version)
      log.warn({ path, version: mainVersion, known: version, used: this.#path },
        `${title}: a newer Self-Streme wrote it, in format ${mainVersion}, and this one knows ${version}. It is left as it is; until the newer one is started again ${without}`)
    }
    return this.#upgraded(beside.slice(-1))
  }

  /** Replaces the record. Throws what the file system says; then the old one is still there. */
  async write (fields: Fields): Promise<void> {
    const { path, version, mode } = this.#options
    if (this.#olderVersion !== null) {
      await copyFile(path, besidePath(path, this.#olderVersion))
      this.#olderVersion = null
    }
    await writeFileAtomically(this.#path, JSON.stringify({ version, ...fields }), mode)
  }

  /** Keeps what was read under another name, for it makes no sense, or not all of it does. */
  async putAside (reason: unknown, path = this.#path): Promise<void> {
    const { title, without, isReadOnly = false, log } = this.#options
    if (isReadOnly) {
      log.warn({ err: reason, path }, `${title}: it is damaged; ${without}`)
      return
    }
    const aside = `${path}.corrupt-${Date.now()}`
    try {
      await rename(path, aside)
      log.warn({ err: reason, path: aside }, `${title}: it was damaged and is put aside; ${without}`)
    } catch (error) {
      // A directory that cannot be written: what is there can be served all the same.
      log.warn({ err: reason, cause: error, path }, `${title}: it cannot be read; ${without}`)
    }
  }

  /** What older servers left, or this one wrote while a newer one's record was in its place; the latest last. */
  async #findBeside (): Promise<Found[]> {
    const { path, version } = this.#options
    const found = await Promise.all(Array.from({ length: version }, async (_, i) => await this.#find(besidePath(path, i + 1), i + 1)))
    return found.filter((record) => record !== null).sort((a, b) => a.mtimeNs < b.mtimeNs ? -1 : 1)
  }

  #upgraded (records: readonly Found[]): Fields[] {
    const { version, upgrades = {} } = this.#options
    return records.map(({ fields }) => {
      let record = fields
      for (let from = versionOf(fields) ?? version; from < version; from++) {
        const upgrade = upgrades[from]
        if (upgrade === undefined) throw new Error(`no upgrade from version ${from}`)
        record = upgrade(record)
      }
      return record
    })
  }

  /** null: there is none, or none that makes sense. */
  async #find (path: string, expected?: number): Promise<Found | null> {
    try {
      const { mtimeNs } = await lstat(path, { bigint: true })
      const record: unknown = JSON.parse(await readFile(path, 'utf8'))
      if (typeof record !== 'object' || record === null || Array.isArray(record)) throw new Error('it is no record')
      const fields: Fields = { ...record }
      const version = versionOf(fields)
      if (version === null) throw new Error('it names no version')
      if (expected !== undefined && version !== expected) throw new Error(`it is of version ${version}, not ${expected}`)
      return { fields, mtimeNs }
    } catch (error) {
      const isMissing = error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
      if (!isMissing) await this.putAside(error, path)
      return null
    }
  }
}

function versionOf ({ version }: Fields): number | null {
  return typeof version === 'number' && Number.isSafeInteger(version) && version > 0 ? version : null
}

function besidePath (path: string, version: number): string {
  return path.replace(/\.json$/, `.v${version}.json`)
}
