import { Type } from 'typebox'
import { infoHash, listOf, mockHash, ownInfoHash } from './schemas.ts'
import { corsHeaders } from './stream-schemas.ts'

/** What the routes of Stremio's streaming server say of themselves. Shapes are those that stremio-core's parsers demand. */

export const serverTags = ['stremio server']

/** Bound to its form: other routes begin with a word. */
export const torrentPath = '/:infoHash(^[0-9a-fA-F]{40}$)'
export const torrentParams = Type.Object({ infoHash })
export const fileParams = Type.Object({
  infoHash,
  idx: Type.String({ description: 'the index of a file, from 0; -1: the largest video; or the name of a file', examples: ['0'] })
})

/** For answers that pages of Stremio may read: of the page that asked, and no other. */
export const pageHeaders = { ...corsHeaders, 'Access-Control-Allow-Origin': { type: 'string', description: 'the page that asked, where it may' }, Vary: { type: 'string', description: 'Origin' } }

const count = Type.Integer({ minimum: 0 })

export const statisticsSchema = Type.Object({
  infoHash: ownInfoHash,
  name: Type.String(),
  peers: count,
  unchoked: count,
  queued: count,
  unique: count,
  connectionTries: count,
  swarmPaused: Type.Boolean(),
  swarmConnections: count,
  swarmSize: count,
  selections: listOf(Type.Object({})),
  wires: listOf(Type.Object({})),
  files: listOf(Type.Object({ name: Type.String(), path: Type.String(), length: count, offset: count })),
  downloaded: count,
  uploaded: count,
  downloadSpeed: count,
  uploadSpeed: count,
  sources: listOf(Type.Object({ url: Type.String(), lastStarted: Type.String(), numFound: count, numFoundUniq: count, numRequests: count })),
  peerSearchRunning: Type.Boolean(),
  opts: Type.Object({
    connections: count,
    dht: Type.Boolean(),
    growler: Type.Object({ flood: count, pulse: count }),
    handshakeTimeout: count,
    path: Type.String(),
    peerSearch: Type.Object({ min: count, max: count, sources: listOf(Type.String()) }),
    swarmCap: Type.Object({ minPeers: count, maxSpeed: count }),
    timeout: count,
    tracker: Type.Boolean(),
    virtual: Type.Boolean()
  }),
  streamLen: count,
  streamName: Type.String(),
  streamProgress: Type.Number({ minimum: 0, maximum: 1 }),
  guessedFileIdx: Type.Optional(Type.Integer({ minimum: -1, description: 'where it was asked for: the file to play; -1: none is media' }))
}, { $id: 'Statistics', description: 'a torrent, as Stremio clients read it' })

export const settingsSchema = Type.Object({
  serverVersion: Type.String(),
  appPath: Type.String(),
  cacheRoot: Type.String(),
  cacheSize: count,
  btMaxConnections: count,
  btHandshakeTimeout: count,
  btRequestTimeout: count,
  btDownloadSpeedSoftLimit: count,
  btDownloadSpeedHardLimit: count,
  btMinPeersForStable: count,
  remoteHttps: Type.String(),
  proxyStreamsEnabled: Type.Boolean(),
  transcodeProfile: Type.Union([Type.String(), Type.Null()]),
  localAddonEnabled: Type.Boolean(),
  transcodeHorsepower: Type.Number(),
  transcodeMaxBitRate: count,
  transcodeConcurrency: count,
  transcodeTrackConcurrency: count,
  transcodeHardwareAccel: Type.Boolean(),
  allTranscodeProfiles: listOf(Type.String()),
  transcodeMaxWidth: count
})

/** An answer of JSON that pages of Stremio may read. */
export function json (description: string, schema: object) {
  return Type.Unsafe<unknown>({ description, headers: pageHeaders, content: { 'application/json': { schema } } })
}

export const createExample = { torrent: { infoHash: mockHash }, guessFileIdx: {} }
