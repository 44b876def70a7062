import { lstat } from 'node:fs/promises'
import { isAbsolute, join, normalize, sep } from 'node:path'

import { CodedError } from '../errors.ts'
import type { CacheListener } from '../events.ts'
import type { Log } from '../log.ts'
import { StateRecord } from '../state-record.ts'
import type { Fields } from '../state-record.ts'
import { identityOf, isSameFile } from './disk-file.ts'
import type { FileIdentity } from './disk-file.ts'

/** The folder of the download directory that holds what the server keeps for itself. Nothing in it is a cached file. */
export const stateFolder = '.self-streme'

/** Of the record's format (STATE.md). */
const formatVersion = 1

/** Files looked at side by side when the record is loaded. */
const concurrency = 16

/** A file that this server stored whole, every piece of it checked. */
export interface StoredFile {
  readonly infohash: string
  /** The torrent's own order, zero-based. */
  readonly fileIndex: number
  /** Relative to the download directory. */
  readonly path: string
  readonly lengthBytes: number
  /** As decimal digits: an inode may be larger than a number holds. */
  readonly inode: string
  /**
   * Of its last change, in nanoseconds since 1970, as decimal digits. null: the file was on its way to its place, and the
   * server ended before it could say when the last of its own writers was done.
   */
  readonly mtimeNs: string | null
  /** The file's own name in the torrent. */
  readonly name: string
  /** ISO 8601. */
  readonly storedAt: string
  /** The file is what a request without `fileIndex` gets. */
  readonly isDefault: boolean
}

/** A stored file that is on disk as the record says. */
export interface FoundStoredFile extends StoredFile {
  readonly identity: FileIdentity
}

export type NewStoredFile = Omit<StoredFile, 'inode' | 'mtimeNs' | 'storedAt'>

export interface StoredFilesOptions {
  /** The download directory. */
  readonly directory: string
  /** Nothing is written: the record is another server's, and read again when that one has changed it. */
  readonly isReadOnly?: boolean
  readonly onChange?: CacheListener
  readonly log: Log
}

/**
 * The record of the files that the server itself stored and verified, kept in `.self-streme/stored.json`. Only the
 * record makes a file a stored one, never its name; and an entry counts only while its file has the recorded inode, size
 * and time of its last change: whoever writes into it may have written anything. One that does not is dropped, and what lies there now is a file like any that a person placed.
 */
export class StoredFiles {
  readonly #directory: string
  readonly #isReadOnly: boolean
  readonly #onChange: CacheListener
  readonly #log: Log
  readonly #record: StateRecord
  /** Of a record of another's: what was read of it last. */
  #read: FileIdentity | null = null
  readonly #entries = new Map<string, StoredFile>()
  /** On their way to their place: in the record already, and counted by nobody yet. */
  readonly #placing = new Set<StoredFile>()
  #writing: Promise<void> = Promise.resolve()
  #waiting: Promise<void> | null = null

