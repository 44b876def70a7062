import type { Links } from '../links.ts'
import type { FileStatus, TorrentStatus } from './torrent-status.ts'

/** A torrent as the API shows it: its status with the addresses that belong to it. */
export interface TorrentView extends TorrentStatus {
  /** The file to play. */
  readonly streamUrl: string
  readonly statusUrl: string
}

export interface FileView extends FileStatus {
  readonly streamUrl: string
}

/** With links for whoever is to see it. */
export function torrentView (status: TorrentStatus, links: Links): TorrentView {
  const { infoHash, fileIndex, isDefaultFile } = status
  return { ...status, streamUrl: links.stream(infoHash, { fileIndex: isDefaultFile ? null : fileIndex }), statusUrl: links.torrent(infoHash) }
}

export function fileView (infohash: string, file: FileStatus, links: Links): FileView {
  return { ...file, streamUrl: links.stream(infohash, { fileIndex: file.index }) }
}
