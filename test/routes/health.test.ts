import { request } from 'node:http'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { startApp } from '../helper.ts'

/** The answer to a request with these headers, Host included. */
async function ask (url: string, { method = 'GET', headers = {} }: { method?: string, headers?: Record<string, string> } = {}) {
  const asked = request(url, { method, headers })
  asked.end()
  const [response] = await once(asked, 'response')
  return { status: response.statusCode, headers: response.headers, body: await text(response) }
}

t.test('probes ask by GET and HEAD, by whatever name, and nobody keeps the answer', async (t) => {
  const { url } = await startApp(t)
  for (const path of ['/health', '/ready']) {
    for (const host of ['10.1.2.3', 'no-such.example', 'x'.repeat(200), '']) {
      const { status, headers, body } = await ask(`${url}${path}`, { headers: { Host: host } })
      t.equal(status, 200, `${path} for ${host.slice(0, 20)}`)
      t.equal(headers['cache-control'], 'no-store')
      t.ok(body.length < 1024)
      const head = await ask(`${url}${path}`, { method: 'HEAD', headers: { Host: host } })
      t.match(head, { status: 200, body: '', headers: { 'cache-control': 'no-store', 'content-length': String(body.length) } })
    }
  }
})

t.test('a server with nothing wrong is ready, and says what it serves from', async (t) => {
  const { url } = await startApp(t)
  t.same(JSON.parse((await ask(`${url}/ready`)).body), {
    status: 'ok', reasons: [], sources: ['cache', 'mock', 'http-fallback', 'kept'], off: { p2p: 'ENABLE_P2P=false' }, p2p: { state: 'off', reason: 'ENABLE_P2P=false' }
  })
})

t.test('a download directory that is gone makes it unavailable, and alive all the same', async (t) => {
  const { app, url, directory } = await startApp(t)
  await rm(directory, { recursive: true })
  await app.storeWatch.check()
  const { status, body } = await ask(`${url}/ready`)
  t.equal(status, 503)
  t.same(JSON.parse(body), { status: 'unavailable', reasons: ['store: the download directory cannot be read (ENOENT)'] })
  t.equal((await ask(`${url}/ready`, { method: 'HEAD' })).status, 503)
  t.equal((await ask(`${url}/health`)).status, 200)
})

t.test('while it drains it is not ready, and serves', async (t) => {
  const { app, url } = await startApp(t)
  await app.drain.run(new AbortController().signal)
  t.match(await ask(`${url}/ready`), { status: 503, body: '{"status":"unavailable","reasons":["the server is shutting down"]}' })
  t.equal((await ask(`${url}/stream/proxy/39730aa7c09b864432bc8c878c20c933059241fd`, { headers: { Range: 'bytes=0-0' } })).status, 206)
})

t.test('however much is wrong, the answer has less than 1 KB', async (t) => {
  const { app, url } = await startApp(t, { CACHE_MIN_FREE_MB: '999999999', ENABLE_HTTP_FALLBACK: 'false' })
  const problems = Array.from({ length: 20 }, (_, i) => `cache: a file of ${i} GB does not fit (2 GB in all), it plays from a window ${'…'.repeat(60)}`)
  app.budget.problems = () => problems
  const { status, body } = await ask(`${url}/ready`)
  t.equal(status, 200)
  t.match(JSON.parse(body), { status: 'degraded', reasons: { length: 5 } })
  t.ok(Buffer.byteLength(body) < 1024, `${Buffer.byteLength(body)} bytes`)
})

t.test('figures are for the owner; what is wrong is for everybody', async (t) => {
  const { url } = await startApp(t, { API_TOKEN: 'a-token-of-the-owner-0123456789' })
  for (const path of ['/health', '/ready']) {
    t.match(await ask(`${url}${path}?verbose`), { status: 401, headers: { 'cache-control': 'no-store', 'www-authenticate': /^Bearer/ } })
    t.equal((await ask(`${url}${path}?verbose=false`)).status, 200)
    const { status, body } = await ask(`${url}${path}?verbose`, { headers: { Authorization: 'Bearer a-token-of-the-owner-0123456789' } })
    t.equal(status, 200)
    t.match(JSON.parse(body), { status: 'ok', figures: { version: String, node: process.versions.node, streams: 0, torrents: 0, memory: { rss: Number } } })
  }
})
