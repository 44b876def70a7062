import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'

import type { CacheListener } from '../events.ts'
import type { Log } from '../log.ts'
import { writeFileAtomically } from '../write-file.ts'
import type { FileIdentity } from './disk-file.ts'
import { stateFolder } from './stored-files.ts'

const formatVersion = 1

/** What hashing a placed file has shown. It holds for exactly these bytes: a file that was written to since has none. */
export interface PlacedVerdict {
  /**
   * `match`: every byte is the torrent's. `mismatch`: it is something else. `partial`: what could be checked is right,
   * and pieces are left that it shares with files that were not there.
   */
  readonly result: 'match' | 'mismatch' | 'partial'
  /** Which file of the torrent; null for a mismatch. */
  readonly fileIndex: number | null
  /** Of a partial one, the pieces that are left. */
  readonly uncheckedPieces: readonly number[]
}

export interface PlacedVerdictsOptions {
  /** The download directory. */
  readonly directory: string
  /** Nothing is written; what is found out is known until the process ends. */
  readonly isReadOnly?: boolean
  readonly onChange?: CacheListener
  readonly log: Log
}

interface Kept extends PlacedVerdict {
  readonly lengthBytes: number
  readonly mtimeNs: string
}

/**
 * What is known of placed files from hashing them: one small record for each torrent and inode,
 * `.self-streme/verified/{infohash}-{inode}.json`. Each is written whole and is never changed in place, and one that is
 * not in memory is looked for on disk. So an import in a process of its own needs to tell a running server nothing:
 * the record is there before the file is, and the first lookup finds both.
 *
 * Size and time of change are part of the record, the device is not: its number changes from boot to boot.
 */
export class PlacedVerdicts {
  readonly #folder: string
  readonly #isReadOnly: boolean
  readonly #onChange: CacheListener
  readonly #log: Log
  readonly #known = new Map<string, Kept>()
  /** Those on the disk that a newer version wrote: they are its own, and left as they are. */
  readonly #newer = new Set<string>()

  constructor ({ directory, isReadOnly = false, onChange = () => {}, log }: PlacedVerdictsOptions) {
    this.#folder = join(directory, stateFolder, 'verified')
    this.#isReadOnly = isReadOnly
    this.#onChange = onChange
    this.#log = log
  }

  /** What is known of this file under this infohash; null: it was not hashed yet, or was changed since. */
  async find (infohash: string, identity: FileIdentity): Promise<PlacedVerdict | null> {
    const key = keyOf(infohash, identity)
    const known = this.#known.get(key)
    if (known !== undefined && isOf(known, identity)) return known
    const read = await this.#read(key)
    if (read === null) return null
    this.#known.set(key, read)
    return isOf(read, identity) ? read : null
  }

  /** The same for many at a time: the disk is asked only for records that exist. In the order of `files`. */
  async findAll (files: ReadonlyArray<{ readonly infohash: string, readonly identity: FileIdentity }>): Promise<Array<PlacedVerdict | null>> {
    const keys = await this.#keysOnDisk()
    const verdicts = []
    for (const { infohash, identity } of files) {
      const key = keyOf(infohash, identity)
      verdicts.push(keys.has(key) || this.#known.has(key) ? await this.find(infohash, identity) : null)
    }
    return verdicts
  }

  /** Keeps a verdict. Throws what the file system says; then it is known until the process ends. */
  async add (infohash: string, identity: FileIdentity, verdict: PlacedVerdict): Promise<void> {
    const { result, fileIndex, uncheckedPieces } = verdict
    const kept: Kept = { result, fileIndex, uncheckedPieces, lengthBytes: identity.lengthBytes, mtimeNs: String(identity.mtimeNs) }
    const key = keyOf(infohash, identity)
    this.#known.set(key, kept)
    if (result !== 'partial') this.#onChange(infohash, fileIndex, result === 'match' ? 'verified' : 'mismatch')
    if (this.#isReadOnly || this.#newer.has(key)) return
    await writeFileAtomically(this.#pathOf(key), JSON.stringify({ version: formatVersion, ...kept }))
  }

  async #read (key: string): Promise<Kept | null> {
    let text
    try {
      text = await readFile(this.#pathOf(key), 'utf8')
    } catch {
      return null // none, or it cannot be read: then the file counts as not hashed
    }
    const kept = parseRecord(text)
    if (kept === 'newer') {
      this.#newer.add(key)
      return null
    }
    if (kept === null) this.#log.warn({ path: this.#pathOf(key) }, 'a record of a hashed file is damaged; the file is hashed again')
    return kept
  }

  async #keysOnDisk (): Promise<Set<string>> {
    const names = await readdir(this.#folder).catch(() => [])
    return new Set(names.filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -'.json'.length)))
  }

  #pathOf (key: string): string {
    return join(this.#folder, `${key}.json`)
  }
}

function keyOf (infohash: string, { inode }: FileIdentity): string {
  return `${infohash}-${inode}`
}

function isOf (kept: Kept, { lengthBytes, mtimeNs }: FileIdentity): boolean {
  return kept.lengthBytes === lengthBytes && kept.mtimeNs === String(mtimeNs)
}

function parseRecord (text: string): Kept | 'newer' | null {
  try {
    const record: unknown = JSON.parse(text)
    if (typeof record !== 'object' || record === null) return null
    const { version, result, fileIndex, uncheckedPieces, lengthBytes, mtimeNs }: Partial<Record<keyof Kept | 'version', unknown>> = record
    if (typeof version === 'number' && version > formatVersion) return 'newer'
    if (version !== formatVersion) return null
    if (result !== 'match' && result !== 'mismatch' && result !== 'partial') return null
    if (fileIndex !== null && !isIndex(fileIndex)) return null
    if (fileIndex === null && result !== 'mismatch') return null
    if (!Array.isArray(uncheckedPieces) || !uncheckedPieces.every(isIndex)) return null
    if (!isIndex(lengthBytes) || typeof mtimeNs !== 'string') return null
    return { result, fileIndex, uncheckedPieces, lengthBytes, mtimeNs }
  } catch {
    return null
  }
}

function isIndex (value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
