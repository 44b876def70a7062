import { extname, join, resolve } from 'node:path'

import type { Log } from '../log.ts'
import type { SourceFile } from '../source.ts'
import { selectFile } from '../torrent/file-selection.ts'
import type { Metadata, TorrentFile } from '../torrent/metadata.ts'
import { storedFileName } from '../torrent/safe-file-name.ts'
import { mtimeMsOf, openDiskFile } from './disk-file.ts'
import type { FileIdentity } from './disk-file.ts'
import { PlacedFiles } from './placed-files.ts'
import type { PlacedFile } from './placed-files.ts'
import type { PlacedIndexCounters } from './placed-index.ts'
import type { PlacedVerdict, PlacedVerdicts } from './placed-verdicts.ts'
import type { FoundStoredFile, StoredFile, StoredFiles } from './stored-files.ts'
import type { WatchFolder } from './watch-folder.ts'

export interface CacheIndexOptions {
  /** The download directory. */
  readonly directory: string
  /** More directories with placed files, never written. */
  readonly mediaPaths: readonly string[]
  readonly stored: StoredFiles
  /** What hashing has shown of placed files; without it all of them are only named so. */
  readonly verdicts?: PlacedVerdicts
  /** Nothing but the cache can answer: one single match is good enough for any `fileIndex`. */
  readonly isCacheOnly: boolean
  readonly log: Log
  /** How changes in the directories are noticed; null: by looking only. */
  readonly watch?: WatchFolder | null
  /** How often the directories are looked at without a reason. */
  readonly rescanIntervalMs?: number
}

/** A file on disk that answers for a torrent, as it was when it was found. */
export interface CachedFile {
  readonly infohash: string
  /** Absolute, every link resolved. */
  readonly path: string
  readonly name: string
  /** Which file of the torrent it is; null: nobody knows, or it is none of them. */
  readonly fileIndex: number | null
  readonly lengthBytes: number
  /** Every byte was checked against the torrent. */
  readonly isVerified: boolean
  /** Its bytes were checked against the torrent that it is named by, and are something else. */
  readonly isMismatch: boolean
  /** The server stored it; else a person placed it. */
  readonly isStored: boolean
  /** When the torrent was made, where that is known. */
  readonly createdAt: Date | null
  readonly identity: FileIdentity
}

const anyInfohash = /(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])/i

/** Waits are short and bounded: a caller without a signal of its own may wait them out. */
const never = new AbortController().signal

/** Which file on disk is meant by an infohash and a file index. Files may come and go: none is answered unseen. */
export class CacheIndex {
  readonly #directory: string
  readonly #stored: StoredFiles
  readonly #verdicts: PlacedVerdicts | null
  readonly #placedFiles: PlacedFiles
  readonly #isCacheOnly: boolean

  constructor ({ directory, mediaPaths, stored, verdicts, isCacheOnly, log, watch, rescanIntervalMs }: CacheIndexOptions) {
    this.#directory = resolve(directory)
    this.#stored = stored
    this.#verdicts = verdicts ?? null
    this.#placedFiles = new PlacedFiles({ directory, mediaPaths, log, watch, rescanIntervalMs })
    this.#isCacheOnly = isCacheOnly
  }

  /** Begins to read the directories in the background, and to notice changes before somebody asks, until `close`. */
  start (): void {
    this.#placedFiles.start()
  }

  close (): void {
    this.#placedFiles.close()
  }

  /** What is remembered of placed files, for tests and for /metrics. */
  get counters (): PlacedIndexCounters {
    return this.#placedFiles.counters
  }

