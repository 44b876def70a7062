import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { envSchema } from 'env-schema'
import Type, { type Static, type TSchema, type TSchemaOptions } from 'typebox'
import { formats } from './config-formats.ts'

const day = 86_400_000

/**
 * Annotations of ours, beside JSON Schema's own (`writeOnly`: a secret, whose value no message shows):
 * `panelDefault`: the default when a panel runs us;
 * `whenUnset`: what happens without a value, where the default cannot be written down.
 */
const annotations = ['panelDefault', 'whenUnset']
const secret = { writeOnly: true }

const flag = (value: boolean, description: string, options: TSchemaOptions = {}) =>
  Type.Boolean({ ...options, default: value, description })
const whole = (value: number, minimum: number, maximum: number, description: string, options: TSchemaOptions = {}) =>
  Type.Integer({ ...options, default: value, minimum, maximum, description })
const text = (value: string, format: string, description: string, options: TSchemaOptions = {}) =>
  Type.String({ ...options, default: value, format, description })
const list = (value: readonly string[], format: string, description: string, options: TSchemaOptions = {}) =>
  Type.Array(Type.String({ format }), { ...options, default: value, description })
const optional = <T extends TSchema>(schema: T, description: string, options: TSchemaOptions = {}) =>
  Type.Union([schema, Type.Null()], { ...options, default: null, description })

const limit = (value: number, maximum: number, description: string) =>
  Type.Union([Type.Integer({ minimum: 1, maximum }), Type.Null()], { default: value, description })

/** Stremio clients look for it. */
const defaultPort = 11_470

const server = {
  PORT: whole(defaultPort, 0, 65535, 'Port of the HTTP server; Stremio clients look for 11470. 0: any free one. SERVER_PORT is read where PORT is not set, and wins on a panel.'),
  HOST: text('0.0.0.0', 'host', 'Address to listen on. 127.0.0.1 keeps everybody else out, 0.0.0.0 lets the network in.'),
  BASE_URL: optional(Type.String({ format: 'http-url' }), 'Address that clients reach this server at, for links in answers. Set it behind a reverse proxy or a path prefix.', { whenUnset: 'taken from each request' }),
  TRUST_PROXY: Type.Union([Type.Boolean(), Type.Integer({ minimum: 0, maximum: 100 }), Type.Array(Type.String({ format: 'proxies' }))], { default: false, description: 'Whose X-Forwarded-* headers count: a number of proxies, or their addresses. true believes everybody, and lets a client pretend to be another.' }),
  SHUTDOWN_GRACE: whole(10, 0, 600, 'Seconds that streams have to end after a stop signal; with none open the stop is immediate, and a second signal waits for nothing. Docker kills what takes longer than its own limit (10 s, --stop-timeout).'),
  LOG_LEVEL: Type.Enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], { default: 'info', description: 'How much is logged; debug tells why a source was left.' }),
  LOG_FORMAT: Type.Enum(['auto', 'pretty', 'json'], { default: 'auto', description: 'auto: pretty on a terminal, else one JSON object a line for log collectors.' }),
  SENDFILE_HEADER: optional(Type.Enum(['x-accel-redirect', 'x-sendfile']), 'Lets the reverse proxy send cached files itself: x-accel-redirect for nginx, x-sendfile for Apache and lighttpd. Only where nobody reaches this port but through that proxy (HOST=127.0.0.1).')
}

const https = {
  TLS_CERT_FILE: optional(Type.String({ format: 'path' }), 'Certificate chain (PEM). With it and the key, HTTPS is served beside HTTP: web players on https pages refuse plain http, and Stremio takes addons by nothing else, but from the same machine. Read again when it changes.'),
  TLS_KEY_FILE: optional(Type.String({ format: 'path' }), 'Private key of the certificate (PEM).'),
  HTTPS_PORT: whole(12470, 0, 65535, 'Port of the HTTPS server; Stremio clients look for 12470. The same as PORT: one port for both, which is the default on a panel. 0: any free one.')
}

