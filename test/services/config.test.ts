import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { envFile } from '../../scripts/env-file.ts'
import { type Config, readConfig, schema, withoutSecretVariables } from '../../services/config.ts'

/** What TURN_URLS needs. */
const turn = { TURN_USERNAME: 'me', TURN_CREDENTIAL: 'secret' }
const panel = { P_SERVER_UUID: '6b0d3d8e-0000-4000-8000-000000000000' }

function messageOf (env: NodeJS.ProcessEnv, dotenvPath?: string): string {
  try {
    readConfig(env, dotenvPath)
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
  return 'accepted'
}

t.test('an empty environment gives the documented defaults', async t => {
  const config = readConfig({})
  t.match(config, {
    isPanel: false,
    PORT: 11470,
    HOST: '0.0.0.0',
    TORRENT_DOWNLOAD_PATH: './cache',
    MEDIA_PATHS: ['./temp'],
    CACHE_MAX_DISK_MB: 20_000,
    CACHE_MIN_FREE_MB: 200,
    CACHE_ACCOUNTING: 'auto',
    CACHE_CLEANUP_INTERVAL: 300,
    CACHE_EVICT_PLACED: false,
    CACHE_READ_ONLY: false,
    CACHE_ONLY_MODE: false,
    ENABLE_P2P: true,
    ENABLE_MOCK: true,
    P2P_TIMEOUT: 20_000,
    TORRENT_TIMEOUT: 60_000,
    TORRENT_MAX_RETRIES: 3,
    START_TIMEOUT: 60_000,
    SOURCE_HEDGE_DELAY: 3000,
    STALL_TIMEOUT: 4000,
    RESPONSE_STALL_LIMIT: 90_000,
    LINGER: 60,
    MAX_TORRENTS: 16,
    TORRENT_PORT: 6881,
    TURN_URLS: [],
    TURN_USERNAME: null,
    TURN_CREDENTIAL: null,
    ENABLE_PORT_MAPPING: true,
    STATIC_PEERS: [],
    UPLOAD_LIMIT: null,
    DOWNLOAD_LIMIT: null,
    SEED_RATIO: 1,
    ENABLE_HTTP_FALLBACK: true,
    TORRENT_METADATA_URLS: ['https://itorrents.org/torrent/{HASH}.torrent', 'https://academictorrents.com/download/{hash}.torrent', 'https://archive.org/advancedsearch.php?q=btih:{hash}&fl[]=identifier&rows=3&output=json'],
    HTTP_MIRROR_URLS: [],
    WEBTOR_URL: null,
    WEBTOR_TOKEN: null,
    WEBTOR_API_KEY: null,
    HTTP_ALLOW_PRIVATE_NETWORKS: false,
    API_TOKEN: null,
    STREAM_SIGNING_KEY: null,
    STREAM_ACCESS: 'open',
    UPSTREAM_ADDONS: [],
    ALLOWED_ORIGINS: null,
    ALLOWED_HOSTS: null,
    BASE_URL: null,
    TRUST_PROXY: false,
    TLS_CERT_FILE: null,
    TLS_KEY_FILE: null,
    HTTPS_PORT: 12470,
    SENDFILE_HEADER: null,
    SHUTDOWN_GRACE: 10,
    LOG_LEVEL: 'info',
    LOG_FORMAT: 'auto'
  })
  for (const name of ['TRACKERS', 'DHT_BOOTSTRAP', 'STUN_SERVERS'] as const) {
    t.ok(config[name].length >= 3, `${name}: one dead server is not the end`)
  }
  t.same(Object.keys(config).sort(), [...Object.keys(schema.properties), 'isPanel'].sort(), 'and nothing else')
})

t.test('each type of value is read in each of its forms', async t => {
  const table: Array<[NodeJS.ProcessEnv, keyof Config, unknown]> = [
    [{ PORT: '0' }, 'PORT', 0],
    [{ PORT: ' 8080 ' }, 'PORT', 8080],
    [{ PORT: '65535' }, 'PORT', 65535],
    [{ SERVER_PORT: '25565' }, 'PORT', 25565],
    [{ PORT: '8080', SERVER_PORT: '25565' }, 'PORT', 8080],
    [{ SEED_RATIO: '0.5' }, 'SEED_RATIO', 0.5],
    [{ SEED_RATIO: '2' }, 'SEED_RATIO', 2],
    [{ UPLOAD_LIMIT: '500' }, 'UPLOAD_LIMIT', 500],
    [{ UPLOAD_LIMIT: 'None' }, 'UPLOAD_LIMIT', null],
    ...['true', 'TRUE', '1', 'yes', 'Yes'].map((value): [NodeJS.ProcessEnv, keyof Config, unknown] => [{ CACHE_ONLY_MODE: value }, 'CACHE_ONLY_MODE', true]),
    ...['false', 'False', '0', 'no', 'NO'].map((value): [NodeJS.ProcessEnv, keyof Config, unknown] => [{ ENABLE_P2P: value }, 'ENABLE_P2P', false]),
    [{ LOG_LEVEL: 'DEBUG' }, 'LOG_LEVEL', 'debug'],
    [{ SENDFILE_HEADER: 'X-Accel-Redirect' }, 'SENDFILE_HEADER', 'x-accel-redirect'],
    [{ SENDFILE_HEADER: 'none' }, 'SENDFILE_HEADER', null],
    [{ HOST: '::1' }, 'HOST', '::1'],
    [{ HOST: 'localhost' }, 'HOST', 'localhost'],
    [{ TORRENT_DOWNLOAD_PATH: '/srv/films and more' }, 'TORRENT_DOWNLOAD_PATH', '/srv/films and more'],
    [{ MEDIA_PATHS: ' /a , ,/b,' }, 'MEDIA_PATHS', ['/a', '/b']],
    [{ MEDIA_PATHS: 'none' }, 'MEDIA_PATHS', []],
    [{ TRACKERS: 'NONE' }, 'TRACKERS', []],
    [{ TRACKERS: 'udp://t.example:80/announce,wss://t.example' }, 'TRACKERS', ['udp://t.example:80/announce', 'wss://t.example']],
    [{ STATIC_PEERS: '192.0.2.1:6881,[2001:db8::1]:6881,seedbox.example:1' }, 'STATIC_PEERS', ['192.0.2.1:6881', '[2001:db8::1]:6881', 'seedbox.example:1']],
    [{ ...turn, TURN_URLS: 'turn:turn.example:3478?transport=tcp,turns:turn.example:5349' }, 'TURN_URLS', ['turn:turn.example:3478?transport=tcp', 'turns:turn.example:5349']],
    [{ ...turn, TURN_URLS: 'turn:turn.example,turns:[2001:db8::1]?transport=tcp,turn:[2001:db8::1]:3478' }, 'TURN_URLS', ['turn:turn.example', 'turns:[2001:db8::1]?transport=tcp', 'turn:[2001:db8::1]:3478']],
    [{ HTTP_MIRROR_URLS: 'trusted:http://nas/{hash}.mkv, http://nas/{path}' }, 'HTTP_MIRROR_URLS', ['trusted:http://nas/{hash}.mkv', 'http://nas/{path}']],
    [{ HTTP_MIRROR_URLS: 'http://127.0.0.1:8090/stream/{name}?link={hash}&index={index1}&play' }, 'HTTP_MIRROR_URLS', ['http://127.0.0.1:8090/stream/{name}?link={hash}&index={index1}&play']],
    [{ ALLOWED_ORIGINS: '*' }, 'ALLOWED_ORIGINS', ['*']],
    [{ ALLOWED_HOSTS: 'none' }, 'ALLOWED_HOSTS', []],
    [{ TRUST_PROXY: 'yes' }, 'TRUST_PROXY', true],
    [{ TRUST_PROXY: 'false' }, 'TRUST_PROXY', false],
    [{ TRUST_PROXY: '1' }, 'TRUST_PROXY', 1],
    [{ TRUST_PROXY: 'loopback,10.0.0.0/8,2001:db8::/32' }, 'TRUST_PROXY', ['loopback', '10.0.0.0/8', '2001:db8::/32']]
  ]
  for (const [env, name, expected] of table) {
    t.same(readConfig(env)[name], expected, JSON.stringify(env))
  }
})

t.test('an empty value means the default, whatever the type', async t => {
  for (const empty of ['', '   ']) {
    const env = Object.fromEntries([...Object.keys(schema.properties), 'SERVER_PORT', 'P_SERVER_UUID'].map(name => [name, empty]))
    t.same(readConfig(env), readConfig({}))
  }
  t.same(readConfig({ TRACKERS: ' , ,' }).TRACKERS, readConfig({}).TRACKERS, 'a list of nothing is empty too')
})

t.test('a wrong value stops the start with a line that says what it may be', async t => {
  const table: Array<[NodeJS.ProcessEnv, string]> = [
    [{ PORT: 'abc' }, 'PORT must be a whole number from 0 to 65535, got "abc"'],
    [{ PORT: '65536' }, 'PORT must be a whole number from 0 to 65535, got "65536"'],
    [{ PORT: '-1' }, 'PORT must be a whole number from 0 to 65535, got "-1"'],
    [{ PORT: '0x10' }, 'PORT must be a whole number from 0 to 65535, got "0x10"'],
    [{ PORT: '1e3' }, 'PORT must be a whole number from 0 to 65535, got "1e3"'],
    [{ PORT: '80.5' }, 'PORT must be a whole number from 0 to 65535, got "80.5"'],
    [{ PORT: 'none' }, 'PORT must be a whole number from 0 to 65535, got "none"'],
    [{ SERVER_PORT: '99999' }, 'SERVER_PORT must be a whole number from 0 to 65535, got "99999"'],
    [{ P2P_TIMEOUT: '0' }, 'P2P_TIMEOUT must be a whole number from 1 to 86400000, got "0"'],
    [{ SEED_RATIO: 'much' }, 'SEED_RATIO must be a number from 0 to 1000, got "much"'],
    [{ UPLOAD_LIMIT: '-5' }, 'UPLOAD_LIMIT must be a whole number from 0 to 10000000, or none, got "-5"'],
    [{ ENABLE_P2P: 'maybe' }, 'ENABLE_P2P must be true or false, got "maybe"'],
    [{ ENABLE_P2P: '2' }, 'ENABLE_P2P must be true or false, got "2"'],
    [{ STREAM_ACCESS: 'closed' }, 'STREAM_ACCESS must be one of open, known, signed, got "closed"'],
    [{ HOST: 'http://x' }, 'HOST must be an IP address or a host name, got "http://x"'],
    [{ BASE_URL: 'example.org' }, 'BASE_URL must be an http or https URL without a query, or none, got "example.org"'],
    [{ STATIC_PEERS: '192.0.2.1:6881,192.0.2.2' }, 'STATIC_PEERS must be a comma separated list of host:port pairs, or none, got "192.0.2.2"'],
    [{ DHT_BOOTSTRAP: 'a:1,b:0,c:70000' }, 'DHT_BOOTSTRAP must be a comma separated list of host:port pairs, or none, got "b:0", "c:70000"'],
    [{ TRACKERS: 'udp://t.example' }, 'TRACKERS must be a comma separated list of tracker URLs (udp with a port, http, https, ws or wss), or none, got "udp://t.example"'],
    [{ TORRENT_METADATA_URLS: 'https://t.example' }, 'TORRENT_METADATA_URLS must be a comma separated list of http or https URLs with {hash} or {HASH}, or none, got "https://t.example"'],
    [{ TRUST_PROXY: '10.0.0.0/33' }, 'TRUST_PROXY must be true or false, or a whole number from 0 to 100, or a comma separated list of IP addresses, ranges such as 10.0.0.0/8, or loopback, linklocal, uniquelocal, or none, got "10.0.0.0/…"']
  ]
  for (const [env, message] of table) t.equal(messageOf(env), message)

  for (const [name, values] of Object.entries({
    HTTP_MIRROR_URLS: ['ftp://h/{hash}', 'http://h/', 'http://h/{hash}/{season}', 'trusted:http://h/{hahs}', 'trusted:/etc/{hash}', '/etc/{hash}', 'http:///{hash}'],
    TORRENT_METADATA_URLS: ['http://h/{index}', 'file:///{hash}'],
    TURN_URLS: ['turn.example:3478', 'turn:', 'turn:2001:db8::1', 'turn:turn.example:0', 'turn://turn.example', 'turn:turn.example?transport=sctp', 'turn:turn.example?a=b', 'stun:turn.example:3478'],
    ALLOWED_ORIGINS: ['example.org', 'https://example.org/path', 'null'],
    ALLOWED_HOSTS: ['https://example.org', 'a b'],
    TRACKERS: ['tracker.example:80', 'ftp://tracker.example', 'udp://:80'],
    STATIC_PEERS: ['::1:6881', '[127.0.0.1]:80', ':6881', 'a:'],
    TRUST_PROXY: ['somebody', '10.0.0.1/x', '101', '-1'],
    UPSTREAM_ADDONS: ['stremio://addon.example/manifest.json'],
    BASE_URL: ['https://example.org/?a=b', 'https://example.org/#a']
  })) {
    for (const value of values) t.match(messageOf({ [name]: value }), new RegExp(`^${name} must be .*(?:, got | \\(its value is not shown\\))`), `${name}=${value}`)
  }
})

t.test('a relay without a user, or without a password', async t => {
  const url = 'turn:turn.example:3478'
  t.equal(messageOf({ TURN_URLS: url }), 'TURN_USERNAME and TURN_CREDENTIAL must be set where TURN_URLS is: a relay serves nobody whom it does not know')
  t.match(messageOf({ TURN_URLS: url, TURN_USERNAME: 'me' }), /^TURN_CREDENTIAL must be set where/)
  t.equal(messageOf({ TURN_URLS: url, ...turn }), 'accepted')
  t.equal(messageOf({ TURN_USERNAME: 'me' }), 'accepted')
})

t.test('all wrong values are told at once, one line each', async t => {
  t.same(messageOf({ PORT: 'abc', LOG_LEVEL: 'loud', ENABLE_P2P: 'maybe' }).split('\n').sort(), [
    'ENABLE_P2P must be true or false, got "maybe"',
    'LOG_LEVEL must be one of trace, debug, info, warn, error, fatal, silent, got "loud"',
    'PORT must be a whole number from 0 to 65535, got "abc"'
  ])
})

t.test('secrets are never in a message', async t => {
  const secret = 'sesam oeffne dich'
  const names = ['API_TOKEN', 'STREAM_SIGNING_KEY', 'WEBTOR_URL', 'WEBTOR_TOKEN', 'WEBTOR_API_KEY']
  const env = Object.fromEntries(names.map(name => [name, secret]))
  let thrown: unknown
  try {
    readConfig({ ...env, TURN_CREDENTIAL: secret, PORT: 'abc' })
  } catch (error) {
    thrown = error
  }
  t.ok(thrown instanceof Error)
  t.same(messageOf({ ...env, PORT: 'abc' }).split('\n').length, names.length + 1)
  // The whole error, with whatever it carries, as a logger would print it.
  t.notMatch(JSON.stringify(thrown, Object.getOwnPropertyNames(thrown)) + String(thrown instanceof Error && thrown.stack), 'sesam')
  t.notOk(thrown instanceof Error && 'cause' in thrown)

  for (const value of ['ftp://tracker.example/sesam/announce', 'ftp://me:sesam@tracker.example', 'ftp://me:a/sesam@tracker.example', 'tracker.example/sesam', 'ftp://t.example?key=sesam']) {
    t.notMatch(messageOf({ TRACKERS: value }), 'sesam', value)
    t.match(messageOf({ TRACKERS: value }), 'TRACKERS must be')
  }
})

t.test('on a panel', async t => {
  t.match(readConfig(panel), { isPanel: true, CACHE_MAX_DISK_MB: 2000, ENABLE_PORT_MAPPING: false, SEED_RATIO: 0 })
  t.match(readConfig({ ...panel, CACHE_MAX_DISK_MB: '', SEED_RATIO: '' }), { CACHE_MAX_DISK_MB: 2000, SEED_RATIO: 0 }, 'a field that was not filled in')
  t.match(readConfig({ ...panel, CACHE_MAX_DISK_MB: '5000', ENABLE_PORT_MAPPING: 'true', SEED_RATIO: '1' }),
    { CACHE_MAX_DISK_MB: 5000, ENABLE_PORT_MAPPING: true, SEED_RATIO: 1 }, 'what was asked for wins')
  t.equal(readConfig({ ...panel, PORT: '11470', SERVER_PORT: '25565' }).PORT, 25565, 'the allocated port wins')
  t.equal(readConfig({ ...panel, PORT: '3000', SERVER_PORT: '' }).PORT, 3000)
  t.match(readConfig(panel), { PORT: 11470, TORRENT_PORT: 11470 })
  t.match(readConfig({ ...panel, SERVER_PORT: '25565' }), { PORT: 25565, TORRENT_PORT: 25565, HTTPS_PORT: 25565 }, 'one port is what it has')
  t.match(readConfig({ ...panel, SERVER_PORT: '25565', TORRENT_PORT: '25566' }), { PORT: 25565, TORRENT_PORT: 25566 }, 'unless it has two')
  t.match(messageOf({ ...panel, SERVER_PORT: 'abc' }), /^SERVER_PORT must be [^\n]*$/, 'a wrong port is told once')
  t.equal(messageOf({ ...panel, PORT: 'abc', SERVER_PORT: '25565' }), 'accepted', 'what is not used is not checked')
  t.equal(readConfig({ ...panel, P_SERVER_UUID: '' }).isPanel, false)
})

t.test('the environment wins over the .env file, which wins over the defaults', async t => {
  const path = join(t.testdir(), '.env')
  writeFileSync(path, [
    '# a comment', 'PORT=3000', 'P2P_TIMEOUT=15000 # popular titles', 'HOST="127.0.0.1"', 'MEDIA_PATHS=', 'STALL_TIMEOUT=5000', 'SOMETHING_ELSE=1'
  ].join('\n'))
  const config = readConfig({ PORT: '4000', STALL_TIMEOUT: '', NODE_ENV: 'production' }, path)
  t.match(config, { PORT: 4000, P2P_TIMEOUT: 15_000, HOST: '127.0.0.1', MEDIA_PATHS: ['./temp'] })
  t.equal(config.STALL_TIMEOUT, 5000, 'an empty variable hides nothing')
  t.notOk('SOMETHING_ELSE' in config)
  t.notOk('NODE_ENV' in config)

  t.equal(readConfig({ ...panel, SERVER_PORT: '25565' }, path).PORT, 25565, 'a port in the file does not win over the allocated one')
  t.same(readConfig({}, join(t.testdirName, 'missing.env')), readConfig({}), 'the file may be missing')
  t.match(messageOf({}, t.testdirName), 'cannot read the configuration file', 'a directory in its place is told')
  writeFileSync(path, 'PORT=abc')
  t.equal(messageOf({}, path), 'PORT must be a whole number from 0 to 65535, got "abc"')
})

t.test('process.env is only what it is given', async t => {
  process.env.LINGER = '77'
  t.teardown(() => { delete process.env.LINGER })
  t.equal(readConfig({}).LINGER, 60)
  t.equal(readConfig(process.env).LINGER, 77)
})

t.test('the configuration cannot be changed afterwards', async t => {
  const config = readConfig({})
  t.ok(Object.isFrozen(config))
  for (const value of Object.values(config)) t.ok(Object.isFrozen(value))
  t.not(config.TRACKERS, readConfig({}).TRACKERS, 'and no two share a list')
})

t.test('.env.hybrid-http', async t => {
  const committed = new URL('../../.env.hybrid-http', import.meta.url)
  const text = readFileSync(committed, 'utf8')

  t.equal(text, envFile(), 'is what the schema says: node scripts/env-file.ts > .env.hybrid-http')
  t.same(readConfig({}, committed.pathname), readConfig({}), 'changes nothing but says what is')
  t.match(text, /^P2P_TIMEOUT=20000$/m)
  t.match(text, /^ENABLE_HTTP_FALLBACK=true$/m)
  t.equal(text.match(/^[^#\n]/gm)?.length, 2, 'sets nothing else')

  const path = join(t.testdir(), '.env')
  const uncommented = text.replace(/^# ([A-Z][A-Z0-9_]*=)/gm, '$1')
  writeFileSync(path, uncommented)
  t.same(readConfig({}, path), readConfig({}), 'its comments tell the real defaults')
  t.same([...uncommented.matchAll(/^([A-Z][A-Z0-9_]*)=/gm)].map(([, name]) => name).sort(), Object.keys(schema.properties).sort(), 'for every variable')
})

t.test('other processes get no secret with their environment', async (t) => {
  t.same(withoutSecretVariables({ PATH: '/bin', API_TOKEN: 'x', STREAM_SIGNING_KEY: 'x', TURN_CREDENTIAL: 'x', WEBTOR_TOKEN: 'x', PORT: '1' }), { PATH: '/bin', PORT: '1' })
})