  /**
   * The cached file for a torrent's file; `fileIndex` null: for a request that names none. null: not cached.
   * A stored file is the index that its record says, and only that. A placed one is what hashing has shown; one that was
   * not hashed is identified by its length where the metadata is known (see `identify`). Throws FILE_INDEX when the torrent has no such file, or the signal's reason.
   */
  async find (infohash: string, fileIndex: number | null, metadata: Metadata | null, signal: AbortSignal = never): Promise<CachedFile | null> {
    const wanted = metadata === null ? null : selectFile(metadata, fileIndex)
    const stored = await this.#stored.find(infohash, wanted?.index ?? fileIndex)
    if (stored !== null) return this.#fromStored(stored, metadata)
    const found = await this.#placedFiles.find(infohash, async files => {
      const largestFirst = (await this.#withoutStored(files)).sort((a, b) => b.identity.lengthBytes - a.identity.lengthBytes)
      const placed = await Promise.all(largestFirst.map(async file => ({ ...file, verdict: await this.#verdicts?.find(infohash, file.identity) ?? null })))
      return metadata !== null && wanted !== null
        ? choose(placed, infohash, metadata, wanted, fileIndex === null)
        : this.#guess(placed, infohash, fileIndex)
    }, signal)
    if (found === null) return null
    const cached = fromPlaced(found.file, infohash, found.fileIndex, metadata?.createdAt ?? null)
    // Verified bytes have the torrent's name for them, whatever source serves them.
    const file = cached.isVerified && found.fileIndex !== null ? metadata?.files[found.fileIndex] : undefined
    return file === undefined ? cached : { ...cached, name: file.name }
  }

  /** The file of this index, if the server stored it; null when it did not, or the file is gone. Placed files are not looked for. */
  async findStored (infohash: string, fileIndex: number): Promise<CachedFile | null> {
    const stored = await this.#stored.find(infohash, fileIndex)
    return stored === null ? null : this.#fromStored(stored, null)
  }

  /**
   * Opens what `find` or `list` answered. ETag: `"<infohash>-<fileIndex>"` for verified bytes, the same as from any other
   * source; else `"<infohash>-<size>-<mtimeMs>"`. Throws FILE_CHANGED when that very file is not there any more.
   */
  async open (cached: CachedFile): Promise<SourceFile> {
    const { infohash, fileIndex, path, name, isVerified, createdAt, identity } = cached
    const isContentAddressed = isVerified && fileIndex !== null
    return await openDiskFile({
      path,
      source: 'cache',
      name,
      isVerified,
      identity,
      etag: isContentAddressed ? `"${infohash}-${fileIndex}"` : `"${infohash}-${identity.lengthBytes}-${mtimeMsOf(identity)}"`,
      // Verified bytes have one date whatever source serves them: that of the torrent, never that of a download.
      ...isContentAddressed ? { lastModified: createdAt } : {}
    })
  }

  /** Everything that is cached: what the server stored, and each placed file under the infohash that it is named by. */
  async list (signal: AbortSignal = never): Promise<CachedFile[]> {
    await this.#stored.refresh()
    const entries = await Promise.all(this.#stored.list().map(async (entry) => await this.#stored.check(entry)))
    const stored = entries.filter(entry => entry !== null).map(entry => this.#fromStored(entry, null))
    const placed = await this.#withoutStored(await this.#placedFiles.list(signal))
    const named = placed.flatMap(file => {
      const infohash = infohashIn(file.name, file.folder)
      return infohash === null ? [] : [{ infohash, file, identity: file.identity }]
    })
    const verdicts = await this.#verdicts?.findAll(named) ?? []
    return [...stored, ...named.map(({ infohash, file }, i) => {
      const verdict = verdicts[i] ?? null
      return fromPlaced({ ...file, verdict }, infohash, verdict?.fileIndex ?? null, null)
    })]
  }

  /** A stored file carries an infohash in its name too, or even two (a torrent chooses its names): only its record counts. */
  async #withoutStored (files: PlacedFile[]): Promise<PlacedFile[]> {
    const entries = new Map<string, StoredFile>()
    if (files.length > 0) for (const entry of this.#stored.list()) entries.set(entry.inode, entry)
    const kept = []
    for (const file of files) {
      const entry = entries.get(String(file.identity.inode))
      const found = entry === undefined ? null : await this.#stored.check(entry)
      if (found === null || found.identity.device !== file.identity.device) kept.push(file)
    }
    return kept
  }

  /** Without metadata: the largest match for a request that names no file; by index nobody can tell. */
  #guess (placed: readonly JudgedFile[], infohash: string, fileIndex: number | null): Found | null {
    const [largest] = placed
    if (largest === undefined) return null
    if (fileIndex === null) return { file: largest, fileIndex: largest.verdict?.fileIndex ?? null }
    const known = placed.find(({ verdict }) => verdict?.fileIndex === fileIndex)
    if (known !== undefined) return { file: known, fileIndex }
    const isOnlyMatch = placed.length === 1 && !this.#stored.list().some(entry => entry.infohash === infohash)
    return this.#isCacheOnly && isOnlyMatch ? { file: largest, fileIndex: null } : null
  }

  #fromStored (stored: FoundStoredFile, metadata: Metadata | null): CachedFile {
    const { infohash, fileIndex, path, name, lengthBytes, identity } = stored
    return {
      infohash,
      path: join(this.#directory, path),
      name,
      fileIndex,
      lengthBytes,
      isVerified: true,
      isMismatch: false,
      isStored: true,
      createdAt: metadata?.createdAt ?? null,
      identity
    }
  }
}

interface JudgedFile extends PlacedFile {
  readonly verdict: PlacedVerdict | null
}

interface Found {
  readonly file: JudgedFile
  readonly fileIndex: number | null
}

function fromPlaced (file: JudgedFile, infohash: string, fileIndex: number | null, createdAt: Date | null): CachedFile {
  return {
    infohash,
    path: file.path,
    name: file.name,
    fileIndex,
    lengthBytes: file.identity.lengthBytes,
    isVerified: file.verdict?.result === 'match',
    isMismatch: file.verdict?.result === 'mismatch',
    isStored: false,
    createdAt,
    identity: file.identity
  }
}

/**
 * Of the placed files, largest first, the one that is the wanted file of the torrent; else, for a request that names no
 * file, the largest one that is none of the torrent's (somebody's own encode of it).
 */
function choose (placed: readonly JudgedFile[], infohash: string, metadata: Metadata, wanted: TorrentFile, isDefault: boolean): Found | null {
  const verified = placed.find(({ verdict }) => verdict?.result === 'match' && verdict.fileIndex === wanted.index)
  if (verified !== undefined) return { file: verified, fileIndex: wanted.index }
  let stranger: JudgedFile | null = null
  for (const file of placed) {
    const identity = file.verdict === null ? identify(file, infohash, metadata) : file.verdict.fileIndex ?? 'none'
    if (identity === wanted.index) return { file, fileIndex: wanted.index }
    if (identity === 'none') stranger ??= file
  }
  return isDefault && stranger !== null ? { file: stranger, fileIndex: null } : null
}

/**
 * Which file of the torrent a placed file is: that of its length; of several, that of its name (as the server would store
 * it, or as the torrent has it). 'none': the torrent has no file of that length. null: it is one of several, nobody
 * can tell which.
 */
function identify (file: PlacedFile, infohash: string, metadata: Metadata): number | 'none' | null {
  const sameLength = metadata.files.filter(({ isPadding, lengthBytes }) => !isPadding && lengthBytes === file.identity.lengthBytes)
  if (sameLength.length === 0) return 'none'
  const tests: Array<(candidate: TorrentFile) => boolean> = [
    () => true,
    candidate => storedFileName(infohash, candidate, metadata).toLowerCase() === file.name.toLowerCase(),
    candidate => comparable(candidate.name, infohash) === comparable(file.name, infohash)
  ]
  for (const test of tests) {
    const [match, ...others] = sameLength.filter(test)
    if (match !== undefined && others.length === 0) return match.index
  }
  return null
}

/** A name without what people and we add to it: the infohash, brackets and separators, case. */
function comparable (name: string, infohash: string): string {
  const extension = extname(name)
  const stem = name.slice(0, name.length - extension.length).normalize('NFC').toLowerCase()
  return stem.replaceAll(infohash, ' ').replace(/[^\p{L}\p{M}\p{N}]+/gu, ' ').trim() + extension.toLowerCase()
}

function infohashIn (name: string, folder: string | null): string | null {
  return (anyInfohash.exec(name) ?? anyInfohash.exec(folder ?? ''))?.[0].toLowerCase() ?? null
}