const access = {
  API_TOKEN: optional(Type.String({ format: 'token' }), 'Asked of who lists, deletes or changes something. Set: of everybody. Unset: not of clients on this machine and private networks, unless a proxy or a panel is in between.', { ...secret, whenUnset: 'made at the first start, kept in .self-streme/api-token, and printed as a login link' }),
  STREAM_ACCESS: Type.Enum(['open', 'known', 'signed'], { default: 'open', description: 'Who may stream. known: strangers only what was added; signed: nobody without a token, a secret path or a signature.' }),
  STREAM_SIGNING_KEY: optional(Type.String({ format: 'token' }), 'Key that signs stream URLs; set the same one on servers that share them.', { ...secret, whenUnset: 'made at the first start, and kept in .self-streme/signing-key' }),
  NEW_TORRENTS_PER_MINUTE: limit(30, 100_000, 'New infohashes per minute that one client may add or stream. None is counted of the owner: who has the token, or is on a private network where none was set.'),
  MAX_STREAMS_PER_CLIENT: limit(100, 100_000, 'Streams at a time of one client; players open several, and behind a proxy that TRUST_PROXY does not name all clients are one. None is counted of the owner.'),
  MAX_STREAMS: limit(2000, 1_000_000, 'Streams at a time of all clients together.'),
  INFOHASH_BLOCKLIST: optional(Type.String({ format: 'path' }), 'File with torrents that this server does not touch: an infohash or magnet link in each line. Read again when it changes.'),
  ALLOWED_ORIGINS: optional(Type.Array(Type.String({ format: 'origins' })), 'Web pages that may call the API from a browser. * lets any page, but only with the token.', { whenUnset: 'the pages of this server' }),
  ALLOWED_HOSTS: optional(Type.Array(Type.String({ format: 'hosts' })), 'Host names by which this server is used; others are refused, which stops DNS rebinding: logins, lists and changes are for these names, that of BASE_URL, IP addresses, localhost, names in .local and without a dot.', { whenUnset: 'no others' })
}

const cache = {
  TORRENT_DOWNLOAD_PATH: text('./cache', 'path', 'Where downloads are kept, and where to put files of your own. Not /tmp: on a panel that is memory.'),
  MEDIA_PATHS: list(['./temp'], 'paths', 'More directories to serve from, never written or cleaned. ./temp is where older versions kept their files.'),
  CACHE_ONLY_MODE: flag(false, 'Serve cached files only: no swarm, no downloads.'),
  CACHE_MAX_DISK_MB: whole(20_000, 1, 1_000_000_000, 'Disk that everything stored may take (MB of 1,000,000 bytes), unfinished data included. A panel stops a server that is over its disk, so stay well below that.', { panelDefault: 2000 }),
  CACHE_MIN_FREE_MB: whole(200, 0, 1_000_000_000, 'Free disk (MB) that is left to everybody else, whatever the limit says.'),
  CACHE_ACCOUNTING: Type.Enum(['auto', 'apparent', 'allocated'], { default: 'auto', description: 'How a sparse file is counted. Panels count its apparent size; auto does so there, and counts allocated blocks elsewhere.' }),
  CACHE_CLEANUP_INTERVAL: whole(300, 1, 86_400, 'Seconds between two looks at the limit; room is also made whenever it is needed.'),
  CACHE_EVICT_PLACED: flag(false, 'Whether files that you placed may be deleted to make room. false deletes downloads only.'),
  CACHE_READ_ONLY: flag(false, 'Never write to or delete from the download directory: for media on a read-only disk, or a second server beside the one that writes. Nothing is downloaded then.')
}

