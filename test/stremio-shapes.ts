import { Ajv2020 } from 'ajv/dist/2020.js'

/**
 * What stremio-core's parsers demand of a streaming server (its types/streaming_server/{settings,statistics}.rs): a field
 * that is missing, or of another kind, and the client takes the server for offline, or shows nothing.
 */

type Schema = Record<string, unknown>

const count = { type: 'integer', minimum: 0 }
const text = { type: 'string' }
const flag = { type: 'boolean' }
const number = { type: 'number' }
const listOf = (items: Schema): Schema => ({ type: 'array', items })
const all = (properties: Record<string, Schema>, optional: readonly string[] = []): Schema => ({ type: 'object', properties, required: Object.keys(properties).filter((name) => !optional.includes(name)) })

export const settingsShape = all({
  options: listOf({}),
  baseUrl: { type: 'string', pattern: '^https?://[^/]+' },
  values: all({
    serverVersion: { type: 'string', pattern: '^4\\.20\\.\\d+$' },
    appPath: text,
    cacheRoot: text,
    cacheSize: { type: ['number', 'null'] },
    btMaxConnections: count,
    btHandshakeTimeout: count,
    btRequestTimeout: count,
    btDownloadSpeedSoftLimit: number,
    btDownloadSpeedHardLimit: number,
    btMinPeersForStable: count,
    remoteHttps: { type: ['string', 'null'] },
    proxyStreamsEnabled: flag,
    transcodeProfile: { type: ['string', 'null'] }
  }, ['proxyStreamsEnabled', 'transcodeProfile'])
})

export const statisticsShape = all({
  name: text,
  infoHash: { type: 'string', pattern: '^[0-9a-f]{40}$' },
  files: listOf(all({ name: text, path: text, length: count, offset: count })),
  sources: listOf(all({ lastStarted: { type: 'string', pattern: '^\\d{4}-\\d\\d-\\d\\dT' }, numFound: count, numFoundUniq: count, numRequests: count, url: { type: 'string', pattern: '^[a-z]+:.+' } })),
  opts: all({
    connections: count,
    dht: flag,
    growler: all({ flood: count, pulse: count }),
    handshakeTimeout: count,
    path: text,
    peerSearch: all({ max: count, min: count, sources: listOf(text) }),
    swarmCap: all({ maxSpeed: number, minPeers: count }),
    timeout: count,
    tracker: flag,
    virtual: flag
  }),
  downloadSpeed: number,
  uploadSpeed: number,
  downloaded: count,
  uploaded: count,
  unchoked: count,
  peers: count,
  queued: count,
  unique: count,
  connectionTries: count,
  peerSearchRunning: flag,
  streamLen: count,
  streamName: text,
  streamProgress: { type: 'number', minimum: 0, maximum: 1 },
  swarmConnections: count,
  swarmPaused: flag,
  swarmSize: count,
  wires: listOf(all({ requests: count, address: text, amInterested: flag, isSeeder: flag, downSpeed: number, upSpeed: number })),
  selections: listOf({})
})

const ajv = new Ajv2020({ strict: false, allErrors: true })

/** What is wrong with an answer; empty: nothing. */
export function flawsOf (shape: Schema, answer: unknown): string[] {
  const check = ajv.compile(shape)
  check(answer)
  return (check.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message ?? ''}`)
}
