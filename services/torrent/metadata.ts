/** One file of a torrent (BEP 3 `files`, BEP 47 `attr`). */
export interface TorrentFile {
  /** Zero-based, in the torrent's own order, padding files included. */
  readonly index: number
  /** Path components exactly as the torrent has them: hostile until `safeFileName` made a name of them. */
  readonly components: readonly string[]
  /** The last component. */
  readonly name: string
  /** The components joined by `/`, for people. */
  readonly path: string
  readonly lengthBytes: number
  /** Where the file starts in the torrent's bytes. */
  readonly offset: number
  /** BEP 47 padding: zeros, never fetched, never offered. */
  readonly isPadding: boolean
}

/** A parsed and checked `.torrent` (BEP 3): the info dictionary hashes to `infohash`. */
export interface Metadata {
  readonly infohash: string
  readonly name: string
  /** The info dictionary has `files`: web seed URLs are folders (BEP 19), even with one file in them. */
  readonly isMultiFile: boolean
  readonly isPrivate: boolean
  readonly lengthBytes: number
  readonly pieceLength: number
  readonly pieceCount: number
  readonly files: readonly TorrentFile[]
  readonly trackers: readonly string[]
  /** BEP 19 `url-list`, http(s) only. */
  readonly webSeeds: readonly string[]
  /** BEP 17 `httpseeds`, http(s) only. */
  readonly httpSeeds: readonly string[]
  /** `creation date`, where the torrent has one. */
  readonly createdAt: Date | null
  /** The whole `.torrent`, as kept on disk. */
  readonly torrent: Buffer
  /** SHA-1 of the piece, 20 bytes. */
  hashOf (piece: number): Buffer
}
