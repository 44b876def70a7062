import { Validator } from '@seriousme/openapi-schema-validator'
import t from 'tap'
import { streamStatus } from '../../services/stream-status.ts'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { ask, documentPath, fill, Spec } from '../spec.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { TestApp } from '../helper.ts'
import type { Operation, Parameter, SpecRequest } from '../spec.ts'

/** What is neither an API nor a page, but files that belong to one. */
const undescribed = ['/assets/*', '/docs', '/docs/', '/docs/*']

async function setUp (t: Test): Promise<TestApp & { readonly spec: Spec, readonly infohash: string, readonly torrent: Buffer }> {
  const made = await makeTorrent({ 'E01.mkv': testBytes(100_000, '1'), 'E01.en.srt': Buffer.from('1\n00:00:01,000 --> 00:00:02,000\nHello\n'), 'E02.mkv': testBytes(90_000, '2') }, { name: 'Season' })
  const mirror = await startMirror(t, made)
  const server = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const stream = `${server.url}/stream/proxy/${made.infohash}`
  await bytesFrom(stream)
  await until('it is stored', async () => await server.app.stored.find(made.infohash, 0))
  return { ...server, spec: new Spec((await jsonFrom(`${server.url}/openapi.json`)).body), infohash: made.infohash, torrent: made.torrent }
}

t.test('the description is valid OpenAPI 3.1, and says something of everything', async (t) => {
  const { url } = await startApp(t)
  const { status, headers, body } = await jsonFrom(`${url}/openapi.json`)
  t.equal(status, 200)
  t.match(headers.get('content-type'), /^application\/json/)
  t.match(body, { openapi: '3.1.0', info: { title: 'Self-Streme' }, servers: [{ url: './' }] })
  t.match(await new Validator().validate(structuredClone(body)), { valid: true })
  const { document, operations } = new Spec(body)
  t.match(body.components.securitySchemes, { token: { type: 'http', scheme: 'bearer' }, login: { type: 'apiKey', in: 'cookie' } })
  const tags = document.tags.map(({ name }) => name)
  for (const { method, path, operation } of operations) {
    const { tags: own = [], summary = '', parameters = [], responses } = operation
    const name = `${method} ${path}`
    t.ok(own.length === 1 && own.every((tag) => tags.includes(tag)), `${name} has a tag of the list`)
    t.match(summary, /^[A-Z].*[^.]$/, `${name} has a summary`)
    t.ok(operation.security !== undefined, `${name} says who may`)
    t.ok(Object.keys(responses).some((status) => /^[23]/.test(status)), `${name} has an answer that is none of errors`)
    t.notOk(Object.values(responses).some(({ description }) => description === 'Default Response'), `each answer of ${name} says what it means`)
    for (const parameter of parameters) if (parameter.in === 'path') t.ok(parameter.example, `${name}: ${parameter.name} has an example`)
  }
})

t.test('every route is in the description', async (t) => {
  const { app, url } = await startApp(t)
  const { document } = new Spec((await jsonFrom(`${url}/openapi.json`)).body)
  const routes = app.routes.filter((route) => !undescribed.some((prefix) => route.url === prefix || (prefix.endsWith('*') && route.url.startsWith(prefix.slice(0, -1)))))
  t.ok(routes.length > 30)
  for (const { url: pattern, methods } of routes) {
    const path = documentPath(pattern)
    for (const method of methods) {
      // HEAD of every GET comes by itself.
      const isThere = document.paths[path]?.[method.toLowerCase()] ?? (method === 'HEAD' ? document.paths[path]?.['get'] : undefined)
      t.ok(isThere, `${method} ${path}`)
    }
  }
})

