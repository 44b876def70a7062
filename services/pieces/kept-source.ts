import { chunkBytesNow } from '../chunk-pool.ts'
import { abortable } from '../deadline.ts'
import { CodedError } from '../errors.ts'
import { selectFile } from '../torrent/file-selection.ts'
import type { Source, SourceFile, StreamRequest } from '../source.ts'
import type { Torrents } from '../torrent/torrents.ts'
import type { PieceStore } from './piece-store.ts'

/**
 * What earlier downloads left on disk, as the last source: verified pieces of a file that is not whole. It claims a
 * request whose first byte is there, and breaks at the first gap, where a source that downloads may go on.
 */
export function keptSource (torrents: Torrents): Omit<Source, 'priority'> {
  return {
    name: 'kept',
    isLocal: true,
    async open (request, signal) {
      if (request.head === null || await torrents.knownMetadata(request.infohash) === null) return null
      return await torrents.whileJoined(request.infohash, {}, async (torrent) => {
        await abortable(torrent.load(), signal)
        return torrent.store === null ? null : openKept(request, torrents, torrent.store)
      })
    }
  }
}

function openKept (request: StreamRequest, torrents: Torrents, store: PieceStore): SourceFile | null {
  const { metadata } = store
  const file = selectFile(metadata, request.fileIndex)
  const { head } = request
  if (head === null || file.lengthBytes === 0) return null
  const start = Math.min('start' in head ? head.start : Math.max(0, file.lengthBytes - head.last), file.lengthBytes - 1)
  // Of a windowed file only what other readers' windows have is there, and they move.
  if (store.isWindowed(file.index) || store.contiguousBytesFrom(file.index, start, 1) === 0) return null
  return {
    source: 'cache',
    name: file.name,
    lengthBytes: file.lengthBytes,
    etag: `"${metadata.infohash}-${file.index}"`,
    lastModified: metadata.createdAt,
    isVerified: true,
    isLocal: true,
    async * read ({ start, end }, signal) {
      const lease = torrents.read(metadata.infohash, file.index)
      try {
        if (lease.torrent.store !== store) throw new CodedError('STORE_CLOSED', 'the torrent was let go and has started anew')
        for (let position = start; position <= end;) {
          const available = store.contiguousBytesFrom(file.index, position, Math.min(chunkBytesNow(), end - position + 1))
          if (available === 0) throw new CodedError('NOT_CACHED', `byte ${position} was not downloaded yet`)
          const chunk = await abortable(store.readFile(file.index, position, available), signal)
          position += chunk.length
          lease.reading.touch()
          yield chunk
          lease.reading.touch()
        }
      } finally {
        lease.release()
      }
    }
  }
}
