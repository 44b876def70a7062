import { randomUUID } from 'node:crypto'
import { access, mkdir, readFile, readdir, rename, rm, utimes } from 'node:fs/promises'
import { join } from 'node:path'

import { CodedError } from '../errors.ts'
import type { Log } from '../log.ts'
import { Completion } from '../pieces/completion.ts'
import { Geometry } from '../pieces/geometry.ts'
import { completionPath, partPath } from '../pieces/recovery.ts'
import type { Metadata } from '../torrent/metadata.ts'
import { syncFolder, writeFileAtomically } from '../write-file.ts'
import { piecesOfFile } from './check-file.ts'
import { stateFolder } from './stored-files.ts'
import type { StoredFiles } from './stored-files.ts'

const formatVersion = 1
const lookIntervalMs = 1000
const closeLimitMs = 10_000

/** A stored file whose wrong pieces are to be fetched again. */
export interface Repair {
  readonly infohash: string
  readonly fileIndex: number
  /** The file that was hashed; another one under its name is left alone. */
  readonly inode: string
  readonly mtimeNs: string
  /** The pieces that were found right. All others of the file are taken for missing. */
  readonly goodPieces: readonly number[]
}

export interface RepairOptions {
  /** The download directory. */
  readonly directory: string
  readonly stored: StoredFiles
  readonly metadata: Metadata
}

/**
 * Turns a stored file back into an unfinished download that has the right pieces only. The caller holds the lock of the
 * directory and keeps the torrent's store closed. false: it is not that file any more.
 *
 * At each step a crash leaves something true: first the bits, of which the record of the stored file makes no use; then
 * the rename, after which the record counts no more, for its file is gone; then the record. Throws STORE_FAILED, and what
 * the file system says.
 */
export async function repairStored (repair: Repair, { directory, stored, metadata }: RepairOptions): Promise<boolean> {
  const { infohash, fileIndex } = repair
  const found = await stored.find(infohash, fileIndex)
  if (found === null || String(found.identity.inode) !== repair.inode || String(found.identity.mtimeNs) !== repair.mtimeNs) return false
  const folder = join(directory, stateFolder, 'partial', infohash)
  await mkdir(join(folder, 'edges'), { recursive: true })
  const geometry = new Geometry(metadata)
  const completion = await Completion.load(completionPath(folder), metadata) ?? new Completion(metadata)
  const good = new Set(repair.goodPieces)
  const isHere = (index: number): boolean => index === fileIndex || metadata.files[index]?.isPadding === true || stored.list().some((entry) => entry.infohash === infohash && entry.fileIndex === index)
  for (const piece of piecesOfFile(geometry, fileIndex)) {
    // One that reaches into a file that is not here needs its edge file, too: only the store knows of that.
    if (!good.has(piece)) completion.remove(piece)
    else if (geometry.spansOf(piece).every((span) => isHere(span.fileIndex))) completion.add(piece)
  }
  await completion.save(completionPath(folder))
  const part = partPath(folder, fileIndex)
  await rename(join(directory, found.path), part)
  // Who reads it still, under its old name, finds that it was changed, and goes on with another source.
  const now = new Date()
  await utimes(part, now, now)
  await syncFolder(folder)
  await syncFolder(directory)
  await stored.forget(infohash, fileIndex)
  return true
}

/** Leaves a repair for the server that runs, which alone may change what it has open. Resolves with a check whether it is done. */
export async function requestRepair (directory: string, repair: Repair): Promise<() => Promise<boolean>> {
  const path = join(directory, stateFolder, 'repairs', `${randomUUID()}.json`)
  await writeFileAtomically(path, JSON.stringify({ version: formatVersion, ...repair }))
  return async () => await access(path).then(() => false, () => true)
}

export interface RepairQueueOptions {
  readonly directory: string
  readonly stored: StoredFiles
  readonly torrents: {
    knownMetadata (infohash: string): Promise<Metadata | null>
    /** false: somebody is at work with it, and nothing was done. */
    whileClosed (infohash: string, work: () => Promise<void>, limitMs: number): Promise<boolean>
  }
  readonly log: Log
}

/** Does the repairs that were asked for while the server runs, or while it did not: one at a time, each when its torrent is idle. */
export class RepairQueue {
  readonly #options: RepairQueueOptions
  readonly #folder: string
  #timer: NodeJS.Timeout | undefined
  #looking: Promise<void> = Promise.resolve()
  #isClosed = false

  constructor (options: RepairQueueOptions) {
    this.#options = options
    this.#folder = join(options.directory, stateFolder, 'repairs')
  }

  start (): void {
    this.#timer = setTimeout(() => {
      this.#looking = this.#look().finally(() => { if (!this.#isClosed) this.start() })
    }, lookIntervalMs)
    this.#timer.unref()
  }

  /** Resolves when the repair under way is done. */
  async close (): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    await this.#looking
  }

  /** Never rejects. */
  async #look (): Promise<void> {
    const names = await readdir(this.#folder).catch(() => [])
    for (const name of names) {
      if (!name.endsWith('.json') || this.#isClosed) continue
      const path = join(this.#folder, name)
      try {
        if (await this.#attempt(path)) await rm(path, { force: true })
      } catch (error) {
        // It waits for the version that understands it.
        if (error instanceof NewerRepair) continue
        this.#options.log.error({ err: error, path }, 'repair of a stored file failed; it is given up')
        await rm(path, { force: true }).catch(() => {})
      }
    }
  }

  /** false: not now. */
  async #attempt (path: string): Promise<boolean> {
    const { directory, stored, torrents, log } = this.#options
    const repair = parseRepair(await readFile(path, 'utf8'))
    const { infohash, fileIndex } = repair
    const metadata = await torrents.knownMetadata(infohash)
    if (metadata === null) throw new CodedError('METADATA_NOT_FOUND', 'the metadata of this torrent is not known')
    return await torrents.whileClosed(infohash, async () => {
      const isDone = await repairStored(repair, { directory, stored, metadata })
      if (isDone) log.info({ infohash, fileIndex }, 'stored file had wrong pieces: they are fetched again')
    }, closeLimitMs)
  }
}

/** A newer Self-Streme asked for it, and was stopped before it was done. */
class NewerRepair extends Error {}

function parseRepair (text: string): Repair {
  const record: unknown = JSON.parse(text)
  if (typeof record !== 'object' || record === null) throw new Error('not a repair')
  const { version, infohash, fileIndex, inode, mtimeNs, goodPieces }: Partial<Record<keyof Repair | 'version', unknown>> = record
  if (typeof version === 'number' && version > formatVersion) throw new NewerRepair()
  if (version !== formatVersion || typeof infohash !== 'string' || !/^[0-9a-f]{40}$/.test(infohash)) throw new Error('not a repair')
  if (typeof inode !== 'string' || typeof mtimeNs !== 'string' || !isIndex(fileIndex)) throw new Error('not a repair')
  if (!Array.isArray(goodPieces) || !goodPieces.every(isIndex)) throw new Error('not a repair')
  return { infohash, fileIndex, inode, mtimeNs, goodPieces }
}

function isIndex (value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
