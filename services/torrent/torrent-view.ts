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

/** `baseUrl`: what clients reach the server by, null where each knows it; a path prefix is kept. */
export function torrentView (status: TorrentStatus, baseUrl: string | null): TorrentView {
  const { infoHash, fileIndex, isDefaultFile } = status
  return { ...status, streamUrl: streamUrlOf(infoHash, isDefaultFile ? null : fileIndex, baseUrl), statusUrl: `${rootOf(baseUrl)}/api/torrents/${infoHash}` }
}

export function fileView (infohash: string, file: FileStatus, baseUrl: string | null): FileView {
  return { ...file, streamUrl: streamUrlOf(infohash, file.index, baseUrl) }
}

function streamUrlOf (infohash: string, fileIndex: number | null, baseUrl: string | null): string {
  return `${rootOf(baseUrl)}/stream/proxy/${infohash}${fileIndex === null ? '' : `?fileIndex=${fileIndex}`}`
}

function rootOf (baseUrl: string | null): string {
  return baseUrl?.replace(/\/+$/, '') ?? ''
}
