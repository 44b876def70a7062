import { randomUUID } from 'node:crypto'
import { constants, createReadStream, createWriteStream } from 'node:fs'
import { copyFile, link, lstat, mkdir, readdir, rename, rm, stat, statfs, utimes } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'

import { CodedError } from '../errors.ts'
import { formatBytes } from '../format.ts'
import { syncFolder } from '../write-file.ts'
import { identityOf, isSameFile } from './disk-file.ts'
import type { FileIdentity } from './disk-file.ts'

const chunkBytes = 1 << 20

/** What nobody has changed for so long was left by an import that was killed. */
const abandonedAfterMs = 3_600_000

export interface PlaceOptions {
  readonly signal: AbortSignal
  /** A folder on the same disk for copies that are not complete. */
  readonly temporaryFolder: string
  /** Never a hard link. */
  readonly copy: boolean
  /** Called before the file has its name, with what it will be. */
  readonly beforeNamed: (identity: FileIdentity) => Promise<void>
  /** So many bytes were copied since the last call. */
  readonly onBytes?: (bytes: number) => void
}

/**
 * Gives a file a second name: a hard link, or (on another disk, or asked for) a copy that appears when it is complete,
 * as old as its original. Nothing is ever replaced.
 *
 * `identity` is what the file was when its bytes were looked at. Throws FILE_CHANGED when it is not that any more,
 * STORE_FAILED when the name is taken or the disk too small, the signal's reason, and what the file system says.
 */
export async function placeFile (path: string, identity: FileIdentity, target: string, options: PlaceOptions): Promise<'linked' | 'copied'> {
  const { copy, beforeNamed } = options
  await mkdir(dirname(target), { recursive: true })
  if (!copy) {
    await beforeNamed(identity)
    const isLinked = await link(path, target).then(() => true, () => false)
    if (isLinked) {
      await checkLinked(target, identity)
      return 'linked'
    }
  }
  await copyTo(path, identity, target, options)
  return 'copied'
}

/** The file under this name as it is now; null when there is none. Links are not followed. */
export async function identityAt (path: string): Promise<FileIdentity | null> {
  return await lstat(path, { bigint: true }).then(identityOf, () => null)
}

async function checkLinked (target: string, identity: FileIdentity): Promise<void> {
  const linked = await identityAt(target)
  if (linked === null || !isSameFile(linked, identity)) {
    await rm(target, { force: true })
    throw changed()
  }
  await syncFolder(dirname(target))
}

async function copyTo (path: string, identity: FileIdentity, target: string, { signal, temporaryFolder, beforeNamed, onBytes = () => {} }: PlaceOptions): Promise<void> {
  const folder = dirname(target)
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize < identity.lengthBytes) {
    throw new CodedError('STORE_FAILED', `${folder} has ${formatBytes(bavail * bsize)} left, and a copy takes ${formatBytes(identity.lengthBytes)}: make room, or put the file on the same disk, where it can be linked`)
  }
  await mkdir(temporaryFolder, { recursive: true })
  await removeAbandoned(temporaryFolder)
  const temporary = join(temporaryFolder, `${randomUUID()}.tmp`)
  try {
    await copyBytes(path, temporary, signal, onBytes)
    const { atimeMs, mtimeMs } = await stat(path)
    // As old as its original: a file that is new is taken for one that is still growing.
    await utimes(temporary, atimeMs / 1000, mtimeMs / 1000)
    const [original, copied] = await Promise.all([identityAt(path), identityAt(temporary)])
    if (original === null || copied === null || !isSameFile(original, identity) || copied.lengthBytes !== identity.lengthBytes) throw changed()
    await beforeNamed(copied)
    await nameWithoutReplacing(temporary, target)
    await syncFolder(folder)
  } finally {
    await rm(temporary, { force: true })
  }
}

/** Where the file system can, the copy shares its blocks with the original (btrfs, XFS, APFS). */
async function copyBytes (path: string, temporary: string, signal: AbortSignal, onBytes: (bytes: number) => void): Promise<void> {
  const isCloned = await copyFile(path, temporary, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE).then(() => true, () => false)
  if (isCloned) return
  const input = createReadStream(path, { highWaterMark: chunkBytes })
  input.on('data', (chunk) => { onBytes(chunk.length) })
  await pipeline(input, createWriteStream(temporary, { flags: 'w', flush: true }), { signal })
}

/** Where there are no hard links, a file that appears at the same moment could be replaced: nothing better is to be had. */
async function nameWithoutReplacing (temporary: string, target: string): Promise<void> {
  const error: unknown = await link(temporary, target).then(() => null, (reason: unknown) => reason)
  if (error === null) return
  if (await identityAt(target) !== null) throw new CodedError('STORE_FAILED', `another file took the name ${basename(target)} meanwhile`, { cause: error })
  await rename(temporary, target)
}

async function removeAbandoned (folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    const stats = await stat(path).catch(() => null)
    if (stats !== null && name.endsWith('.tmp') && Date.now() - stats.ctimeMs > abandonedAfterMs) await rm(path, { force: true })
  }
}

function changed (): CodedError {
  return new CodedError('FILE_CHANGED', 'it was written to while it was imported: try again when it is complete')
}
