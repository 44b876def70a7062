import { readFileSync } from 'node:fs'
import { expectation, topics } from '../services/config.ts'

/** What the egg says instead of the schema: what is different, or no choice, on a panel. */
const onPanel: Readonly<Record<string, Partial<EggVariable>>> = {
  PORT: { description: "Not used on a panel: the server listens on the primary allocation's port.", user_viewable: false, user_editable: false, default_value: '' },
  HOST: { user_viewable: false, user_editable: false },
  TORRENT_DOWNLOAD_PATH: { user_editable: false },
  CACHE_MAX_DISK_MB: {
    description: 'Disk that everything stored may take (MB of 1,000,000 bytes), unfinished data included. The panel does not tell the server its disk limit, and stops a server that is over it: set this to at least 500 below that limit.',
    default_value: '2000',
    rules: 'required|integer|min:64|max:1000000000'
  },
  MAX_TORRENTS: { default_value: '4' },
  // Who presses Stop wants it stopped: within 5 s, the rest of the stop included.
  SHUTDOWN_GRACE: { default_value: '2' },
  LOG_FORMAT: { default_value: 'pretty' },
  TORRENT_PORT: { description: 'Port for BitTorrent, TCP and UDP. Empty: the primary allocation, which HTTP and BitTorrent then share. With a second allocation: its number.', default_value: '' },
  HTTPS_PORT: { description: 'Port of the HTTPS server, where there is a certificate. Empty: the primary allocation, which HTTP and HTTPS then share. With a second allocation: its number.', default_value: '' }
}

interface EggVariable {
  readonly name: string
  readonly description: string
  readonly env_variable: string
  readonly default_value: string
  readonly user_viewable: boolean
  readonly user_editable: boolean
  readonly rules: string
  readonly field_type: 'text'
}

/** Read by the install script alone. */
const source: readonly EggVariable[] = [
  { name: 'Source', description: 'What is installed: the address of a release archive (.tar.gz) or of a git repository. Reinstall the server to change it; cache and settings stay.', env_variable: 'SOURCE_URL', default_value: '', user_viewable: true, user_editable: false, rules: 'required|string|max:500', field_type: 'text' },
  { name: 'Version', description: 'For a git repository: a branch, a tag or a commit.', env_variable: 'SOURCE_REF', default_value: 'HEAD', user_viewable: true, user_editable: true, rules: 'required|string|max:100|regex:/^[A-Za-z0-9_.\\/-]+$/', field_type: 'text' }
]

/** The text of deploy/egg-self-streme.json (PTDL_v2, which Pterodactyl and Pelican import), made from the schema. */
export function egg (): string {
  const variables = Object.values(topics).flatMap((topic) => Object.entries(topic)).map(([name, schema]) => variable(name, schema))
  return `${JSON.stringify({
    _comment: 'Made from services/config.ts by: node scripts/egg.ts > deploy/egg-self-streme.json',
    meta: { version: 'PTDL_v2', update_url: null },
    exported_at: '2026-11-01T00:00:00+00:00',
    name: 'Self-Streme',
    author: 'self-streme@example.com',
    description: "Streams a torrent's video over plain HTTP, from the cache, the swarm or an HTTP mirror, every byte verified. One port is enough.",
    features: null,
    docker_images: { 'Node 24': 'ghcr.io/pelican-eggs/yolks:nodejs_24' },
    file_denylist: [],
    startup: 'node index.js',
    config: {
      files: '{}',
      // The line that server.ts prints when it listens.
      startup: JSON.stringify({ done: 'Server listening on port' }),
      logs: '{}',
      stop: '^C'
    },
    scripts: {
      installation: {
        script: readFileSync(new URL('../deploy/egg-install.sh', import.meta.url), 'utf8'),
        // The full image: git and curl, and compilers for what has no binary on arm64; the same libc as the yolk.
        container: 'node:24-bookworm',
        entrypoint: 'bash'
      }
    },
    variables: [...source, ...variables]
  }, null, 2)}\n`
}

interface Schema {
  readonly description: string
  readonly default?: unknown
  readonly panelDefault?: unknown
  readonly status?: string
  readonly whenUnset?: string
  readonly type?: unknown
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly Shape[]
  readonly minimum?: number
  readonly maximum?: number
}

type Shape = Pick<Schema, 'type' | 'enum' | 'minimum' | 'maximum'>

function variable (name: string, schema: Schema): EggVariable {
  const { description, status, whenUnset } = schema
  const allowed = expectation(schema)
  return {
    name: title(name),
    description: `${status === 'reserved' ? 'Reserved: no effect yet. ' : ''}${description} (${allowed}.${whenUnset === undefined ? '' : ` Unset: ${whenUnset}.`}${isList(schema.default) ? ' Empty: a list that comes with the server.' : ''})`,
    env_variable: name,
    // A list that is long may be another one in the next version: what was not changed is not written down.
    default_value: whenUnset !== undefined || isList(schema.default) ? '' : String(schema.panelDefault ?? oneOf(schema.default)),
    user_viewable: true,
    user_editable: true,
    rules: rulesOf(schema),
    field_type: 'text',
    ...onPanel[name]
  }
}

/**
 * Laravel's rules. An empty value means the default, so nothing is required. Laravel's own `boolean` takes neither `true`
 * nor `false` as text; and what a list or a URL may be the server checks itself, at its start.
 */
function rulesOf (schema: Schema): string {
  const shapes = schema.anyOf ?? [schema]
  const [shape, ...others] = shapes.filter(({ type }) => type !== 'null')
  const isOptional = shapes.some(({ type }) => type === 'null')
  if (shape === undefined || others.length > 0) return 'nullable|string|max:2000'
  if (shape.enum !== undefined) return `nullable|string|in:${[...shape.enum, ...isOptional ? ['none'] : []].join(',')}`
  if (shape.type === 'boolean') return 'nullable|string|in:true,false'
  // `none` is no number. Rules are split at each |, so that none may be in an expression.
  if (shape.type === 'integer' || shape.type === 'number') {
    return isOptional ? 'nullable|string|regex:/^(?:none)?[0-9]*$/' : `nullable|${shape.type === 'integer' ? 'integer' : 'numeric'}|min:${shape.minimum}|max:${shape.maximum}`
  }
  return 'nullable|string|max:2000'
}

/** `CACHE_MAX_DISK_MB` as `Cache max disk MB`. */
function title (name: string): string {
  const capitals = new Set(['MB', 'P2P', 'HTTP', 'HTTPS', 'TLS', 'URL', 'URLS', 'API', 'DHT', 'STUN', 'TURN', 'TTL'])
  const words = name.split('_').map((word) => capitals.has(word) ? word.replace(/^URLS$/, 'URLs') : word.toLowerCase())
  const [first = '', ...rest] = words
  return [first.charAt(0).toUpperCase() + first.slice(1), ...rest].join(' ')
}

/** What stands for a default that is no list, or one of one entry at most. */
function oneOf (value: unknown): unknown {
  return (Array.isArray(value) ? value[0] : value) ?? 'none'
}

function isList (value: unknown): boolean {
  return Array.isArray(value) && value.length > 1
}

if (import.meta.main) process.stdout.write(egg())
