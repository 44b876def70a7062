import { join } from 'node:path'
import { stateFolder } from '../cache/stored-files.ts'
import { coalesce } from '../coalesce.ts'
import type { Log } from '../log.ts'
import { readBounded } from '../read-bounded.ts'
import { writeFileAtomically } from '../write-file.ts'
import { noShares } from './seeding.ts'
import type { Shares } from './seeding.ts'

const formatVersion = 1
/** Those that changed last are kept. */
const mostTorrents = 10_000
const mostBytes = 4_000_000
/** A crash loses so much of what was given. */
const writeMs = 30_000
const hexHash = /^[0-9a-f]{40}$/

/**
 * `.self-streme/shares.json`: what each torrent has given and got, so that a restart does not begin to count anew. A file
 * that is not as it should be is as good as none.
 */
export class SharesFile {
  readonly #path: string
  readonly #isReadOnly: boolean
  readonly #log: Log
  readonly #shares = new Map<string, Shares>()
  readonly #write = coalesce(async () => {
    await writeFileAtomically(this.#path, JSON.stringify({ version: formatVersion, torrents: Object.fromEntries(this.#shares) }))
  })

  #timer: NodeJS.Timeout | null = null

  private constructor (directory: string, isReadOnly: boolean, log: Log) {
    this.#path = join(directory, stateFolder, 'shares.json')
    this.#isReadOnly = isReadOnly
    this.#log = log
  }

  /** @param directory the download directory. Never throws: without it everything counts from now on. */
  static async open ({ directory, isReadOnly = false, log }: { readonly directory: string, readonly isReadOnly?: boolean, readonly log: Log }): Promise<SharesFile> {
    const file = new SharesFile(directory, isReadOnly, log)
    try {
      for (const [infohash, shares] of parseShares(await readBounded(file.#path, mostBytes))) file.#shares.set(infohash, shares)
    } catch (error) {
      const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
      if (!isMissing) log.warn({ path: file.#path, err: error }, 'what torrents have given to peers cannot be read: it is counted anew')
    }
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
    await this.#write().catch((error: unknown) => { this.#log.debug({ path: this.#path, err: error }, 'what torrents have given to peers cannot be saved') })
  }
}

/** Throws for what is no record; leaves out entries that are none. The ones that changed last are at the end. */
export function parseShares (text: string): Array<[infohash: string, shares: Shares]> {
  const found: unknown = JSON.parse(text)
  if (typeof found !== 'object' || found === null || !('version' in found) || found.version !== formatVersion) throw new Error('it is of no known format')
  if (!('torrents' in found) || typeof found.torrents !== 'object' || found.torrents === null) throw new Error('it has no torrents')
  return Object.entries(found.torrents).flatMap(([infohash, value]: [string, unknown]): Array<[string, Shares]> => {
    if (!hexHash.test(infohash) || typeof value !== 'object' || value === null || !('uploadedBytes' in value) || !('downloadedBytes' in value)) return []
    const { uploadedBytes, downloadedBytes } = value
    return isCount(uploadedBytes) && isCount(downloadedBytes) ? [[infohash, { uploadedBytes, downloadedBytes }]] : []
  }).slice(-mostTorrents)
}

function isCount (value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
