import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { basename } from 'node:path'

import { identityOf, isSameFile } from '../cache/disk-file.ts'
import type { FileIdentity } from '../cache/disk-file.ts'
import { CodedError } from '../errors.ts'
import { encode } from './bencode.ts'

const sliceBytes = 1 << 20
const smallestPiece = 16_384
const largestPiece = 4 * 1024 * 1024

export interface MakeTorrentOptions {
  readonly signal: AbortSignal
  /** Called with the length of the file before it is read. */
  readonly onStart?: (lengthBytes: number) => void
  /** Called with the bytes that were hashed since the last call. */
  readonly onBytes?: (bytes: number) => void
}

export interface MadeTorrent {
  /** The `.torrent` (BEP 3), without trackers. */
  readonly torrent: Buffer
  /** The file whose bytes these are. */
  readonly identity: FileIdentity
}

/**
 * The length of a torrent's pieces as create-torrent chooses it, so that the same file gets the same infohash here and
 * there: about a thousandth of the content, a power of two, from 16 KiB to 4 MiB.
 */
export function pieceLengthFor (lengthBytes: number): number {
  const exponent = Math.floor(Math.log2(Math.max(1, lengthBytes / 1024)) + 0.5)
  return Math.min(largestPiece, Math.max(smallestPiece, 2 ** exponent))
}

/**
 * Makes the single-file torrent of a file: its name, its length, the hashes of its pieces.
 *
 * Throws METADATA_INVALID for an empty file, FILE_CHANGED when it is no regular file or is written to meanwhile, the
 * signal's reason, and what the file system says.
 */
export async function makeTorrent (path: string, { signal, onStart, onBytes }: MakeTorrentOptions): Promise<MadeTorrent> {
  // A FIFO must not hold us until somebody writes to it.
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const stats = await handle.stat({ bigint: true })
    if (!stats.isFile()) throw new CodedError('FILE_CHANGED', 'it is not a regular file')
    const identity = identityOf(stats)
    const { lengthBytes } = identity
    if (lengthBytes === 0) throw new CodedError('METADATA_INVALID', 'it is empty: a torrent needs content')
    onStart?.(lengthBytes)
    const pieceLength = pieceLengthFor(lengthBytes)
    const hashes: Buffer[] = []
    const buffer = Buffer.allocUnsafeSlow(Math.min(sliceBytes, pieceLength))
    let hash = createHash('sha1')
    let inPiece = 0
    for (let position = 0; position < lengthBytes;) {
      signal.throwIfAborted()
      const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, pieceLength - inPiece), position)
      if (bytesRead === 0) break
      hash.update(buffer.subarray(0, bytesRead))
      onBytes?.(bytesRead)
      position += bytesRead
      inPiece += bytesRead
      if (inPiece < pieceLength && position < lengthBytes) continue
      hashes.push(hash.digest())
      hash = createHash('sha1')
      inPiece = 0
    }
    if (!isSameFile(identity, identityOf(await handle.stat({ bigint: true })))) {
      throw new CodedError('FILE_CHANGED', 'it was written to while it was hashed: try again when it is complete')
    }
    const info = new Map<string, string | number | Buffer>([
      ['name', basename(path)], ['length', lengthBytes], ['piece length', pieceLength], ['pieces', Buffer.concat(hashes)]
    ])
    const torrent = encode(new Map<string, typeof info | number | string>([
      ['created by', 'Self-Streme'], ['creation date', Math.floor(Date.now() / 1000)], ['info', info]
    ]))
    return { torrent, identity }
  } finally {
    await handle.close()
  }
}