const sources = {
  ENABLE_P2P: flag(true, 'Ask the swarm. Off: cache and HTTP only.'),
  ENABLE_HTTP_FALLBACK: flag(true, 'Download over HTTP when the swarm does not deliver: what makes a torrent without peers play.'),
  ENABLE_MOCK: flag(true, 'Answer the known test hashes with a test picture, to check a player without any network.'),
  P2P_TIMEOUT: whole(20_000, 1, day, "End of the swarm's turn (ms); later sources take over, and it goes on beside them. 15000 for popular titles, 30000 for rare ones, 10000 where P2P is blocked."),
  START_TIMEOUT: whole(60_000, 1, day, 'A stream that no source could start by then is answered with 404 (ms). Rare titles with few peers need more.'),
  SOURCE_HEDGE_DELAY: whole(3000, 0, day, 'The next source is started beside one that has not delivered for this long (ms). 0: strictly one after the other.'),
  STALL_TIMEOUT: whole(4000, 1, day, 'A reader that got nothing for this long (ms) gets the next source. Below 2000, slow links change source for nothing.'),
  RESPONSE_STALL_LIMIT: whole(90_000, 1, day, 'Silence of all sources (ms) after which a running response is cut, so that the player asks again.'),
  TORRENT_TIMEOUT: whole(60_000, 1, day, 'Time without progress (ms) of a swarm that has delivered before, which counts as one failed attempt.'),
  TORRENT_MAX_RETRIES: whole(3, 0, 100, 'Failed attempts in a row after which nobody waits for the swarm any more, until a peer is there. 0: it is waited for each time.'),
  LINGER: whole(60, 0, 86_400, 'Seconds that a start and its download live on after the last reader left, so that a player that retries finds them running.'),
  MAX_TORRENTS: whole(16, 1, 10_000, 'Torrents at work at once; the idlest is paused for a new one. Each takes memory: 4 suits a panel with 512 MB.')
}

const swarm = {
  TORRENT_PORT: whole(6881, 0, 65535, 'Port for BitTorrent, TCP and UDP. Fixed, so that a router or a panel can forward it: peers that reach you are more peers. The same as PORT: one port for everything, which is the default on a panel. 0: any free one.'),
  TORRENT_TRANSPORT: Type.Enum(['both', 'utp', 'tcp'], { default: 'both', description: 'What peers are dialled by, and let in by. both: uTP first, TCP beside it; utp: for networks that throttle BitTorrent over TCP; tcp: where UDP is blocked or slow.' }),
  TRACKERS: list([
    'udp://tracker.opentrackr.org:1337/announce', 'udp://open.demonii.com:1337/announce', 'udp://open.stealth.si:80/announce',
    'udp://tracker.torrent.eu.org:451/announce', 'udp://exodus.desync.com:6969/announce',
    'wss://tracker.openwebtorrent.com', 'wss://tracker.btorrent.xyz', 'wss://tracker.webtorrent.dev'
  ], 'trackers', "Trackers asked beside a torrent's own. Several, for at any time some are down; wss ones know the peers in browsers."),
  DHT_BOOTSTRAP: list(['router.bittorrent.com:6881', 'router.utorrent.com:6881', 'dht.transmissionbt.com:6881', 'dht.libtorrent.org:25401'], 'endpoints', 'Nodes that let us into the DHT, which finds peers without any tracker. none: no DHT.'),
  STATIC_PEERS: list([], 'endpoints', 'Peers that are always tried, such as your own seedbox.'),
  P2P_BLOCKLIST: optional(Type.String({ format: 'path' }), 'File with addresses that no peer, DHT node or UDP tracker may have: P2P (PeerGuardian), DAT, CIDR or plain addresses, gzip or not. Read again when it changes.'),
  ENABLE_PORT_MAPPING: flag(true, 'Ask the router to forward the port (UPnP, NAT-PMP). Off on a panel, where no router listens.', { panelDefault: false }),
  STUN_SERVERS: list(['stun.l.google.com:19302', 'stun.cloudflare.com:3478', 'stun.hot-chilli.net:3478', 'stun.voip.blackberry.com:3478', 'stunserver.stunprotocol.org:3478'], 'endpoints', 'Servers that tell our public address and the kind of NAT. It takes two of them to tell a symmetric one.'),
  TURN_URLS: list([], 'turn-urls', 'Relays for WebRTC peers, for where no direct path opens; with them, TURN_USERNAME and TURN_CREDENTIAL must be set.'),
  TURN_USERNAME: optional(Type.String(), 'User name at the relays.'),
  TURN_CREDENTIAL: optional(Type.String(), 'Password at the relays.', secret),
  UPLOAD_LIMIT: optional(Type.Integer({ minimum: 0, maximum: 10_000_000 }), 'Most that is uploaded to peers (KB/s of 1000 bytes). A full uplink slows what you watch: four fifths of it is a good value. 0 uploads nothing, and peers give less back.'),
  DOWNLOAD_LIMIT: optional(Type.Integer({ minimum: 1, maximum: 10_000_000 }), 'Most that is downloaded from peers (KB/s of 1000 bytes). Below the bit rate of the film it stalls.'),
  SEED_RATIO: Type.Number({ default: 1, minimum: 0, maximum: 1000, description: 'Seed until this share of the download was given back. 0: stop when nothing is missing any more, as panels with counted traffic want.', panelDefault: 0 })
}

