import { request } from 'node:http'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { startServer } from '../server-process.ts'
import { makeTorrent, temporaryDirectory, testBytes, until } from '../testnet.ts'
import type { FastifyServerOptions } from 'fastify'
import type { Test } from 'tap'
import type { TestApp } from '../helper.ts'
import type { TestTorrent } from '../testnet.ts'

const token = 'a-token-of-the-owner-0123456789'
const owner = { Authorization: `Bearer ${token}` }
const film = testBytes(150_000, 'film')

interface Setup extends TestApp { readonly torrent: TestTorrent, readonly other: TestTorrent }

/** A server that streams to nobody whom its owner has not let in, with one torrent added and its file stored. */
async function setUp (t: Test, env: Record<string, string> = {}, logger: FastifyServerOptions['logger'] = false): Promise<Setup> {
  const torrent = await makeTorrent({ 'Film.mp4': film, 'Film.srt': Buffer.from('1\n00:00:01,000 --> 00:00:02,000\nHello\n') }, { name: 'A film' })
  const other = await makeTorrent({ 'other.mp4': testBytes(100_000, 'other') })
  const mirror = await startMirror(t, torrent)
  const server = await startApp(t, { STREAM_ACCESS: 'signed', API_TOKEN: token, TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, ...env }, logger)
  await jsonFrom(`${server.url}/api/torrents`, { method: 'POST', headers: { ...owner, 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash: torrent.infohash }) })
  await until('it is stored', async () => await server.app.stored.find(torrent.infohash, 0))
  return { ...server, torrent, other }
}

const linesOf = (playlist: string): string[] => playlist.split('\n').filter((line) => line.startsWith('http'))

