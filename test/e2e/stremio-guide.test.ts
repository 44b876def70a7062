import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { once } from 'node:events'
import t from 'tap'
import { makeCertificate } from '../certificate.ts'
import { startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { freePort, makeTorrent, temporaryDirectory, testBytes } from '../testnet.ts'
import type { IncomingMessage } from 'node:http'
import type { Test } from 'tap'

/** What docs/stremio.md says of each way to reach the server, done as it says, by a browser that configures and a TV that plays. */

const token = 'a-token-of-some-length'
const film = testBytes(100_000, 'film')

type Ask = (url: string, options?: { readonly method?: string, readonly headers?: Record<string, string>, readonly body?: string }) => Promise<{ readonly status: number, readonly body: Buffer, readonly headers: IncomingMessage['headers'] }>

/** Asks the server at this port for whatever address, as if its name led there. */
function asking (port: number, { ca, headers: always = {} }: { readonly ca?: string, readonly headers?: Record<string, string> } = {}): Ask {
  return async (url, { method = 'GET', headers = {}, body = '' } = {}) => {
    const { host, hostname, pathname, search } = new URL(url)
    const options = { host: '127.0.0.1', port, method, path: pathname + search, headers: { Host: host, ...always, ...headers }, ...ca === undefined ? {} : { ca, servername: hostname } }
    const request = ca === undefined ? httpRequest(options) : httpsRequest(options)
    request.end(body)
    const [response] = await once(request, 'response') as [IncomingMessage]
    return { status: response.statusCode ?? 0, headers: response.headers, body: await buffer(response) }
  }
}

/** Installs the addon from the page at `base`, and plays a film with what that gave. */
async function installAndPlay (t: Test, base: string, infohash: string, { browser, tv = browser, login = {} }: { readonly browser: Ask, readonly tv?: Ask, readonly login?: Record<string, string> }): Promise<string> {
  t.match(String((await browser(`${base}/configure`)).body), /configure\.js/)
  const made = await browser(`${base}/api/stremio/install`, { method: 'POST', headers: { 'Content-Type': 'application/json', Origin: new URL(base).origin, ...login }, body: '{"catalogs":true}' })
  t.equal(made.status, 201, String(made.body))
  const { data } = JSON.parse(String(made.body))
  t.ok(data.manifestUrl.startsWith(`${base}/t/`), data.manifestUrl)
  t.equal(data.isReachable, true)
  const manifest = JSON.parse(String((await tv(data.manifestUrl)).body))
  t.equal(manifest.catalogs.length, 3, 'what is here is listed')
  const { streams: [stream] } = JSON.parse(String((await tv(data.manifestUrl.replace('manifest.json', `stream/other/bt:${infohash}.json`))).body))
  t.ok(stream.url.startsWith(data.manifestUrl.replace('manifest.json', 'stream/')), stream.url)
  t.equal(stream.behaviorHints.notWebReady, !base.startsWith('https:'))
  t.ok((await tv(stream.url)).body.equals(film))
  return stream.url
}

async function setUp (t: Test, env: Record<string, string> = {}) {
  const torrent = await makeTorrent({ 'Film.2008.mp4': film })
  const mirror = await startMirror(t, torrent)
  const server = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, ...env })
  return { ...server, port: Number(new URL(server.url).port), infohash: torrent.infohash }
}

t.test('on the same machine', async (t) => {
  const { url, port, infohash } = await setUp(t)
  await installAndPlay(t, url, infohash, { browser: asking(port) })
})

t.test('a TV in the house, with https of the server itself', async (t) => {
  const name = 'films.example.org'
  const { cert, key } = makeCertificate({ names: [name] })
  const directory = await temporaryDirectory(t)
  await writeFile(join(directory, 'cert.pem'), cert)
  await writeFile(join(directory, 'key.pem'), key)
  const httpsPort = await freePort()
  const https = { TLS_CERT_FILE: join(directory, 'cert.pem'), TLS_KEY_FILE: join(directory, 'key.pem'), HTTPS_PORT: String(httpsPort) }
  const base = `https://${name}:${httpsPort}`
  const { port, infohash } = await setUp(t, { ...https, BASE_URL: base })
  const overTls = asking(httpsPort, { ca: cert })
  const streamUrl = await installAndPlay(t, base, infohash, { browser: overTls })
  const part = await overTls(streamUrl, { headers: { Range: 'bytes=10-19' } })
  t.equal(part.status, 206)
  await installAndPlay(t, base, infohash, { browser: asking(port), tv: overTls })
})

t.test('without BASE_URL the page by a name says what to set', async (t) => {
  const { port } = await setUp(t)
  const answer = await asking(port)('http://films.example.org/api/stremio/install', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{}' })
  t.equal(answer.status, 403)
  t.match(String(answer.body), /BASE_URL/)
})

t.test('behind a reverse proxy with https', async (t) => {
  const { port, infohash } = await setUp(t, { BASE_URL: 'https://films.example.org', TRUST_PROXY: 'loopback', API_TOKEN: token, STREAM_ACCESS: 'signed' })
  const viaProxy = asking(port, { headers: { 'X-Forwarded-For': '203.0.113.7', 'X-Forwarded-Proto': 'https' } })
  const streamUrl = await installAndPlay(t, 'https://films.example.org', infohash, { browser: viaProxy, login: { Authorization: `Bearer ${token}` } })
  t.equal((await viaProxy(streamUrl.replace(/\/t\/[^/]+/, ''))).headers['x-stream-notice'], 'not-allowed', 'without the secret path a TV is told that it may not')
})

t.test('as a streaming server far away: open to all it plays, else the addon is the way', async (t) => {
  const create = { method: 'POST', headers: { 'Content-Type': 'application/json', Origin: 'https://web.stremio.com' }, body: '{"guessFileIdx":{}}' }
  for (const [mode, status] of [['open', 200], ['known', 401]] as const) {
    const { port, infohash } = await setUp(t, { BASE_URL: 'https://films.example.org', TRUST_PROXY: 'loopback', API_TOKEN: token, STREAM_ACCESS: mode })
    const viaProxy = asking(port, { headers: { 'X-Forwarded-For': '203.0.113.7', 'X-Forwarded-Proto': 'https' } })
    t.equal(JSON.parse(String((await viaProxy('https://films.example.org/settings')).body)).baseUrl, 'https://films.example.org')
    t.equal((await viaProxy(`https://films.example.org/${infohash}/create`, create)).status, status, mode)
    t.equal((await viaProxy(`https://films.example.org/${infohash}/0`)).status, status, mode)
  }
})
