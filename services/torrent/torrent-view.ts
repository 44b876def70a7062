import { linksFrom } from '../links.ts'
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

/** `baseUrl`: what clients reach the server by, a path prefix included; null: each knows it, and gets paths. */
export function torrentView (status: TorrentStatus, baseUrl: string | null): TorrentView {
  const { infoHash, fileIndex, isDefaultFile } = status
  const links = linksFrom(baseUrl)
  return { ...status, streamUrl: links.stream(infoHash, { fileIndex: isDefaultFile ? null : fileIndex }), statusUrl: links.torrent(infoHash) }
}

export function fileView (infohash: string, file: FileStatus, baseUrl: string | null): FileView {
  return { ...file, streamUrl: linksFrom(baseUrl).stream(infohash, { fileIndex: file.index }) }
}