t.test('the first start prints a login link, once and not in the log; the next does not', async (t) => {
  const home = await temporaryDirectory(t)
  const first = await startServer(t, { LOG_FORMAT: 'json' }, home)
  const [, made = ''] = await until('the link is printed', () => /Log in as the owner .*: http:\/\/localhost:\d+\/login#token=([\w-]{43})\n/.exec(first.output()))
  t.equal(made, (await readFile(join(home, 'cache', '.self-streme', 'api-token'), 'utf8')).trim())
  t.equal(first.output().split(made).length, 2)
  t.equal((await fetch(`${first.url}/api/torrents`, { headers: { Via: 'x', Authorization: `Bearer ${made}` } })).status, 200)
  await first.stop('SIGTERM')
  const second = await startServer(t, {}, home)
  t.notMatch(second.output(), /Log in|token=/)
  t.notOk(second.output().includes(made))
})

t.test('the links that the API gives its owner play in any player, for this torrent only', async (t) => {
  const { url, torrent, other } = await setUp(t)
  const { body: { data } } = await jsonFrom(`${url}/api/torrents/${torrent.infohash}`, { headers: owner })
  for (const link of [data.streamUrl, data.files[0].streamUrl]) {
    const response = await fetch(url + link)
    t.equal(response.status, 200, link)
    t.ok(Buffer.from(await response.arrayBuffer()).equals(film))
    t.match(response.headers.get('cache-control'), /^private, max-age=3600$/)
    t.equal((await fetch(`${url}${link}`, { headers: { Range: 'bytes=5-9' } })).status, 206)
  }
  t.equal((await jsonFrom(`${url}/stream/proxy/${torrent.infohash}`)).status, 401)
  const { status, body } = await jsonFrom(url + String(data.streamUrl).replace(torrent.infohash, other.infohash))
  t.match({ status, body }, { status: 403, body: { code: 'SIGNATURE_WRONG', suggestion: String } })
  t.equal((await jsonFrom(`${url}/api/torrents?${String(data.streamUrl).split('?')[1]}`)).status, 401, 'it opens no list')

  const playlist = await (await fetch(`${url}/stream/proxy/${torrent.infohash}/playlist.m3u?${String(data.streamUrl).split('?')[1]}`)).text()
  const [line = ''] = linesOf(playlist)
  t.match(line, /\/Film\.mp4\?.*sig=/)
  t.ok((await bytesFrom(line)).equals(film), 'a playlist that was had by a link has links that play')
  const [, subtitle = ''] = /input-slave=(\S+)/.exec(playlist) ?? []
  t.match(await (await fetch(subtitle)).text(), /^WEBVTT/)
  t.ok(linesOf(await (await fetch(`${url}/stream/proxy/${torrent.infohash}/playlist.m3u`, { headers: owner })).text()).every((link) => link.includes('sig=')))
})

t.test('a link can be made for a time, and for one client', async (t) => {
  const { url, torrent } = await setUp(t)
  const path = `${url}/api/torrents/${torrent.infohash}/link`
  const { body: { data: short } } = await jsonFrom(`${path}?seconds=90&fileIndex=0`, { headers: owner })
  t.match(short, { infoHash: torrent.infohash, address: null, url: /^http.*fileIndex=0&exp=\d+&sig=/, playlistUrl: /m3u\?fileIndex=0&exp=/ })
  const left = (Date.parse(short.expiresAt) - Date.now()) / 1000
  t.ok(left > 80 && left <= 90)
  const { headers, status } = await fetch(short.url, { method: 'HEAD' })
  t.equal(status, 200)
  const age = Number(/^private, max-age=(\d+)$/.exec(headers.get('cache-control') ?? '')?.[1])
  t.ok(age > 60 && age <= 90, `nobody keeps it beyond its time: ${age} s`)

  t.equal((await fetch((await jsonFrom(`${path}?address=mine`, { headers: owner })).body.data.url)).status, 200)
  t.match(await jsonFrom((await jsonFrom(`${path}?address=198.51.100.7`, { headers: owner })).body.data.url), { status: 403, body: { code: 'SIGNATURE_WRONG' } })
  t.match(await jsonFrom(`${path}?address=nowhere`, { headers: owner }), { status: 400 })
  t.match(await jsonFrom(path), { status: 401 })
})

t.test('servers with the same key take each other’s links', async (t) => {
  const key = { STREAM_SIGNING_KEY: 'one-key-for-both' }
  const [one, two] = [await setUp(t, key), await setUp(t, key)]
  const { body: { data } } = await jsonFrom(`${one.url}/api/torrents/${one.torrent.infohash}`, { headers: owner })
  t.equal((await fetch(two.url + data.streamUrl)).status, 200)
  t.equal((await fetch((await setUp(t)).url + data.streamUrl)).status, 403)
})

t.test('a secret path leads everywhere that its bearer may go, its links stay on it, and it can be revoked', async (t) => {
  const { url, torrent, app } = await setUp(t)
  const made = await jsonFrom(`${url}/api/secret-paths`, { method: 'POST', headers: { ...owner, 'Content-Type': 'application/json' }, body: '{"name":"the TV"}' })
  t.equal(made.status, 201)
  const { id, url: path } = made.body.data
  t.match(path, new RegExp(`^${url}/t/[\\w-]{22}/$`))
  for (const query of ['', '?a=b']) t.equal((await fetch(path.slice(0, -1) + query)).url, path + query, 'typed without its slash it is the same page')
  t.equal((await fetch(`${url}/t/nonsense`)).status, 403)
  t.ok((await bytesFrom(`${path}stream/proxy/${torrent.infohash}`)).equals(film))
  t.ok((await bytesFrom(`${path}stream/${torrent.infohash}/0/Film.mp4`, { Range: 'bytes=10-19' })).equals(film.subarray(10, 20)))
  const playlist = await (await fetch(`${path}stream/proxy/${torrent.infohash}/playlist.m3u`)).text()
  for (const link of linesOf(playlist)) {
    t.ok(link.startsWith(path), link)
    t.notMatch(link, /sig=/, 'nothing in it outlives the path')
    t.ok((await bytesFrom(link)).equals(film))
  }
  const added = await jsonFrom(`${path}api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash: torrent.infohash }) })
  t.match(added, { status: 200, body: { data: { streamUrl: new RegExp(`^/t/[\\w-]{22}/stream/proxy/${torrent.infohash}`) } } })
  t.equal((await fetch(`${path}health`)).status, 200)
  t.match(await jsonFrom(`${path}api/torrents`), { status: 401 }, 'it opens no list')
  t.match(await jsonFrom(`${path}no/such/thing`), { status: 404, body: { message: 'GET /no/such/thing is not a route of this server.' } })

  const { body: { data: listed } } = await jsonFrom(`${url}/api/secret-paths`, { headers: owner })
  t.match(listed, [{ id, name: 'the TV' }])
  t.notOk(JSON.stringify(listed).includes(new URL(path).pathname.split('/')[2] ?? ''))
  t.equal((await fetch(`${url}/api/secret-paths/${id}`, { method: 'DELETE', headers: owner })).status, 200)
  t.match(await jsonFrom(`${path}stream/proxy/${torrent.infohash}`), { status: 403, body: { code: 'SECRET_PATH_UNKNOWN' } })
  t.match(await jsonFrom(`${path}no/such/thing`), { status: 403 })
  t.same(app.access.secretPaths.list(), [])
})

t.test('a secret path that is revoked ends the streams below it, and no other', async (t) => {
  const { url, directory } = await setUp(t)
  const infohash = 'ad'.repeat(20)
  // More than sockets hold.
  await writeFile(join(directory, `${infohash}.mp4`), testBytes(30_000_000, 'long'))
  const [revoked, kept] = await Promise.all(['the TV', 'the phone'].map(async (name) => (await jsonFrom(`${url}/api/secret-paths`, { method: 'POST', headers: { ...owner, 'Content-Type': 'application/json' }, body: JSON.stringify({ name }) })).body.data))
  const readers = await Promise.all([revoked, kept].map(async (path) => {
    const response = await fetch(`${path.url}stream/proxy/${infohash}`)
    t.equal(response.status, 200)
    return response
  }))
  t.equal((await fetch(`${url}/api/secret-paths/${revoked.id}`, { method: 'DELETE', headers: owner })).status, 200)
  const [ended, going] = readers
  await t.rejects(async () => { await ended?.arrayBuffer() })
  t.equal((await going?.arrayBuffer())?.byteLength, 30_000_000)
})

t.test('where everybody may stream, links are as plain as ever', async (t) => {
  const { url, torrent } = await setUp(t, { STREAM_ACCESS: 'open' })
  const { body: { data } } = await jsonFrom(`${url}/api/torrents/${torrent.infohash}`, { headers: owner })
  t.equal(data.streamUrl, `/stream/proxy/${torrent.infohash}`)
  t.notMatch(await (await fetch(`${url}/stream/proxy/${torrent.infohash}/playlist.m3u`)).text(), /sig=/)
})

t.test('no secret is in the log, in an answer to somebody else, or in what others are sent', async (t) => {
  let log = ''
  const key = 'a-signing-key-of-the-owner-0123456789'
  const { url, torrent, other, app } = await setUp(t, { STREAM_SIGNING_KEY: key, LOG_LEVEL: 'trace' }, { level: 'trace', stream: { write (line: string) { log += line } } })
  const cookie = String((await fetch(`${url}/api/session`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ token }) })).headers.get('set-cookie')).split(';')[0] ?? ''
  const path = String((await jsonFrom(`${url}/api/secret-paths`, { method: 'POST', headers: { Cookie: cookie, 'Content-Type': 'application/json' }, body: '{"name":"x"}' })).body.data.url)
  const { body: { data: { url: link } } } = await jsonFrom(`${url}/api/torrents/${torrent.infohash}/link`, { headers: owner })
  const secrets = { token, key, session: cookie.split('=')[1] ?? '', path: new URL(path).pathname.split('/')[2] ?? '', signature: /sig=([\w-]+)/.exec(link)?.[1] ?? '' }
  for (const [name, secret] of Object.entries(secrets)) t.ok(secret.length > 20, name)

  app.budget.totals = async () => { throw new Error('a failure, for the log to tell of') }
  const answers: string[] = []
  const asks: ReadonlyArray<readonly [method: string, url: string, headers?: Record<string, string>, body?: string]> = [
    ['GET', `${url}/api/cache`, owner],
    ['GET', `${url}/api/cache`, { Cookie: cookie }],
    ['GET', `${path}stream/proxy/${torrent.infohash}`],
    ['GET', `${path}stream/proxy/${other.infohash}`],
    ['GET', `${path}stream/proxy/%E0%A4%A`],
    ['GET', `${path}no/such/thing?token=${token}`],
    ['POST', `${path}api/torrents`, { 'Content-Type': 'application/json' }, '{"magnetUri":7}'],
    ['POST', `${path}health`, { 'Content-Type': 'application/json' }, '{'],
    ['GET', link],
    ['GET', link.replace(torrent.infohash, other.infohash)],
    ['GET', `${link}&fileIndex=99`],
    ['GET', `${path.replace(/\/$/, 'x/')}stream/proxy/${torrent.infohash}`],
    ['POST', `${url}/api/session`, { 'Content-Type': 'application/json' }, JSON.stringify({ token: `${token}x` })],
    ['GET', `${url}/metrics`, owner],
    ['GET', `${url}/ready`],
    ['GET', `${url}/stream/status/${torrent.infohash}`, owner]
  ]
  for (const [method, address, headers = {}, body] of asks) {
    const { hostname, port } = new URL(address)
    const asked = request({ hostname, port, method, path: address.slice(url.length), headers: { ...body === undefined ? {} : { 'Content-Length': String(body.length) }, ...headers } })
    asked.end(body)
    const [response] = await once(asked, 'response')
    const answer = `${JSON.stringify(response.headers)} ${await text(response)}`
    t.equal(response.headers['referrer-policy'], 'no-referrer', `${method} ${address.slice(url.length, url.length + 20)}`)
    if (!address.includes('?token=')) answers.push(answer)
  }
  t.match(log, /a failure, for the log to tell of/)
  for (const [name, secret] of Object.entries(secrets)) {
    t.notOk(log.includes(secret), `the log has no ${name}`)
    t.notOk(answers.some((answer) => answer.includes(secret)), `no answer has the ${name}`)
  }
})