  private constructor ({ directory, isReadOnly = false, onChange = () => {}, log }: StoredFilesOptions) {
    this.#directory = directory
    this.#isReadOnly = isReadOnly
    this.#onChange = onChange
    this.#log = log
    this.#record = new StateRecord({
      path: join(directory, stateFolder, 'stored.json'),
      version: formatVersion,
      title: 'record of stored files',
      without: 'what it has counts as placed by a person',
      isReadOnly,
      log
    })
  }

  /**
   * Reads the record. Never fails: a record that cannot be understood is put aside with a warning, and the entries of it
   * that can be are kept.
   */
  static async open (options: StoredFilesOptions): Promise<StoredFiles> {
    const stored = new StoredFiles(options)
    await stored.#load()
    return stored
  }

  /**
   * Records a file that lies in its place, every byte checked; replaces an entry for the same file of the torrent.
   * Resolves when the record is on disk. Throws STORE_FAILED when the file is not there with that length, or when the
   * record cannot be written; then the entry counts until the process ends.
   */
  async add (file: NewStoredFile): Promise<StoredFile> {
    return await this.#keep(file, null)
  }

  /**
   * Like `add`, for a finished file that still lies elsewhere: `move` renames it from `from` (an absolute path) to its
   * place, and resolves when nobody writes into it any more. The record names it before the disk does, so that a crash in
   * between loses neither: an entry without its file is dropped at the next start, and a file that has arrived is known,
   * whenever a piece was written into it once more. Throws STORE_FAILED, and what `move` throws.
   */
  async place (file: NewStoredFile, from: string, move: () => Promise<void>): Promise<StoredFile> {
    if (!isInside(file.path)) throw new CodedError('STORE_FAILED', 'a stored file lies in the download directory')
    const identity = await lookAt(from).catch(() => null)
    if (identity?.lengthBytes !== file.lengthBytes) {
      throw new CodedError('STORE_FAILED', `the finished file is not a regular file of ${file.lengthBytes} bytes`)
    }
    const entry = { ...entryOf(file, identity), mtimeNs: null }
    this.#placing.add(entry)
    try {
      await this.#save()
      await move()
      return await this.#keep(file, entry)
    } finally {
      // When it did not arrive, the next save forgets it, or the next start.
      this.#placing.delete(entry)
    }
  }

  /** Forgets all files of the torrent, and leaves them where they are. Throws STORE_FAILED when that cannot be written. */
  async remove (infohash: string): Promise<void> {
    const entries = this.list().filter((entry) => entry.infohash === infohash)
    for (const entry of entries) this.#entries.delete(keyOf(entry))
    for (const { fileIndex } of entries) this.#onChange(infohash, fileIndex, 'removed')
    if (entries.length > 0) await this.#save()
  }

  /** Reads another server's record again when it was changed; of one of our own nothing new is to be learned. */
  async refresh (): Promise<void> {
    if (!this.#isReadOnly) return
    const identity = await lookAt(this.#record.path).catch(() => null)
    if (identity === this.#read || (identity !== null && this.#read !== null && isSameFile(identity, this.#read))) return
    await this.#load()
  }

  /** Forgets one file, and leaves it where it is. Throws STORE_FAILED when that cannot be written. */
  async forget (infohash: string, fileIndex: number): Promise<void> {
    if (!this.#entries.delete(keyOf({ infohash, fileIndex }))) return
    this.#onChange(infohash, fileIndex, 'removed')
    await this.#save()
  }

  /** The stored file with this index, or with null the torrent's default file; null when it is not stored. */
  async find (infohash: string, fileIndex: number | null): Promise<FoundStoredFile | null> {
    await this.refresh()
    const entry = fileIndex === null
      ? this.list().find((candidate) => candidate.infohash === infohash && candidate.isDefault)
      : this.#entries.get(keyOf({ infohash, fileIndex }))
    return entry === undefined ? null : await this.check(entry)
  }

  /** What the record holds. Nothing is asked of the disk: `check` says whether an entry still counts. */
  list (): readonly StoredFile[] {
    return [...this.#entries.values()]
  }

  /** The entry with what the disk says, or null when its file does not count any more; then the entry is dropped. */
  async check (entry: StoredFile): Promise<FoundStoredFile | null> {
    let identity
    try {
      identity = await this.#look(entry.path)
    } catch (error) {
      // The file may be there, and come back with the disk: it does not count now, but what is known of it stays.
      this.#log.warn({ err: error, path: entry.path }, 'stored file cannot be looked at')
      return null
    }
    if (identity !== null && identity.lengthBytes === entry.lengthBytes && String(identity.inode) === entry.inode) {
      if (entry.mtimeNs === null) return { ...this.#complete(entry, identity), identity }
      if (String(identity.mtimeNs) === entry.mtimeNs) return { ...entry, identity }
    }
    this.#drop(entry)
    return null
  }

  /** Resolves when everything that was changed is on disk, or could not be written. */
  async close (): Promise<void> {
    await this.#waiting?.catch(() => {})
    await this.#writing
  }

  /** The regular file at this place, null when there is none. A link is none. */
  #look (path: string): Promise<FileIdentity | null> {
    return lookAt(join(this.#directory, path))
  }

  /** Records a file that lies in its place, instead of the entry that it had on its way, so that the record never has both. */
  async #keep (file: NewStoredFile, placing: StoredFile | null): Promise<StoredFile> {
    const identity = await this.#look(file.path).catch((error: unknown) => {
      throw new CodedError('STORE_FAILED', 'the stored file is not there', { cause: error })
    })
    if (identity?.lengthBytes !== file.lengthBytes) {
      throw new CodedError('STORE_FAILED', `the stored file is not a regular file of ${file.lengthBytes} bytes`)
    }
    const entry = entryOf(file, identity)
    if (placing !== null) this.#placing.delete(placing)
    this.#entries.set(keyOf(entry), entry)
    this.#onChange(entry.infohash, entry.fileIndex, 'stored')
    await this.#save()
    return entry
  }

  /** The file has arrived in a life that ended before it could be recorded: from now on nobody writes into it. */
  #complete (entry: StoredFile, identity: FileIdentity): StoredFile {
    const complete = { ...entry, mtimeNs: String(identity.mtimeNs) }
    if (this.#entries.get(keyOf(entry)) === entry) {
      this.#entries.set(keyOf(entry), complete)
      this.#saveUnasked()
    }
    return complete
  }

  #drop (entry: StoredFile): void {
    if (this.#entries.get(keyOf(entry)) !== entry) return
    this.#entries.delete(keyOf(entry))
    this.#onChange(entry.infohash, entry.fileIndex, 'removed')
    this.#log.info({ infohash: entry.infohash, path: entry.path }, 'stored file is gone, or is another one now')
    this.#saveUnasked()
  }

  #saveUnasked (): void {
    this.#save().catch((error: unknown) => {
      // Nobody waits for this, and the next start finds the same, and tries again.
      this.#log.warn({ err: error }, 'record of stored files cannot be written')
    })
  }

  async #load (): Promise<void> {
    // Before it is read: a change in between is read twice, not missed.
    if (this.#isReadOnly) this.#read = await lookAt(this.#record.path).catch(() => null)
    const records = await this.#record.read()
    this.#entries.clear()
    let rejected = 0
    for (const fields of records) {
      const entries = entriesOf(fields)
      for (const entry of entries ?? [null]) {
        if (entry === null) rejected++
        else this.#entries.set(keyOf(entry), entry)
      }
    }
    if (rejected > 0) {
      await this.#record.putAside(new Error(`${rejected} entries make no sense`))
      // Those that are left count all the same; where they cannot be written now, the next change does it.
      if (this.#entries.size > 0) this.#saveUnasked()
    }
    const entries = this.list()
    for (let i = 0; i < entries.length; i += concurrency) {
      await Promise.all(entries.slice(i, i + concurrency).map(async (entry) => await this.check(entry)))
    }
  }

  /** Writes one at a time. What is changed while one is being written waits for the next, together. */
  #save (): Promise<void> {
    if (this.#isReadOnly) return Promise.resolve()
    this.#waiting ??= this.#writing.then(() => {
      this.#waiting = null
      const writing = this.#write()
      this.#writing = writing.catch(() => {})
      return writing
    })
    return this.#waiting
  }

  async #write (): Promise<void> {
    try {
      await this.#record.write({ files: [...this.list(), ...this.#placing] })
    } catch (error) {
      throw new CodedError('STORE_FAILED', 'the record of stored files cannot be written', { cause: error })
    }
  }
}

