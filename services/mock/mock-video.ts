import { createHash } from 'node:crypto'
import { readFile, realpath } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

import { openDiskFile } from '../cache/disk-file.ts'
import { CodedError } from '../errors.ts'
import type { SourceFile } from '../source.ts'

/** Where scripts/make-mock.sh puts it. */
const videoPath = fileURLToPath(new URL('../../assets/mock.mp4', import.meta.url))

/**
 * The video that answers for the known test hashes: one file, whose index is 0. Its ETag is that of its own bytes, for they
 * are no torrent's. Throws FILE_INDEX for any other index, and SOURCE_FAILED or FILE_CHANGED when it cannot be read.
 */
export async function openMockVideo (fileIndex: number | null): Promise<SourceFile> {
  if (fileIndex !== null && fileIndex !== 0) {
    throw new CodedError('FILE_INDEX', `fileIndex ${fileIndex} is out of range: the mock has only file 0`)
  }
  // An installation may link its files from elsewhere, and a link itself is refused.
  const path = await realpath(videoPath).catch((cause: unknown) => {
    throw new CodedError('SOURCE_FAILED', 'the mock video is not installed', { cause })
  })
  etag ??= hash(path)
  return await openDiskFile({ path, source: 'mock', name: 'self-streme-mock.mp4', etag: await etag, isVerified: false })
}

/** Of the file as it was first read: it is part of the program. */
let etag: Promise<string> | null = null

async function hash (path: string): Promise<string> {
  try {
    return `"mock-${createHash('sha1').update(await readFile(path)).digest('hex').slice(0, 16)}"`
  } catch (cause) {
    etag = null
    throw new CodedError('SOURCE_FAILED', 'the mock video cannot be read', { cause })
  }
}