const http = {
  TORRENT_METADATA_URLS: list([
    'https://itorrents.org/torrent/{HASH}.torrent', 'https://academictorrents.com/download/{hash}.torrent',
    'https://archive.org/advancedsearch.php?q=btih:{hash}&fl[]=identifier&rows=3&output=json'
  ], 'metadata-templates', 'Where a .torrent is had by its infohash ({hash} lower case, {HASH} upper case); the last one is the search of the Internet Archive. Each of them learns what you play; none: ask none of them.'),
  HTTP_MIRROR_URLS: list([], 'mirror-templates', 'Where files are downloaded from: {hash}, {HASH}, {index} (from 0), {index1} (from 1), {path}, {name}. Another Self-Streme is http://host:11470/stream/proxy/{hash}?fileIndex={index}. Where no .torrent is to be had nothing can be checked, and only URLs that you mark, such as trusted:http://nas/{hash}.mkv, are streamed: unverified, and not stored.'),
  WEBTOR_URL: optional(Type.String({ format: 'http-url' }), 'Address of a WebTor.io REST API, your own or the hosted one: it is asked for the .torrent, and for the file.', secret),
  WEBTOR_TOKEN: optional(Type.String({ format: 'token' }), 'Token for it (X-Token).', secret),
  WEBTOR_API_KEY: optional(Type.String({ format: 'token' }), 'Key for it (X-Api-Key).', secret),
  HTTP_ALLOW_PRIVATE_NETWORKS: flag(false, 'Whether URLs, trackers and peers that came from a torrent or a client may reach your own network. true lets anybody who adds a torrent probe it.')
}

const stremio = {
  UPSTREAM_ADDONS: list([], 'manifest-urls', 'Stremio addons, by the addresses of their manifests, whose torrents the addon of this server offers as its own streams. Each of them learns what you look for.', secret),
  STREAM_NOTICES: flag(true, 'Tell people at a TV why a stream does not start by a short video: those who play by the addon. false: by an error of the player.')
}

/** The variables by topic, in the order in which a reader wants them. */
export const topics = {
  'Sources: what is tried, and for how long': sources,
  'The cache': cache,
  'The server': server,
  'The swarm': swarm,
  'Downloads over HTTP': http,
  'Who may do what': access,
  HTTPS: https,
  Stremio: stremio
}

/** Every variable: its type, range, default and why one would change it. */
export const schema = Type.Object({ ...sources, ...cache, ...server, ...swarm, ...http, ...access, ...https, ...stremio })

type Values = Static<typeof schema>
type ReadOnly<T> = T extends readonly (infer Entry)[] ? readonly Entry[] : T

/** The checked configuration. Units are in the schema's descriptions. Lists may be empty; null: none, or `whenUnset`. */
export type Config = { readonly [Name in keyof Values]: ReadOnly<Values[Name]> } & {
  /** A game panel (Pterodactyl, Pelican) runs us: one port, no router, sizes counted as apparent, local peer discovery useless. */
  readonly isPanel: boolean
}

/**
 * The configuration from `env` and, below it, the file at `dotenvPath` (which may be missing; not given: no file).
 * Unknown variables are ignored, an empty value is not set. Throws one Error that names every wrong variable, what it got
 * and what it may be, a line each.
 */
