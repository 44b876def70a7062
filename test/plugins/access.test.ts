import { mkdir, readFile, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { buildApp } from '../../app.ts'
import { UrlSigner } from '../../services/access/url-signer.ts'
import { readConfig } from '../../services/config.ts'
import { startApp } from '../helper.ts'
import { temporaryDirectory, testBytes } from '../testnet.ts'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'

const token = 'a-token-of-the-owner-0123456789'
const cached = 'b'.repeat(40)
const unknown = 'c'.repeat(40)

/**
 * Who may do what: mission's table, cell by cell. Each way to ask that a cell names is let in, each other is not.
 */
const cells = {
  'health, ready, page': ['all', 'all', 'all'],
  'stream and status of what is cached or added': ['all', 'all', 'token, secret path or signature'],
  'add one, or stream an unknown one': ['all', 'token, secret path or signature', 'token, secret path or signature'],
  'list, network, metrics, cache': ['token, or a trusted client', 'token, or a trusted client', 'token, or a trusted client'],
  'delete, pin, clear': ['token, or a trusted client', 'token, or a trusted client', 'token, or a trusted client']
} as const
const modes = ['open', 'known', 'signed'] as const

type Row = keyof typeof cells
type Cell = typeof cells[Row][number]

interface Ask { readonly method: 'GET' | 'HEAD' | 'POST' | 'DELETE', readonly url: string, readonly payload?: object, readonly infohash?: string }

const requests: Readonly<Record<Row, readonly Ask[]>> = {
  'health, ready, page': [{ method: 'GET', url: '/health' }, { method: 'HEAD', url: '/ready' }, { method: 'GET', url: '/' }, { method: 'GET', url: '/test-torrent-streaming' }, { method: 'GET', url: '/openapi.json' }, { method: 'GET', url: '/docs' }],
  'stream and status of what is cached or added': [
    { method: 'GET', url: `/stream/proxy/${cached}`, infohash: cached },
    { method: 'HEAD', url: `/stream/proxy/${cached.toUpperCase()}`, infohash: cached },
    { method: 'GET', url: `/stream/magnet?uri=${encodeURIComponent(`magnet:?xt=urn:btih:${cached}`)}`, infohash: cached },
    { method: 'GET', url: `/stream/proxy/${cached}/playlist.m3u`, infohash: cached },
    { method: 'GET', url: `/stream/status/${cached}`, infohash: cached },
    { method: 'GET', url: `/api/torrents/${cached}`, infohash: cached }
  ],
  'add one, or stream an unknown one': [
    { method: 'GET', url: `/stream/proxy/${unknown}`, infohash: unknown },
    { method: 'HEAD', url: `/stream/proxy/${unknown}`, infohash: unknown },
    { method: 'GET', url: `/stream/${unknown}/0/film.mp4`, infohash: unknown },
    { method: 'GET', url: `/stream/magnet?uri=${encodeURIComponent(`magnet:?xt=urn:btih:${unknown}`)}`, infohash: unknown },
    // Last: from then on it is known.
    { method: 'POST', url: '/api/torrents', payload: { infoHash: unknown }, infohash: unknown }
  ],
  'list, network, metrics, cache': [{ method: 'GET', url: '/api/torrents' }, { method: 'GET', url: '/api/network' }, { method: 'GET', url: '/metrics' }, { method: 'GET', url: '/api/cache' }],
  'delete, pin, clear': [
    { method: 'POST', url: `/api/cache/${cached}/pin` }, { method: 'DELETE', url: `/api/cache/${cached}/pin` }, { method: 'DELETE', url: '/api/cache' }, { method: 'DELETE', url: `/api/torrents/${unknown}` }
  ]
}

/** A server, and where its clients are. */
const servers = [
  {
    env: {},
    places: [
      { place: 'this machine', isTrusted: true, peer: '127.0.0.1', headers: {} },
      { place: 'the private network', isTrusted: true, peer: '192.168.1.7', headers: {} },
      { place: 'the internet', isTrusted: false, peer: '203.0.113.9', headers: {} },
      { place: 'this machine, through a proxy', isTrusted: false, peer: '127.0.0.1', headers: { 'x-forwarded-for': '192.168.1.7' } },
      { place: 'this machine, through a tunnel', isTrusted: false, peer: '127.0.0.1', headers: { 'cf-ray': '7' } }
    ]
  },
  { env: { P_SERVER_UUID: 'x' }, places: [{ place: 'this machine, of a panel', isTrusted: false, peer: '127.0.0.1', headers: {} }] },
  { env: { API_TOKEN: token }, places: [{ place: 'this machine, where the token is set', isTrusted: false, peer: '127.0.0.1', headers: {} }] }
]

/** What a client can show, as a change to its request. */
type Way = (app: FastifyInstance, ask: Ask) => Promise<Ask & { readonly headers?: Record<string, string> }>

const ways: Readonly<Record<string, { readonly counts: readonly Cell[], readonly apply: Way }>> = {
  nothing: { counts: ['all'], apply: async (_app, ask) => ask },
  'a wrong token': { counts: ['all'], apply: async (_app, ask) => ({ ...ask, headers: { authorization: 'Bearer wrong' } }) },
  'the token': { counts: ['all', 'token, secret path or signature', 'token, or a trusted client'], apply: async (app, ask) => ({ ...ask, headers: { authorization: `Bearer ${await tokenOf(app)}` } }) },
  'the cookie of a login': { counts: ['all', 'token, secret path or signature', 'token, or a trusted client'], apply: async (app, ask) => ({ ...ask, headers: { cookie: `a=b; ${await cookieOf(app)}` } }) },
  'the cookie of a login that has ended': { counts: ['all'], apply: async (app, ask) => ({ ...ask, headers: { cookie: await endedCookieOf(app) } }) },
  'a secret path': { counts: ['all', 'token, secret path or signature'], apply: async (app, ask) => ({ ...ask, url: `${await secretPathOf(app)}${ask.url}` }) },
  'a secret path that nobody made': { counts: [], apply: async (_app, ask) => ({ ...ask, url: `/t/nonsense${ask.url}` }) },
  'a secret path that was revoked': { counts: [], apply: async (app, ask) => ({ ...ask, url: `${await revokedPathOf(app)}${ask.url}` }) },
  'a signature of the torrent': { counts: ['all', 'token, secret path or signature'], apply: async (app, ask) => signed(app, ask, ask.infohash ?? unknown) },
  'a signature of another torrent': { counts: ['all'], apply: async (app, ask) => signed(app, ask, 'd'.repeat(40)) },
  'a signature that has expired': { counts: ['all'], apply: async (app, ask) => signed(app, ask, ask.infohash ?? unknown, { expires: Math.floor(Date.now() / 1000) - 1 }) },
  'a signature for the address of somebody else': { counts: ['all'], apply: async (app, ask) => signed(app, ask, ask.infohash ?? unknown, { address: '198.51.100.1' }) },
  'a signature by another key': { counts: ['all'], apply: async (_app, ask) => withQuery(ask, new UrlSigner('another key').sign(ask.infohash ?? unknown)) }
}

function signed (app: FastifyInstance, ask: Ask, infohash: string, options: Parameters<UrlSigner['sign']>[1] = {}): Ask {
  return withQuery(ask, app.access.signer.sign(infohash, options))
}

function withQuery (ask: Ask, query: string): Ask {
  return { ...ask, url: `${ask.url}${ask.url.includes('?') ? '&' : '?'}${query}` }
}

async function makePath (app: FastifyInstance): Promise<string> {
  const { statusCode, body } = await app.inject({ method: 'POST', url: '/api/secret-paths', payload: { name: 'the TV' }, headers: { authorization: `Bearer ${await tokenOf(app)}` } })
  if (statusCode !== 201) throw new Error(body)
  return new URL(JSON.parse(body).data.url).pathname.replace(/\/$/, '')
}

/** Made once for each app. */
function once (make: (app: FastifyInstance) => Promise<string>): (app: FastifyInstance) => Promise<string> {
  const made = new WeakMap<FastifyInstance, Promise<string>>()
  return async (app) => {
    const promise = made.get(app) ?? make(app)
    made.set(app, promise)
    return await promise
  }
}

const cookieOf = once(logIn)

const endedCookieOf = once(async (app) => {
  const cookie = await logIn(app)
  await app.inject({ method: 'DELETE', url: '/api/session', headers: { cookie } })
  return cookie
})

const secretPathOf = once(makePath)

const revokedPathOf = once(async (app) => {
  const path = await makePath(app)
  await app.access.secretPaths.revoke(app.access.secretPaths.list().at(-1)?.id ?? '')
  return path
})

async function logIn (app: FastifyInstance): Promise<string> {
  const { statusCode, cookies: [cookie], headers } = await app.inject({ method: 'POST', url: '/api/session', payload: { token: await tokenOf(app) } })
  if (statusCode !== 200 || cookie === undefined) throw new Error(`login: ${statusCode}`)
  if (JSON.stringify(headers).includes(await tokenOf(app))) throw new Error('the token is in the answer')
  return `${cookie.name}=${cookie.value}`
}

async function tokenOf ({ config }: FastifyInstance): Promise<string> {
  return config.API_TOKEN ?? (await readFile(join(config.TORRENT_DOWNLOAD_PATH, '.self-streme', 'api-token'), 'utf8')).trim()
}

async function appOf (t: Test, env: Record<string, string>): Promise<FastifyInstance> {
  const directory = join(await temporaryDirectory(t), 'cache')
  await mkdir(directory, { recursive: true })
  const path = join(directory, `${cached}.mp4`)
  await writeFile(path, testBytes(1_100_000, 'cached'))
  // One that was just written might still grow: it would be looked at twice.
  await utimes(path, 1e9, 1e9)
  const app = await buildApp({
    config: readConfig({ TORRENT_DOWNLOAD_PATH: directory, MEDIA_PATHS: 'none', ENABLE_P2P: 'false', ENABLE_HTTP_FALLBACK: 'false', ...env })
  })
  t.teardown(async () => { await app.close() })
  return app
}

for (const [column, mode] of modes.entries()) {
  t.test(`who may do what under STREAM_ACCESS=${mode}`, async (t) => {
    let turn = 0
    for (const { env, places } of servers) {
      const app = await appOf(t, { STREAM_ACCESS: mode, ...env })
      for (const { place, isTrusted, peer, headers } of places) {
        for (const [way, { counts, apply }] of Object.entries(ways)) {
          for (const row of Object.keys(cells) as Row[]) {
            const cell = cells[row][column] ?? 'all'
            const isLetIn = counts.includes(cell) || (counts.length > 0 && isTrusted && cell === 'token, or a trusted client')
            // All of them with nothing to show; with the others in turn.
            const all = requests[row]
            for (const ask of way === 'nothing' ? all : all.slice(turn % all.length).slice(0, 1)) {
              const { infohash: _, ...asked } = await apply(app, ask)
              const { statusCode } = await app.inject({ ...asked, remoteAddress: peer, headers: { range: 'bytes=0-9', ...headers, ...asked.headers } })
              t.equal(statusCode !== 401 && statusCode !== 403, isLetIn, `from ${place}, with ${way}: ${ask.method} ${ask.url.slice(0, 40)} -> ${statusCode}`)
              if (ask.method === 'POST' && ask.infohash === unknown && isLetIn) await app.torrentList.remove(unknown, { deleteFiles: true })
            }
            turn++
          }
        }
      }
    }
  })
}

t.test('a route that does not say who may use it keeps the server from starting', async (t) => {
  const app = await appOf(t, {})
  app.get('/forgotten', async () => 'x')
  await t.rejects(async () => { await app.ready() }, /GET \/forgotten.*access/)
})

t.test('whoever looks at a request sees no secret in its address', async (t) => {
  const app = await appOf(t, {})
  app.get('/echo', { config: { access: 'public' } }, async ({ url, originalUrl, raw }) => ({ url, originalUrl, raw: raw.url }))
  t.same((await app.inject(`${await secretPathOf(app)}/echo?a=b`)).json(), { url: '/echo?a=b', originalUrl: '/echo?a=b', raw: '/echo?a=b' })
})

t.test('a server that writes nothing takes the token and the secret paths of the one that does, and logins', async (t) => {
  const app = await appOf(t, { STREAM_ACCESS: 'signed' })
  const secretPath = await secretPathOf(app)
  const { TORRENT_DOWNLOAD_PATH } = app.config
  const reader = await startApp(t, { TORRENT_DOWNLOAD_PATH, STREAM_ACCESS: 'signed', CACHE_READ_ONLY: 'true' })
  t.equal(reader.app.access.newToken, null)
  t.equal((await fetch(`${reader.url}${secretPath}/stream/proxy/${cached}`, { method: 'HEAD' })).status, 200)
  const login = await fetch(`${reader.url}/api/session`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ token: await tokenOf(app) }) })
  t.equal(login.status, 200)
  const cookie = String(login.headers.get('set-cookie')).split(';')[0] ?? ''
  t.equal((await fetch(`${reader.url}/stream/proxy/${cached}`, { method: 'HEAD', headers: { cookie } })).status, 200)
  t.equal((await fetch(`${reader.url}/api/secret-paths`, { method: 'POST', headers: { cookie, 'Content-Type': 'application/json' }, body: '{"name":"x"}' })).status, 403)
})