t.test('every operation answers as the description says, to what is right and to what is wrong', { timeout: 120_000 }, async (t) => {
  const { url, spec, infohash, torrent, app } = await setUp(t)
  const seen = new Map<string, Set<number>>()
  for (const { method, path, operation } of inOrder(spec)) {
    const name = `${method} ${path}`
    const statuses = new Set<number>()
    seen.set(name, statuses)
    const right = [...await knowing(method, path, app), ...bringing(method, path, { infohash, torrent, url })]
    for (const request of [...right, ...requestsOf(method, path, operation, { infohash, torrent })]) {
      const answer = await ask(url, request)
      statuses.add(answer.status)
      t.same(spec.mistakesOf(method, operation, answer), [], `${request.method} ${request.path.slice(0, 150)} ${JSON.stringify(request.headers ?? {}).slice(0, 60)} -> ${answer.status}`)
      t.ok(answer.status < 500, 'the server did not fail')
      t.equal(typeof answer.headers['x-request-id'], 'string')
    }
  }
  // Without ffmpeg there is nothing of it.
  for (const [name, statuses] of seen) if (app.hls !== null || !name.includes('/hlsv2/')) t.ok([...statuses].some((status) => status < 400 && status !== 304), `${name} was seen to succeed: ${[...statuses].join(', ')}`)
  t.same([...seen.get('GET /stream/proxy/{infoHash}') ?? []].sort(), [200, 206, 304, 400, 404, 412, 414, 416].filter((status) => status !== 414))
  t.same([...seen.get('GET /api/torrents') ?? []].sort(), [200, 400])
  t.same([...seen.get('POST /api/torrents') ?? []].sort(), [200, 202, 400, 413, 415])
  await until('nobody follows any more', () => app.live.size === 0)
})

t.test('a status comes out whole: its schema drops nothing', async (t) => {
  const { app, url, infohash } = await setUp(t)
  for (const hash of [infohash, 'f'.repeat(40)]) {
    await (await fetch(`${url}/stream/proxy/${hash}`)).arrayBuffer()
    const { body } = await jsonFrom(`${url}/stream/status/${hash}`)
    const expected = JSON.parse(JSON.stringify(await streamStatus(hash, app)))
    // It counts down.
    for (const status of [body, expected]) for (const source of status.sources) delete source.retryInSeconds
    t.same({ ...body, retryAfterSeconds: null, reason: '' }, { ...expected, retryAfterSeconds: null, reason: '' })
  }
})

/** Requests that only who knows the server can make. */
async function knowing (method: string, path: string, { access, addonSeal }: FastifyInstance): Promise<SpecRequest[]> {
  if (method === 'POST' && path === '/api/session') return [{ method, path, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ token: access.newToken }) }]
  if (method === 'DELETE' && path === '/api/secret-paths/{id}') return [{ method, path: `/api/secret-paths/${(await access.secretPaths.create('x'))?.path.id ?? ''}` }]
  const sealed = addonSeal.seal({ upstreams: [], hasCatalogs: true }) ?? ''
  if (path.includes('{config}')) return [{ method, path: path.replace('{config}', sealed).replace('{resource}', 'catalog').replace('{type}', 'movie').replace('{id}', 'selfstreme-movie').replace('{extra}', 'skip=0') }]
  return []
}

/** Requests that need the torrent of this test, or the address of its server. */
function bringing (method: string, path: string, { infohash, torrent, url }: { infohash: string, torrent: Buffer, url: string }): SpecRequest[] {
  const headers = { 'Content-Type': 'application/json' }
  const subtitles = encodeURIComponent(`/api/torrents/${infohash}/subtitles/1`)
  if (method === 'POST' && path === '/create') return [{ method, path, headers, body: JSON.stringify({ blob: torrent.toString('hex') }) }]
  if (path === '/subtitles.vtt') return [{ method, path: `${path}?from=${subtitles}` }]
  if (path === '/subtitlesTracks') return [{ method, path: `${path}?subsUrl=${subtitles}` }]
  return path.startsWith('/proxy/') ? [{ method, path: `/proxy/d=${encodeURIComponent(url)}/${infohash}/0` }] : []
}

/** What deletes comes last, the narrower first: until then there is something to answer with. */
function inOrder (spec: Spec) {
  const rank = ({ method, path }: { method: string, path: string }): number => method === 'DELETE' ? 1000 - path.length : 0
  return [...spec.operations].sort((a, b) => rank(a) - rank(b))
}

