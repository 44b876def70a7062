import { Type } from 'typebox'
import { listOf, mockHash, nullable, oneOf, ownInfoHash, reference } from './schemas.ts'

const streamUrl = Type.String({ description: 'absolute with BASE_URL, else a path', examples: [`/stream/proxy/${mockHash}`] })

const httpSchema = Type.Object({
  downloaded: Type.Integer(),
  length: Type.Integer(),
  downloadSpeed: Type.Integer({ description: 'bytes per second' }),
  eta: nullable(Type.Number({ description: 'seconds left' })),
  mirrors: listOf(Type.String())
}, { description: 'the download from mirrors, while there is one' })

export const torrentFields = {
  infoHash: ownInfoHash,
  name: nullable(Type.String()),
  status: oneOf(['queued', 'metadata', 'downloading', 'cached', 'ready', 'idle']),
  cached: Type.Boolean({ description: 'the selected files are in the cache' }),
  length: nullable(Type.Integer({ description: 'bytes of the selected files: the default file, or those that the magnet named (so)' })),
  downloaded: Type.Integer({ description: 'bytes of them that are here, verified' }),
  progress: Type.Number({ minimum: 0, maximum: 1 }),
  downloadSpeed: Type.Integer({ description: 'bytes per second' }),
  uploaded: Type.Integer({ description: 'bytes given to peers, over all the times it ran' }),
  ratio: Type.Number({ minimum: 0, description: 'of that to what was downloaded: with SEED_RATIO it has given enough' }),
  peers: Type.Integer(),
  source: nullable(Type.String({ description: 'where the download comes from' })),
  http: nullable(httpSchema),
  reason: nullable(Type.String({ description: 'what it waits for, in words' })),
  fileIndex: nullable(Type.Integer({ description: 'the file to play' })),
  isDefaultFile: Type.Boolean({ description: 'a stream without fileIndex is that file' }),
  fileCount: nullable(Type.Integer({ description: 'null: the list of files is not known yet' })),
  addedAt: nullable(Type.String({ description: 'ISO 8601; null: nobody added it, it was streamed or is in the cache' })),
  streamUrl,
  statusUrl: Type.String()
}

export const fileSchema = Type.Object({
  index: Type.Integer({ description: "in the torrent's own order, from 0" }),
  name: Type.String(),
  path: Type.String({ description: 'folders and name, joined by /; as hostile as the torrent' }),
  length: Type.Integer(),
  downloaded: Type.Integer(),
  progress: Type.Number({ minimum: 0, maximum: 1 }),
  isVideo: Type.Boolean(),
  isSelected: Type.Boolean({ description: 'it is downloaded to the end when the torrent is added' }),
  streamUrl
}, { $id: 'TorrentFile' })

export const torrentSchema = Type.Object(torrentFields, { $id: 'Torrent' })

export const torrentWithFilesSchema = Type.Object({
  ...torrentFields,
  files: listOf(reference(fileSchema), { description: 'the first 1000; /files has the rest' })
}, { $id: 'TorrentWithFiles' })
