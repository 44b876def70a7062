import type { Dirent } from 'node:fs'
import { readdir, realpath, stat } from 'node:fs/promises'
import { sep } from 'node:path'

import { coalesce } from '../coalesce.ts'
import type { Log } from '../log.ts'
import type { FolderWatch } from './watch-folder.ts'

/**
 * File systems count time in ticks, of 2 s at most (FAT): what is changed within the tick in which a folder was read
 * leaves its time as it is. So a listing counts only when it was read this long after its folder's time was first seen.
 * Both are moments of our own clock: that of a file server may be wrong.
 */
export const settledAfterMs = 2000

export interface FolderListingOptions {
  readonly path: string
  /** The path is a link, which is followed only to what lies in here; null: it is none. */
  readonly linkInside: string | null
  /** Gets everything in the folder each time that it was read; nothing when it is gone or cannot be read. */
  readonly onEntries: (entries: readonly Dirent[]) => void
  /** Watches the folder at this path from now on, where that is possible. */
  readonly watch: (path: string) => FolderWatch | null
  readonly log: Log
}

/** What is in one folder, read again only when the folder has changed: a look at it costs one stat. */
export class FolderListing {
  readonly #options: FolderListingOptions
  /** Identity and times of the folder as it was read last; null: it was not, or could not be. */
  #stamp: string | null = null
  #stampSeenAtMs = 0
  #readAtMs = 0
  #isDirty = false
  #isReported = false
  #isClosed = false
  #watch: FolderWatch | null = null
  #watchedFolder: string | null = null
  #device: bigint | null = null
  #lookedAtMs = -Infinity

  /** Resolves when what is known of the folder is what it held after the call, or later. Never rejects. */
  readonly check: () => Promise<void>

  constructor (options: FolderListingOptions) {
    this.#options = options
    this.check = coalesce(async () => { await this.#check() })
  }

  /** It was read since its watch began, and nothing was reported since. What a link leads to may be another folder by now. */
  get isWatched (): boolean {
    return this.#watch !== null && !this.#isDirty && this.#stamp !== null && this.#options.linkInside === null
  }

  /** The file system that it is on; null: it is not there. */
  get device (): bigint | null {
    return this.#device
  }

  /** How long ago the last check began. */
  get ageMs (): number {
    return performance.now() - this.#lookedAtMs
  }

  /** Reads the folder anew at the next check, whatever its times say. */
  markDirty (): void {
    this.#isDirty = true
  }

  /** Ends the watch; the next check begins another where that is possible. */
  unwatch (): void {
    this.#watch?.close()
    this.#watch = null
    this.#watchedFolder = null
  }

  /** For a folder that is not listed any more: nothing is read or watched from now on. */
  close (): void {
    this.#isClosed = true
    this.unwatch()
  }

  async #check (): Promise<void> {
    const lookedAtMs = performance.now()
    try {
      const path = await this.#resolve()
      if (path === null || this.#isClosed) return this.#forget()
      const stats = await stat(path, { bigint: true })
      if (!stats.isDirectory() || this.#isClosed) return this.#forget()
      this.#device = stats.dev
      this.#lookedAtMs = lookedAtMs
      const folder = `${stats.dev}:${stats.ino}`
      if (folder !== this.#watchedFolder) {
        this.unwatch()
        this.#watch = this.#options.watch(path)
        if (this.#watch !== null) this.#watchedFolder = folder
      }
      // The second time also changes with who may read the folder.
      const stamp = `${folder}:${stats.mtimeNs}:${stats.ctimeNs}`
      if (stamp !== this.#stamp) {
        this.#stamp = stamp
        this.#stampSeenAtMs = performance.now()
      } else if (!this.#isDirty && this.#readAtMs - this.#stampSeenAtMs >= settledAfterMs) {
        return
      }
      this.#isDirty = false
      this.#readAtMs = performance.now()
      const entries = await readdir(path, { withFileTypes: true })
      if (this.#isClosed) return
      this.#isReported = false
      this.#options.onEntries(entries)
    } catch (error) {
      this.#forget()
      // Folders come and go while they are read, and one that cannot be read must not hide the others.
      const isAbsent = error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
      if (isAbsent || this.#isReported || this.#isClosed) return
      this.#isReported = true
      this.#options.log.warn({ err: error, path: this.#options.path }, 'folder cannot be read; nothing in it is cached')
    }
  }

  /** The folder itself; null for a link that leads out. */
  async #resolve (): Promise<string | null> {
    const { path, linkInside } = this.#options
    if (linkInside === null) return path
    const target = await realpath(path)
    return isInside(linkInside, target) ? target : null
  }

  #forget (): void {
    this.unwatch()
    this.#stamp = null
    this.#device = null
    if (!this.#isClosed) this.#options.onEntries([])
  }
}

/** Does the path lie in the directory? Both with every link resolved. */
export function isInside (directory: string, path: string): boolean {
  return path.startsWith(directory.endsWith(sep) ? directory : directory + sep)
}
