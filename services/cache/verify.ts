import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'

import { CodedError } from '../errors.ts'
import type { Log } from '../log.ts'
import { parseMetadata } from '../torrent/metadata.ts'
import type { Metadata } from '../torrent/metadata.ts'
import { CacheIndex } from './cache-index.ts'
import type { CachedFile } from './cache-index.ts'
import { checkFile } from './check-file.ts'
import type { FileCheck } from './check-file.ts'
import { PlacedVerdicts } from './placed-verdicts.ts'
import { StoredFiles, stateFolder } from './stored-files.ts'

export interface VerifyOptions {
  /** The download directory. */
  readonly directory: string
  readonly mediaPaths: readonly string[]
  /** Only these torrents; null: all. */
  readonly infohashes: ReadonlySet<string> | null
  /** Nothing is kept of what is found out. */
  readonly isReadOnly: boolean
  readonly signal: AbortSignal
  readonly log: Log
  /** A file begins to be hashed. */
  readonly onFile?: (path: string, lengthBytes: number) => void
  /** So many bytes of it were hashed since the last call. */
  readonly onBytes?: (bytes: number) => void
}

/** What was found out about one file of the cache. */
export interface Verified {
  readonly file: CachedFile
  /**
   * `good`; `corrupt`: pieces are wrong; `other`: a placed file that is no file of its torrent; `unknown`: nothing can be
   * said, for the reason in `detail`.
   */
  readonly outcome: 'good' | 'corrupt' | 'other' | 'unknown'
  /** For people. */
  readonly detail: string
  /** Which pieces are right and wrong; null where nothing was hashed. */
  readonly check: FileCheck | null
  readonly metadata: Metadata | null
  /** Of a corrupt or good one. */
  readonly fileIndex: number | null
}

/**
 * Hashes every finished file of the cache whose metadata is on disk. It only reads (of placed files it keeps the verdict),
 * so it may run beside a server; a file that the server moves or replaces meanwhile is told as `unknown`.
 * Throws the signal's reason.
 */
export async function * verifyCache (options: VerifyOptions): AsyncGenerator<Verified> {
  const { directory, mediaPaths, infohashes, isReadOnly, signal, log } = options
  // Read-only in any case: the record may be that of a server that runs.
  const stored = await StoredFiles.open({ directory, isReadOnly: true, log })
  const verdicts = new PlacedVerdicts({ directory, isReadOnly, log })
  const index = new CacheIndex({ directory, mediaPaths, stored, verdicts, isCacheOnly: false, log, watch: null })
  const files = (await index.list(signal)).filter(({ infohash }) => infohashes === null || infohashes.has(infohash))
  for (const [infohash, ofTorrent] of Map.groupBy(files, (file) => file.infohash)) {
    const metadata = await readMetadata(directory, infohash)
    for (const file of ofTorrent) {
      signal.throwIfAborted()
      if (metadata === null) yield unknown(file, null, 'the metadata of its torrent is not known here')
      else yield await verifyFile(file, metadata, ofTorrent, verdicts, options)
    }
  }
}

async function verifyFile (file: CachedFile, metadata: Metadata, all: readonly CachedFile[], verdicts: PlacedVerdicts, options: VerifyOptions): Promise<Verified> {
  const { signal, onFile, onBytes = () => {} } = options
  const candidates = metadata.files.filter(({ index, isPadding, lengthBytes }) =>
    !isPadding && lengthBytes === file.lengthBytes && (!file.isStored || index === file.fileIndex))
  if (candidates.length === 0) {
    if (file.isStored) return unknown(file, metadata, `the torrent has no file ${file.fileIndex} of ${file.lengthBytes} bytes`)
    await verdicts.add(file.infohash, file.identity, { result: 'mismatch', fileIndex: null, uncheckedPieces: [] })
    return { file, metadata, outcome: 'other', detail: `no file of its torrent has ${file.lengthBytes} bytes`, check: null, fileIndex: null }
  }
  const edgeDirectory = join(resolve(options.directory), stateFolder, 'partial', file.infohash, 'edges')
  const others = new Map(all.flatMap(({ fileIndex, path }) => fileIndex === null ? [] : [[fileIndex, path] as const]))
  let best: { check: FileCheck, fileIndex: number } | null = null
  try {
    for (const { index } of candidates) {
      onFile?.(file.path, file.lengthBytes)
      const check = await checkFile(file.path, metadata, index, { signal, onBytes, others, edgeDirectory })
      if (best === null || check.good.length > best.check.good.length) best = { check, fileIndex: index }
      if (check.bad.length === 0) break
    }
  } catch (error) {
    signal.throwIfAborted()
    if (error instanceof CodedError || (error instanceof Error && 'code' in error)) return unknown(file, metadata, error.message)
    throw error
  }
  if (best === null) return unknown(file, metadata, 'it could not be checked')
  const { check, fileIndex } = best
  const wrong = [...check.bad, ...check.doubtful]
  if (!file.isStored) {
    const uncheckedPieces = [...check.unchecked, ...check.doubtful]
    const result = check.bad.length > 0 ? 'mismatch' : uncheckedPieces.length > 0 ? 'partial' : 'match'
    await verdicts.add(file.infohash, check.identity, { result, fileIndex: result === 'mismatch' ? null : fileIndex, uncheckedPieces: result === 'partial' ? uncheckedPieces : [] })
  }
  const shared = check.unchecked.length === 0 ? '' : `, ${check.unchecked.length} not checked: shared with files that are not here`
  const detail = wrong.length === 0 ? `${check.good.length} pieces${shared}` : `wrong: ${listPieces(wrong)} of ${metadata.pieceCount} pieces${shared}`
  return { file, metadata, outcome: wrong.length === 0 ? 'good' : 'corrupt', detail, check, fileIndex }
}

function unknown (file: CachedFile, metadata: Metadata | null, detail: string): Verified {
  return { file, metadata, outcome: 'unknown', detail, check: null, fileIndex: file.fileIndex }
}

async function readMetadata (directory: string, infohash: string): Promise<Metadata | null> {
  try {
    return parseMetadata(await readFile(join(directory, stateFolder, 'torrents', `${infohash}.torrent`)), infohash)
  } catch {
    return null // none, or damaged: then nothing can be compared
  }
}

/** `4, 17-19, 23`; of very many the first ten stretches. */
export function listPieces (pieces: readonly number[]): string {
  const stretches: Array<{ first: number, last: number }> = []
  for (const piece of [...pieces].sort((a, b) => a - b)) {
    const last = stretches.at(-1)
    if (last !== undefined && last.last + 1 === piece) last.last = piece
    else stretches.push({ first: piece, last: piece })
  }
  const shown = stretches.slice(0, 10).map(({ first, last }) => first === last ? `${first}` : `${first}-${last}`).join(', ')
  return stretches.length > 10 ? `${shown}, … (${pieces.length} in all)` : shown
}
