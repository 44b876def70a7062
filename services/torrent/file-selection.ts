import { CodedError } from '../errors.ts'
import { isMedia, isVideo } from '../http/content-type.ts'
import type { Metadata, TorrentFile } from './metadata.ts'

/**
 * The file of a torrent that a request means: the one with this index (the torrent's own order, from 0), or for null its
 * largest video, else its largest media file, else its largest file. Of equals the first. Padding is never offered.
 *
 * Throws CodedError FILE_INDEX that names the valid range.
 */
export function selectFile (metadata: Pick<Metadata, 'files'>, fileIndex: number | null): TorrentFile {
  return fileIndex === null ? defaultFile(metadata.files) : fileAt(metadata.files, fileIndex)
}

function fileAt (files: readonly TorrentFile[], fileIndex: number): TorrentFile {
  const file = files[fileIndex]
  const range = files.length === 1 ? 'only file 0' : `files 0 to ${files.length - 1}`
  if (file === undefined) throw new CodedError('FILE_INDEX', `fileIndex ${fileIndex} is out of range: this torrent has ${range}`)
  if (file.isPadding) throw new CodedError('FILE_INDEX', `fileIndex ${fileIndex} is padding, not a file: this torrent has ${range}`)
  return file
}

function defaultFile (files: readonly TorrentFile[]): TorrentFile {
  const offered = files.filter(file => !file.isPadding)
  // an empty video (a symlink, BEP 47) plays less than any other file
  const filled = offered.filter(file => file.lengthBytes > 0)
  const file = largest(filled.filter(file => isVideo(file.name))) ??
    largest(filled.filter(file => isMedia(file.name))) ??
    largest(filled) ??
    offered[0]
  if (file === undefined) throw new CodedError('FILE_INDEX', 'this torrent has no file but padding')
  return file
}

function largest (files: readonly TorrentFile[]): TorrentFile | undefined {
  let best: TorrentFile | undefined
  for (const file of files) if (best === undefined || file.lengthBytes > best.lengthBytes) best = file
  return best
}
