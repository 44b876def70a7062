import { isVideo } from '../http/content-type.ts'
import { selectFile } from './file-selection.ts'
import type { Metadata, TorrentFile } from './metadata.ts'
import type { Torrent } from './torrent.ts'

/** `queued`: added, its download has not begun or waits to be tried again. `idle`: known, and nobody asks for it. */
export type TorrentState = 'queued' | 'metadata' | 'downloading' | 'cached' | 'ready' | 'idle'

export interface FileStatus {
  readonly index: number
  readonly name: string
  readonly path: string
  readonly length: number
  readonly downloaded: number
  readonly progress: number
  readonly isVideo: boolean
  /** It is one of those that are downloaded to the end when the torrent is added. */
  readonly isSelected: boolean
}

/** What a download from mirrors says of itself, as in its `[Hybrid] Progress` lines. Bytes, bytes per second, seconds. */
export interface HttpStatus {
  readonly downloaded: number
  readonly length: number
  readonly downloadSpeed: number
  /** null: nothing comes. */
  readonly eta: number | null
  /** Those that it is being fetched from. */
  readonly mirrors: readonly string[]
}

/** What the API says of one torrent. Bytes, bytes per second; progress from 0 to 1. Lengths are those of the selected files. */
export interface TorrentStatus {
  readonly infoHash: string
  readonly name: string | null
  readonly status: TorrentState
  /** The selected files are in the cache. */
  readonly cached: boolean
  readonly length: number | null
  readonly downloaded: number
  readonly progress: number
  readonly downloadSpeed: number
  /** To peers, over all the times it ran; and what part that is of what was downloaded. */
  readonly uploaded: number
  readonly ratio: number
  readonly peers: number
  readonly source: string | null
  /** null: nothing is being fetched from mirrors. */
  readonly http: HttpStatus | null
  /** What it waits for, in words; null when it waits for nothing. */
  readonly reason: string | null
  /** The file to play: the torrent's default, or of those that a magnet selects without it the first. */
  readonly fileIndex: number | null
  /** A stream of the torrent without `fileIndex` is that file. */
  readonly isDefaultFile: boolean
  /** null: metadata is not there yet. */
  readonly fileCount: number | null
  readonly addedAt: string | null
}

/** The download of an added torrent, as it stands. */
export interface DownloadState {
  readonly source: string | null
  readonly reason: string | null
  readonly isDone: boolean
}

interface Facts {
  /** All files but padding. */
  readonly offered: readonly TorrentFile[]
  readonly defaultFile: TorrentFile
}

/** Of a torrent with 100,000 files this is not worked out again for each question. */
const facts = new WeakMap<Metadata, Facts>()

/** The files that a client can ask for, in the torrent's order: all but padding. */
export function offeredFiles (metadata: Metadata): readonly TorrentFile[] {
  return factsOf(metadata).offered
}

/** The files that an added torrent is downloaded for: those of the magnet's `so` (BEP 53) that there are, else the default one. */
export function selectedFiles (metadata: Metadata, selectOnly: readonly number[] = []): readonly TorrentFile[] {
  const chosen = selectOnly.flatMap((index) => metadata.files[index] ?? []).filter(({ isPadding }) => !isPadding)
  return chosen.length > 0 ? chosen : [factsOf(metadata).defaultFile]
}

/** Which of the selected files is played when nobody says which. */
export function mainFile (metadata: Metadata, selected: readonly TorrentFile[]): TorrentFile {
  const { defaultFile } = factsOf(metadata)
  return selected.includes(defaultFile) ? defaultFile : selected[0] ?? defaultFile
}

export function isDefaultFile (metadata: Metadata, file: TorrentFile): boolean {
  return factsOf(metadata).defaultFile === file
}

/** What is there of a file. Its `downloaded` bytes are verified. */
export function fileStatusOf (file: TorrentFile, downloaded: number, isSelected: boolean): FileStatus {
  const { index, name, path, lengthBytes } = file
  return { index, name, path, length: lengthBytes, downloaded, progress: lengthBytes === 0 ? 1 : downloaded / lengthBytes, isVideo: isVideo(name), isSelected }
}

/** `isBusy`: somebody is at work with the torrent that runs; else it runs on for peers, or in case somebody comes back. */
export function stateOf ({ isCached, download, torrent, isBusy }: { isCached: boolean, download: DownloadState | undefined, torrent: Torrent | null, isBusy: boolean }): TorrentState {
  if (isCached) return 'cached'
  if (download?.isDone === true) return 'ready'
  if (torrent !== null && !isBusy && download === undefined && torrent.fillers.some(({ isSeeding }) => isSeeding === true)) return 'idle'
  if (torrent !== null) return torrent.metadata === null ? 'metadata' : 'downloading'
  return download === undefined ? 'idle' : 'queued'
}

export function httpStatusOf (torrent: Torrent | null): HttpStatus | null {
  const progress = torrent?.fillers.find(({ progress }) => progress !== undefined)?.progress
  if (progress === undefined) return null
  const { verifiedBytes, totalBytes, bytesPerSecond, secondsLeft, mirrors } = progress
  return { downloaded: verifiedBytes, length: totalBytes, downloadSpeed: Math.round(bytesPerSecond), eta: secondsLeft, mirrors }
}

export function reasonOf (download: DownloadState | undefined, torrent: Torrent | null): string | null {
  if (download?.isDone === true) return null
  const fillers = torrent?.fillers.map(({ name, state }) => `${name}: ${state}`) ?? []
  if (download?.source == null && download?.reason != null) return download.reason
  if (torrent !== null && torrent.metadata === null) {
    const lookup = torrent.lookupFailure
    return ['waiting for metadata', ...lookup === null ? [] : [lookup.message], ...fillers].join('; ')
  }
  return fillers.length > 0 ? fillers.join('; ') : null
}

function factsOf (metadata: Metadata): Facts {
  const known = facts.get(metadata)
  if (known !== undefined) return known
  const found = { offered: metadata.files.filter(({ isPadding }) => !isPadding), defaultFile: selectFile(metadata, null) }
  facts.set(metadata, found)
  return found
}