/** Requests of an operation: as it should be asked, of what is there and what is not, and with each value wrong. */
function requestsOf (method: string, path: string, operation: Operation, { infohash, torrent }: { infohash: string, torrent: Buffer }): SpecRequest[] {
  const { parameters = [], requestBody } = operation
  const hashes = path.includes('{infoHash}') ? [{}, { infoHash: infohash }, { infoHash: infohash.toUpperCase() }, { infoHash: 'e'.repeat(40) }] : [{}]
  const right = hashes.map((values) => ({ method, path: fill(path, operation, { ...values, ...subtitleOf(path) }) }))
  const [first = { method, path }, other = first] = right
  const query = (text: string): SpecRequest => ({ ...first, path: `${other.path}?${text}` })
  const examples = parameters.filter((parameter) => parameter.in === 'query' && parameter.example !== undefined).map(({ name, example }) => `${name}=${encodeURIComponent(String(example))}`)
  const ranges = parameters.some(({ name }) => name === 'Range')
    ? [{ Range: 'bytes=0-9' }, { Range: 'bytes=0-9,20-29' }, { Range: 'bytes=999999999-' }, { Range: 'nonsense' }, { 'If-Match': '"x"' }, { 'If-None-Match': '*' }]
    : []
  return [
    // A magnet is asked for with what it needs; without it comes among the wrong ones.
    ...path === '/stream/magnet' && method !== 'OPTIONS' ? [] : right,
    ...examples.map(query),
    ...ranges.map((headers) => ({ ...path === '/stream/magnet' ? query(examples[0] ?? '') : other, headers })),
    ...parameters.flatMap((parameter) => wrongValues(parameter).map((value) => parameter.in === 'path'
      ? { method, path: fill(path, operation, { [parameter.name]: value }) }
      : parameter.in === 'query' ? query(`${parameter.name}=${encodeURIComponent(value)}`) : { ...other, headers: { [parameter.name]: value.replace(/[^\x20-\x7e]/g, '?') } })),
    ...Object.entries(requestBody?.content ?? {}).flatMap(([type, { schema, example }]) => bodiesOf(type, schema, example, torrent).map((body) => ({ ...first, headers: { 'Content-Type': type.startsWith('multipart') ? `${type}; boundary=B` : type }, body }))),
    ...requestBody === undefined ? [] : [{ ...first, headers: { 'Content-Type': 'text/html' }, body: '<p>' }, { ...first, headers: { 'Content-Type': 'application/json' }, body: ' '.repeat(1_100_000) }]
  ]
}

/** The torrent's subtitles are its second file. */
function subtitleOf (path: string): Record<string, string> {
  return path.includes('/subtitles/') ? { fileIndex: '1' } : {}
}

function wrongValues ({ schema }: Parameter): string[] {
  const { type, minimum, maximum } = schema
  if (type === 'integer') return ['x', '1.5', '1e3', '', '-1', String(Number(minimum ?? 0) - 1), String(Number(maximum ?? 1e9) + 1), '9'.repeat(30), 'NaN']
  if (type === 'boolean') return ['maybe', '', '2', 'null']
  return ['', 'nonsense', '-1', '0', '99', 'x'.repeat(500), '<script>alert(1)</script>', '../../etc/passwd', 'סרט\u202E', '%', '"', "'; --", '\u0000', '{}', '[]', 'null']
}

function bodiesOf (type: string, schema: Record<string, unknown>, example: unknown, torrent: Buffer): Array<string | Buffer> {
  if (type.startsWith('multipart')) {
    const part = (disposition: string, value: Buffer): Buffer => Buffer.concat([Buffer.from(`--B\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n`), value, Buffer.from('\r\n')])
    const end = Buffer.from('--B--\r\n')
    const file = part('name="torrent"; filename="a.torrent"', torrent)
    return [Buffer.concat([file, end]), Buffer.concat([file, file, end]), Buffer.concat([part('name="name"', Buffer.from('x')), end]), Buffer.concat([part('name="name"', Buffer.from('x'.repeat(2000))), file, end]), file, '']
  }
  if (type !== 'application/json') return [torrent, torrent.subarray(1), Buffer.alloc(10_500_000), '']
  const names = Object.keys(typeof schema['properties'] === 'object' && schema['properties'] !== null ? schema['properties'] : {})
  const valid = typeof example === 'object' && example !== null ? example : {}
  return [
    JSON.stringify(valid), '', '{', 'null', '[]', '0', '"x"', '{"__proto__":1}',
    ...names.flatMap((name) => [null, 7, {}, [], '', 'nonsense', 'x'.repeat(200_000)].map((value) => JSON.stringify({ ...valid, [name]: value })))
  ]
}