t.test('who is refused is told why, and what to do', async (t) => {
  const { url } = await startApp(t, { API_TOKEN: token, STREAM_ACCESS: 'signed' })
  const ask = async (path: string, headers: Record<string, string> = {}) => {
    const response = await fetch(url + path, { headers })
    return { status: response.status, headers: Object.fromEntries(response.headers), body: await response.json() }
  }
  t.match(await ask('/api/torrents'), { status: 401, headers: { 'www-authenticate': 'Bearer realm="Self-Streme"', 'cache-control': 'no-store' }, body: { error: 'Unauthorized', code: 'TOKEN_NEEDED', message: /owner/, suggestion: /Bearer/ } })
  t.match(await ask('/api/torrents', { Authorization: 'Bearer nonsense' }), { status: 401, body: { code: 'TOKEN_WRONG' } })
  t.match(await ask(`/stream/proxy/${unknown}`), { status: 401, headers: { 'access-control-allow-origin': '*' }, body: { code: 'TOKEN_NEEDED', suggestion: /secret path/ } }, 'a page of another site can read it')
  t.match(await ask('/stream/proxy/nonsense'), { status: 404, body: { error: 'Stream not found' } }, 'what is no infohash is told so')
  t.match(await ask('/no/such/path'), { status: 404 })
  t.match(await ask('/api/torrents', { Authorization: `bearer   ${token}` }), { status: 200 })
})

t.test('the token is made at the first start, and is the same at the next', async (t) => {
  const directory = join(await temporaryDirectory(t), 'cache')
  const first = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory })
  const { newToken } = first.app.access
  t.match(newToken, /^[\w-]{43}$/)
  t.equal((await stat(join(directory, '.self-streme', 'api-token'))).mode & 0o777, 0o600)
  await first.app.close()
  const second = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory })
  t.equal(second.app.access.newToken, null)
  const { status } = await fetch(`${second.url}/api/torrents`, { headers: { Via: '1.1 proxy', Authorization: `Bearer ${newToken}` } })
  t.equal(status, 200)
  t.equal((await fetch(`${second.url}/api/torrents`, { headers: { Via: '1.1 proxy' } })).status, 401)
})
