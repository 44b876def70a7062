import { join } from 'node:path'
import { stateFolder } from '../cache/stored-files.ts'
import { coalesce } from '../coalesce.ts'
import type { Log } from '../log.ts'
import { StateRecord } from '../state-record.ts'
import type { Fields } from '../state-record.ts'
import { noShares } from './seeding.ts'
import type { Shares } from './seeding.ts'

const formatVersion = 1
/** Those that changed last are kept. */
const mostTorrents = 10_000
/** A crash loses so much of what was given. */
const writeMs = 30_000
const hexHash = /^[0-9a-f]{40}$/

/** `.self-streme/shares.json`: what each torrent has given and got, so that a restart does not begin to count anew. */
export class SharesFile {
  readonly #record: StateRecord
  readonly #isReadOnly: boolean
  readonly #log: Log
  readonly #shares = new Map<string, Shares>()
  readonly #write = coalesce(async () => { await this.#record.write({ torrents: Object.fromEntries(this.#shares) }) })
  #timer: NodeJS.Timeout | null = null

  private constructor (record: StateRecord, isReadOnly: boolean, log: Log) {
    this.#record = record
    this.#isReadOnly = isReadOnly
    this.#log = log
  }

  /** @param directory the download directory. Never throws: what cannot be read counts from now on. */
  static async open ({ directory, isReadOnly = false, log }: { readonly directory: string, readonly isReadOnly?: boolean, readonly log: Log }): Promise<SharesFile> {
    const record = new StateRecord({
      path: join(directory, stateFolder, 'shares.json'),
      version: formatVersion,
      title: 'record of what torrents have given to peers',
      without: 'it is counted anew',
      isReadOnly,
      log
    })
    const file = new SharesFile(record, isReadOnly, log)
    for (const fields of await record.read()) for (const [infohash, shares] of parseShares(fields)) file.#shares.set(infohash, shares)
    return file
  }

  get (infohash: string): Shares {
    return this.#shares.get(infohash) ?? noShares
  }

  /** Keeps this from now on; on the disk in half a minute. */
  set (infohash: string, shares: Shares): void {
    const { uploadedBytes, downloadedBytes } = this.get(infohash)
    if (shares.uploadedBytes === uploadedBytes && shares.downloadedBytes === downloadedBytes) return
    this.#shares.delete(infohash)
    this.#shares.set(infohash, shares)
    const [oldest] = this.#shares.keys()
    if (oldest !== undefined && this.#shares.size > mostTorrents) this.#shares.delete(oldest)
    if (this.#isReadOnly || this.#timer !== null) return
    this.#timer = setTimeout(() => { void this.saved() }, writeMs)
    this.#timer.unref()
  }

  /** Resolves when what was given to set() is on the disk, or cannot be. */
  async saved (): Promise<void> {
    if (this.#timer === null) return
    clearTimeout(this.#timer)
    this.#timer = null
    await this.#write().catch((error: unknown) => { this.#log.debug({ path: this.#record.path, err: error }, 'what torrents have given to peers cannot be saved') })
  }
}

/** Leaves out what is none; those that changed last are at the end. */
function parseShares ({ torrents }: Fields): Array<[infohash: string, shares: Shares]> {
  if (typeof torrents !== 'object' || torrents === null) return []
  return Object.entries(torrents).flatMap(([infohash, value]: [string, unknown]): Array<[string, Shares]> => {
    if (!hexHash.test(infohash) || typeof value !== 'object' || value === null || !('uploadedBytes' in value) || !('downloadedBytes' in value)) return []
    const { uploadedBytes, downloadedBytes } = value
    return isCount(uploadedBytes) && isCount(downloadedBytes) ? [[infohash, { uploadedBytes, downloadedBytes }]] : []
  }).slice(-mostTorrents)
}

function isCount (value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
