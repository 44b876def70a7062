import { CodedError } from '../errors.ts'
import { selectFile } from '../torrent/file-selection.ts'
import { fileNamed } from './choose-file.ts'
import { statisticsOf } from './statistics.ts'
import type { Metadata, TorrentFile } from '../torrent/metadata.ts'
import type { TorrentList } from '../torrent/torrent-list.ts'
import type { Torrents } from '../torrent/torrents.ts'
import type { Statistics } from './statistics.ts'

interface Torrenting {
  readonly torrentList: Pick<TorrentList, 'status' | 'isListed' | 'files'>
  readonly torrents: Pick<Torrents, 'get' | 'knownMetadata'>
}

const MAX_FILES_LOOKED_AT = 100_000

/**
 * Statistics of what runs, is cached, was added, or was begun with `/create` or otherwise, so that its files are known; null of
 * all else, and of a file that there is not. Starts nothing.
 */
export async function knownStatistics (infohash: string, idx: string | null, { torrentList, torrents }: Torrenting): Promise<Statistics | null> {
  const found = await torrentList.status(infohash)
  const status = found === null || !torrentList.isListed(found) ? null : found
  const metadata = await torrents.knownMetadata(infohash)
  if (status === null && metadata === null) return null
  const chosen = metadata === null ? null : chosenFile(metadata, idx)
  if (metadata !== null && chosen === null) return null
  const file = chosen === null ? null : await progressOf(infohash, chosen, { torrentList })
  return statisticsOf({ infohash, status, metadata, torrent: torrents.get(infohash), file: file ?? (status?.cached === true && status.length !== null ? { name: status.name ?? '', length: status.length, progress: 1 } : null) })
}

function chosenFile (metadata: Metadata, idx: string | null): TorrentFile | null {
  if (idx === null || idx === '-1') return selectFile(metadata, null)
  try {
    return /^\d{1,15}$/.test(idx) ? selectFile(metadata, Number(idx)) : fileNamed(metadata, idx)
  } catch (error) {
    if (error instanceof CodedError) return null
    throw error
  }
}

/** How much of a file is here. */
export async function progressOf (infohash: string, { index, name, lengthBytes }: TorrentFile, { torrentList }: Pick<Torrenting, 'torrentList'>) {
  const { entries } = await torrentList.files(infohash, { offset: 0, limit: MAX_FILES_LOOKED_AT })
  return { name, length: lengthBytes, progress: entries.find((file) => file.index === index)?.progress ?? 0 }
}
