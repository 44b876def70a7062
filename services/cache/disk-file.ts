import { constants } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { access, lstat, open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { basename } from 'node:path'

import { chunkBytesNow, takeChunk } from '../chunk-pool.ts'
import { abortable } from '../deadline.ts'
import { CodedError } from '../errors.ts'
import type { ByteRange } from '../pieces/geometry.ts'
import type { SourceFile } from '../source.ts'

/** A link put in the file's place is not followed, and a FIFO put there does not hold a thread until somebody writes. */
const openFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** What makes a file on disk this file and no other. Equal identities at two moments: nobody wrote in between. */
export interface FileIdentity {
  readonly device: bigint
  readonly inode: bigint
  readonly lengthBytes: number
  readonly mtimeNs: bigint
}

export interface DiskFileOptions {
  /** The file itself with every link resolved: a symbolic link is refused. */
  readonly path: string
  /** The source's name, for `X-Stream-Source`. */
  readonly source: string
  /** The name for clients; default: the last component of the path. */
  readonly name?: string
  /** Strong, with its quotes; a function gets what the disk says. Default: `"<size>-<mtimeMs>"`. */
  readonly etag?: string | ((identity: FileIdentity) => string)
  readonly isVerified: boolean
  /** Default: the file's mtime. */
  readonly lastModified?: Date | null
  /** The file that was found under this path, when it was looked at before: another one is refused. */
  readonly identity?: FileIdentity
}

/** The identity in what `stat(path, { bigint: true })` answered. */
export function identityOf (stats: BigIntStats): FileIdentity {
  return { device: stats.dev, inode: stats.ino, lengthBytes: Number(stats.size), mtimeNs: stats.mtimeNs }
}

export function isSameFile (a: FileIdentity, b: FileIdentity): boolean {
  return a.inode === b.inode && a.device === b.device && a.lengthBytes === b.lengthBytes && a.mtimeNs === b.mtimeNs
}

/** Whole milliseconds, as `<mtimeMs>` stands in an ETag: what `Math.floor(stats.mtimeMs)` gives, its rounding included. */
export function mtimeMsOf ({ mtimeNs }: FileIdentity): number {
  return Math.floor(Number(mtimeNs / 1_000_000_000n) * 1000 + Number(mtimeNs % 1_000_000_000n) / 1_000_000)
}

/**
 * A regular file on disk as a SourceFile. No descriptor is held between reads: each read opens the file anew and
 * throws FILE_CHANGED once it is not the file any more that was opened here (another inode, size or mtime, before or
 * during the read), rather than mix two files in one response. Its chunks may be recycled (chunk-pool.ts).
 * Throws FILE_CHANGED when there is no such file, and SOURCE_FAILED when it cannot be read.
 */
export async function openDiskFile (options: DiskFileOptions): Promise<SourceFile> {
  const { path, source, isVerified } = options
  const identity = await look(path)
  if (options.identity !== undefined && !isSameFile(options.identity, identity)) throw changed('was replaced')
  const etag = options.etag ?? (({ lengthBytes }) => `"${lengthBytes}-${mtimeMsOf(identity)}"`)
  return {
    source,
    name: options.name ?? basename(path),
    lengthBytes: identity.lengthBytes,
    etag: typeof etag === 'string' ? etag : etag(identity),
    lastModified: options.lastModified === undefined ? new Date(mtimeMsOf(identity)) : options.lastModified,
    isVerified,
    isLocal: true,
    read: (range, signal) => read(path, identity, range, signal)
  }
}

/** By name: opening it only for this would cost as much as a small range. Reads look at what they have opened. */
async function look (path: string): Promise<FileIdentity> {
  try {
    const stats = await lstat(path, { bigint: true })
    if (!stats.isFile()) throw changed('is no regular file')
    await access(path, constants.R_OK)
    return identityOf(stats)
  } catch (error) {
    throw asReason(error)
  }
}

async function identify (handle: FileHandle): Promise<FileIdentity> {
  const stats = await handle.stat({ bigint: true })
  if (!stats.isFile()) throw changed('is no regular file')
  return identityOf(stats)
}

async function * read (path: string, expected: FileIdentity, range: ByteRange, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const { start, end } = range
  if (start < 0 || end < start - 1 || end >= expected.lengthBytes) {
    throw new RangeError(`bytes ${start}-${end} do not lie in a file of ${expected.lengthBytes}`)
  }
  signal.throwIfAborted()
  const opening = open(path, openFlags)
  const release = async (): Promise<void> => {
    // An open that failed has nothing to close, and its error was thrown below.
    const handle = await opening.catch(() => null)
    await handle?.close().catch(() => {})
  }
  // On abort at once, for a consumer that is gone may never ask this generator for anything again.
  signal.addEventListener('abort', release, { once: true })
  try {
    const handle = await abortable(opening, signal)
    let position = start
    while (position <= end) {
      const chunk = takeChunk(Math.min(chunkBytesNow(), end - position + 1))
      const { bytesRead } = await abortable(handle.read(chunk, 0, chunk.length, position), signal)
      // After the bytes, not before: whatever was done to the file until they were read shows now.
      if (!isSameFile(expected, await abortable(identify(handle), signal))) throw changed('was written to')
      if (bytesRead === 0) throw changed('ended early')
      position += bytesRead
      yield chunk.subarray(0, bytesRead)
    }
  } catch (error) {
    signal.throwIfAborted()
    throw asReason(error)
  } finally {
    signal.removeEventListener('abort', release)
    const released = release()
    if (!signal.aborted) await released
  }
}

function changed (what: string, cause?: unknown): CodedError {
  return new CodedError('FILE_CHANGED', `the cached file ${what}`, { cause })
}

/** Errors of the file system for people who must not learn our paths: the path stays in the cause. */
function asReason (error: unknown): CodedError {
  if (error instanceof CodedError) return error
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
  if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes(code)) return changed('is gone', error)
  return new CodedError('SOURCE_FAILED', `the cached file cannot be read (${code})`, { cause: error })
}