function keyOf ({ infohash, fileIndex }: Pick<StoredFile, 'infohash' | 'fileIndex'>): string {
  return `${infohash}/${fileIndex}`
}

function entryOf ({ infohash, fileIndex, path, lengthBytes, name, isDefault }: NewStoredFile, { inode, mtimeNs }: FileIdentity): StoredFile {
  return { infohash, fileIndex, path, lengthBytes, inode: String(inode), mtimeNs: String(mtimeNs), name, storedAt: new Date().toISOString(), isDefault: isDefault === true }
}

async function lookAt (path: string): Promise<FileIdentity | null> {
  try {
    const stats = await lstat(path, { bigint: true })
    return stats.isFile() ? identityOf(stats) : null
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return null
    throw error
  }
}

/** null for an entry that makes no sense, and for a list that is none. */
function entriesOf ({ files }: Fields): Array<StoredFile | null> | null {
  return Array.isArray(files) ? files.map(parseEntry) : null
}

function parseEntry (value: unknown): StoredFile | null {
  if (typeof value !== 'object' || value === null) return null
  const { infohash, fileIndex, path, lengthBytes, inode, mtimeNs, name, storedAt, isDefault }: Partial<Record<keyof StoredFile, unknown>> = value
  if (typeof infohash !== 'string' || !/^[0-9a-f]{40}$/.test(infohash)) return null
  if (typeof fileIndex !== 'number' || !Number.isSafeInteger(fileIndex) || fileIndex < 0) return null
  if (typeof lengthBytes !== 'number' || !Number.isSafeInteger(lengthBytes) || lengthBytes < 0) return null
  if (typeof path !== 'string' || !isInside(path)) return null
  if (typeof inode !== 'string' || (typeof mtimeNs !== 'string' && mtimeNs !== null) || typeof name !== 'string' || typeof storedAt !== 'string' || typeof isDefault !== 'boolean') return null
  return { infohash, fileIndex, path, lengthBytes, inode, mtimeNs, name, storedAt, isDefault }
}

/** The record is a file that anybody may have edited: a path out of it leads nowhere but into the directory. */
function isInside (path: string): boolean {
  if (path === '' || path.includes('\0') || isAbsolute(path) || normalize(path) !== path) return false
  const [first] = path.split(sep)
  return first !== '..' && first !== '.' && first !== stateFolder
}

function hasCode (error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}
