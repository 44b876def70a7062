import { Ajv2020 } from 'ajv/dist/2020.js'

/**
 * What stremio-core's parsers demand of a streaming server (its types/streaming_server/{settings,statistics}.rs): a field
 * that is missing, or of another kind, and the client takes the server for offline, or shows nothing.
 */

type Schema = Record<string, unknown>

const count = { type: 'integer', minimum: 0 }
const text = { type: 'string' }
const url = { type: 'string', format: 'url' }
const speed = { type: 'number', minimum: 0 }
const flag = { type: 'boolean' }
const listOf = (items: Schema): Schema => ({ type: 'array', items })
const all = (properties: Record<string, Schema>, optional: readonly string[] = []): Schema => ({ type: 'object', properties, required: Object.keys(properties).filter((name) => !optional.includes(name)) })

export const settingsShape = all({
  options: listOf({}),
  baseUrl: { type: 'string', format: 'url', pattern: '^https?://[^/]+' },
  values: all({
    serverVersion: { type: 'string', pattern: '^4\\.20\\.\\d+$' },
    appPath: text,
    cacheRoot: text,
    cacheSize: { type: ['number', 'null'] },
    btMaxConnections: count,
    btHandshakeTimeout: count,
    btRequestTimeout: count,
    btDownloadSpeedSoftLimit: speed,
    btDownloadSpeedHardLimit: speed,
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
  sources: listOf(all({ lastStarted: { type: 'string', pattern: '^\\d{4}-\\d\\d-\\d\\dT' }, numFound: count, numFoundUniq: count, numRequests: count, url })),
  opts: all({
    connections: count,
    dht: flag,
    growler: all({ flood: count, pulse: count }),
    handshakeTimeout: count,
    path: text,
    peerSearch: all({ max: count, min: count, sources: listOf(text) }),
    swarmCap: all({ maxSpeed: count, minPeers: count }),
    timeout: count,
    tracker: flag,
    virtual: flag
  }),
  downloadSpeed: speed,
  uploadSpeed: speed,
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
  wires: listOf(all({ requests: count, address: text, amInterested: flag, isSeeder: flag, downSpeed: speed, upSpeed: speed })),
  selections: listOf({})
})

const ajv = new Ajv2020({ strict: false, allErrors: true })
// As the crate `url` reads them.
ajv.addFormat('url', (text: string) => URL.canParse(text))

/** What is wrong with an answer; empty: nothing. */
export function flawsOf (shape: Schema, answer: unknown): string[] {
  const check = ajv.compile(shape)
  check(answer)
  return (check.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message ?? ''}`)
}

/**
 * The answer, spoilt in every way that a parser minds, one at a time: each field that the shape demands is missing, null or
 * of another kind, each counter negative or broken, each URL none.
 */
export function spoilt (shape: Schema, answer: unknown): Array<{ readonly what: string, readonly answer: unknown }> {
  const found: Array<{ what: string, answer: unknown }> = []
  const at = (value: unknown, path: readonly string[]): unknown => path.reduce<unknown>((inner, key) => Object(inner)[key], value)
  const change = (what: string, path: readonly string[], edit: (parent: Record<string, unknown>, key: string) => void): void => {
    const copy: unknown = structuredClone(answer)
    edit(Object(at(copy, path.slice(0, -1))), path.at(-1) ?? '')
    found.push({ what: `${path.join('.')} ${what}`, answer: copy })
  }
  const walk = (schema: Schema, path: readonly string[]): void => {
    const { type, properties, required, items, minimum, format } = schema
    for (const wrong of [[], {}, 'x', 7.5, -1, true, null]) {
      const isRight = ajv.compile(schema)(wrong)
      if (path.length > 0 && !isRight) change(`is ${JSON.stringify(wrong)}`, path, (parent, key) => { parent[key] = wrong })
    }
    if (minimum === 0) change('is -1', path, (parent, key) => { parent[key] = -1 })
    if (type === 'integer') change('is broken', path, (parent, key) => { parent[key] = 0.5 })
    if (format === 'url') change('is no URL', path, (parent, key) => { parent[key] = 'none at all' })
    if (Array.isArray(required)) for (const name of required) change('is missing', [...path, String(name)], (parent, key) => { Reflect.deleteProperty(parent, key) })
    for (const [name, inner] of Object.entries(Object(properties))) walk(Object(inner), [...path, name])
    if (items !== undefined && Object(at(answer, path)).length > 0) walk(Object(items), [...path, '0'])
  }
  walk(shape, [])
  return found
}