export function readConfig (env: NodeJS.ProcessEnv, dotenvPath?: string): Config {
  const set = { ...nonEmpty(readDotenv(dotenvPath)), ...nonEmpty(env) }
  const isPanel = set.P_SERVER_UUID !== undefined
  const portName = set.SERVER_PORT !== undefined && (isPanel || set.PORT === undefined) ? 'SERVER_PORT' : 'PORT'

  const parsed: Record<string, unknown> = {}
  const raw: Record<string, string> = {}
  for (const [name, property] of Object.entries(schema.properties)) {
    const value = set[name === 'PORT' ? portName : name]
    const parsedValue = value === undefined ? undefined : parse(value, property)
    if (value !== undefined && parsedValue !== undefined) {
      raw[name] = value
      parsed[name] = parsedValue
    } else if (isPanel && 'panelDefault' in property) {
      parsed[name] = property.panelDefault
    }
  }

  // One allocation is what most panels give.
  if (isPanel && parsed.TORRENT_PORT === undefined) parsed.TORRENT_PORT = typeof parsed.PORT === 'number' ? parsed.PORT : defaultPort
  if (isPanel && parsed.HTTPS_PORT === undefined) parsed.HTTPS_PORT = typeof parsed.PORT === 'number' ? parsed.PORT : defaultPort

  const config: Config = { ...check(parsed, raw, portName), isPanel }
  // Without them every WebRTC connection would fail, those that need no relay included.
  const missing = (['TURN_USERNAME', 'TURN_CREDENTIAL'] as const).filter(name => config.TURN_URLS.length > 0 && config[name] === null)
  if (missing.length > 0) throw new Error(`${missing.join(' and ')} must be set where TURN_URLS is: a relay serves nobody whom it does not know`)
  if ((config.TLS_CERT_FILE === null) !== (config.TLS_KEY_FILE === null)) throw new Error(`${config.TLS_CERT_FILE === null ? 'TLS_CERT_FILE' : 'TLS_KEY_FILE'} must be set, too: a certificate and its key belong together`)
  for (const value of Object.values(config)) if (Array.isArray(value)) Object.freeze(value)
  return Object.freeze(config)
}

/** Where a setting has its value from. */
export type Origin = 'environment' | 'environment (SERVER_PORT)' | '.env' | '.env (SERVER_PORT)' | 'default on a panel' | 'default'

/** Where `readConfig` has the value of each variable from; the same arguments. */
export function configOrigins (env: NodeJS.ProcessEnv, dotenvPath?: string): Map<string, Origin> {
  const [above, below] = [nonEmpty(env), nonEmpty(readDotenv(dotenvPath))]
  const set = { ...below, ...above }
  const isPanel = set.P_SERVER_UUID !== undefined
  return new Map(Object.entries(schema.properties).map(([name, property]) => {
    const isServerPort = name === 'PORT' && set.SERVER_PORT !== undefined && (isPanel || set.PORT === undefined)
    const variable = isServerPort ? 'SERVER_PORT' : name
    const place = above[variable] !== undefined ? 'environment' : below[variable] !== undefined ? '.env' : null
    if (place !== null) return [name, isServerPort ? `${place} (SERVER_PORT)` : place]
    return [name, isPanel && ('panelDefault' in property || name === 'TORRENT_PORT' || name === 'HTTPS_PORT') ? 'default on a panel' : 'default']
  }))
}

function readDotenv (path: string | undefined): NodeJS.Dict<string> {
  if (path === undefined) return {}
  try {
    return parseEnv(readFileSync(path, 'utf8'))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {}
    throw new Error(`cannot read the configuration file ${path}`, { cause: error })
  }
}

/** Panels and compose pass empty strings for what was not filled in: an empty value must not hide the one below it. */
function nonEmpty (variables: NodeJS.Dict<string>): Record<string, string> {
  const found: Record<string, string> = {}
  for (const [name, value] of Object.entries(variables)) {
    const trimmed = value?.trim() ?? ''
    if (trimmed !== '') found[name] = trimmed
  }
  return found
}

interface Shape {
  readonly type?: unknown
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly Shape[]
  readonly items?: Shape
  readonly format?: string
  readonly minimum?: number
  readonly maximum?: number
}

const words = new Map([['true', true], ['yes', true], ['1', true], ['false', false], ['no', false], ['0', false]])

/**
 * The value that a text stands for under a schema: stays a text where it fits none of its types (the check then says what
 * it may be), undefined where it is a list of nothing. Done here and not by Ajv's coercion, which takes 0x10 and 1e3.
 */
function parse (value: string, shape: Shape): unknown {
  const shapes = shape.anyOf ?? [shape]
  const has = (type: string): boolean => shapes.some(each => each.type === type)
  const lower = value.toLowerCase()

  if (lower === 'none' && has('array')) return []
  if (lower === 'none' && has('null')) return null
  if ((has('integer') || has('number')) && /^[+-]?\d+$/.test(value)) return Number(value)
  if (has('number') && /^[+-]?\d*\.\d+$/.test(value)) return Number(value)
  if (has('boolean') && words.has(lower)) return words.get(lower)
  if (shapes.some(each => each.enum !== undefined)) return lower
  if (!has('array')) return value

  const entries = value.split(',').map(entry => entry.trim()).filter(entry => entry !== '')
  return entries.length === 0 ? undefined : entries
}

/** Fills in the defaults and checks; `raw` and `portName` are for the message. */
function check (parsed: Record<string, unknown>, raw: Readonly<Record<string, string>>, portName: string): Values {
  try {
    return envSchema<Values>({
      schema,
      data: parsed,
      env: false,
      ajv: {
        customOptions (ajv) {
          // Values have their types already, and coercion would turn null into ''.
          ajv.opts.coerceTypes = false
          ajv.addVocabulary(annotations)
          for (const [name, { accepts }] of Object.entries(formats)) ajv.addFormat(name, accepts)
          return ajv
        }
      }
    })
  } catch (error) {
    if (!(error instanceof Error && 'errors' in error && Array.isArray(error.errors))) throw error

    const wrongEntries = new Map<string, Set<unknown>>()
    for (const { instancePath } of error.errors) {
      const [, name = '', index] = String(instancePath).split('/')
      const entries = wrongEntries.get(name) ?? new Set()
      const value = parsed[name]
      if (index !== undefined && Array.isArray(value)) entries.add(value[Number(index)])
      wrongEntries.set(name, entries)
    }

    const lines = Object.entries(schema.properties).flatMap(([name, property]) => {
      const entries = wrongEntries.get(name)
      if (entries === undefined) return []
      const shown = [...entries].map(entry => JSON.stringify(withoutSecrets(String(entry)))).join(', ')
      const got = 'writeOnly' in property ? ' (its value is not shown)' : `, got ${shown || JSON.stringify(withoutSecrets(raw[name] ?? ''))}`
      return `${name === 'PORT' ? portName : name} must be ${expectation(property)}${got}`
    })
    // Without the cause: Ajv's error holds the values, secrets included.
    throw new Error(lines.join('\n'))
  }
}

/** An environment without the variables whose values are secrets: for processes that have no need of them. */
export function withoutSecretVariables (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const secrets = new Set(Object.entries(schema.properties).flatMap(([name, property]) => 'writeOnly' in property ? [name] : []))
  return Object.fromEntries(Object.entries(env).filter(([name]) => !secrets.has(name)))
}

/** As much of a value as may be shown: passkeys of trackers and tokens of mirrors stand behind the host, passwords before it. */
export function withoutSecrets (value: string): string {
  const [shown = '', scheme = ''] = /^((?:trusted:)?[^:/?#]*:\/\/)?[^/?#]*/.exec(value) ?? []
  if (value.includes('@')) return `${scheme}…`
  return shown === value ? value : `${shown}/…`
}

/** What a value may be, in words: `a whole number from 0 to 65535`. */
export function expectation (shape: Shape): string {
  const shapes = shape.anyOf ?? [shape]
  const kinds = shapes.filter(each => each.type !== 'null').map(each => {
    if (each.enum !== undefined) return `one of ${each.enum.join(', ')}`
    if (each.type === 'boolean') return 'true or false'
    if (each.type === 'integer') return `a whole number from ${each.minimum} to ${each.maximum}`
    if (each.type === 'number') return `a number from ${each.minimum} to ${each.maximum}`
    if (each.type === 'array') return `a comma separated list of ${formats[each.items?.format ?? '']?.expects ?? 'texts'}, or none`
    return formats[each.format ?? '']?.expects ?? 'a text'
  })
  const isOptional = shapes.some(each => each.type === 'null') && !shapes.some(each => each.type === 'array')
  return [...kinds, ...(isOptional ? ['none'] : [])].join(', or ')
}
