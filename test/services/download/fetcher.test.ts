import t from 'tap'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { Fetcher } from '../../../services/download/fetcher.ts'
import { closed, openFetcher, serve } from './origin.ts'
import type { RequestListener } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

async function text (body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

/** undici offers a connection again on the turn after its reply ended. */
async function nextTurn (): Promise<void> {
  await new Promise((resolve) => { setImmediate(resolve) })
}

const { signal } = new AbortController()

t.test('gets what the operator configured, asks for plain bytes, keeps the connection', async (t) => {
  const { url, connections } = await serve(t, (request, response) => {
    response.setHeader('X-Seen', `${request.headers['accept-encoding'] ?? ''} ${request.headers.range ?? ''}`)
    response.end('hello')
  })
  const { get } = bound(openFetcher(t))
  for (let i = 0; i < 3; i++) {
    const reply = await get(url, { isTrusted: true, headers: { range: 'bytes=0-4' }, signal })
    t.equal(reply.status, 200)
    t.equal(reply.headers['x-seen'], 'identity bytes=0-4')
    t.equal(await text(reply.body), 'hello')
    await nextTurn()
  }
  t.equal(connections(), 1)
})

t.test('where somebody else chose the URL, or a redirect did, who is asked learns that it is not our own people who ask', async (t) => {
  const { url } = await serve(t, (request, response) => {
    if (request.url === '/moved') response.writeHead(302, { Location: '/' }).end()
    else response.end(request.headers.via ?? 'nobody')
  })
  const { get } = bound(openFetcher(t, { allowPrivateNetworks: true }))
  const seen = async (path: string, isTrusted: boolean, headers: Record<string, string> = {}): Promise<string> => await text((await get(new URL(path, url), { isTrusted, headers, signal })).body)
  t.equal(await seen('/', true), 'nobody')
  t.equal(await seen('/', false), '1.1 self-streme')
  t.equal(await seen('/moved', true), '1.1 self-streme')
  t.equal(await seen('/moved', false, { via: '1.1 self-streme-00000000' }), '1.1 self-streme-00000000')
})

t.test('a body that was read to its last byte, and no further, keeps its connection', async (t) => {
  const bytes = Buffer.alloc(300_000, 'x')
  const { url, connections } = await serve(t, (_request, response) => { response.end(bytes) })
  const { get } = bound(openFetcher(t))
  for (let i = 0; i < 3; i++) {
    const { body } = await get(url, { isTrusted: true, signal })
    let length = 0
    while (length < bytes.length) {
      const { value } = await body.next()
      length += value?.length ?? 0
    }
    await body.return()
    await nextTurn()
  }
  t.equal(connections(), 1)
})

t.test('an unwanted large body closes its connection, a small one is read', async (t) => {
  const { url, sockets } = await serve(t, (request, response) => { response.end(Buffer.alloc(request.url === '/large' ? 50_000_000 : 100)) })
  const { get } = bound(openFetcher(t))
  const large = await get(new URL('/large', url), { isTrusted: true, signal })
  large.discard()
  large.discard()
  await closed(sockets)
  const small = await get(url, { isTrusted: true, signal })
  const [socket] = sockets
  small.discard()
  t.equal(await text((await get(url, { isTrusted: true, signal })).body), '\0'.repeat(100))
  t.equal(socket?.destroyed, false)
})

t.test('who stops reading in the middle closes the connection', async (t) => {
  const { url, sockets } = await serve(t, (_request, response) => { response.end(Buffer.alloc(50_000_000)) })
  const { get } = bound(openFetcher(t))
  const { body } = await get(url, { isTrusted: true, signal })
  await body.next()
  await body.return()
  await closed(sockets)
})

t.test('what a stranger named may not reach this machine, by address or by name', async (t) => {
  const { url, requests } = await serve(t, (_request, response) => { response.end('secret') })
  const { get } = bound(openFetcher(t))
  for (const target of [url.href, url.href.replace('127.0.0.1', 'localhost'), url.href.replace('127.0.0.1', '[::ffff:127.0.0.1]'), 'file:///etc/passwd', 'http://user:pass@example.org/']) {
    await t.rejects(get(new URL(target), { isTrusted: false, signal }), { code: 'ADDRESS_REFUSED' }, target)
  }
  await t.rejects(get(new URL('ftp://example.org/'), { isTrusted: true, signal }), { code: 'ADDRESS_REFUSED' })
  t.strictSame(requests, [])
})

t.test('HTTP_ALLOW_PRIVATE_NETWORKS lifts the guard, redirects included', async (t) => {
  const { url, requests } = await serve(t, (request, response) => {
    if (request.url === '/') response.writeHead(302, { location: '/there' }).end()
    else response.end('ok')
  })
  const { get } = bound(openFetcher(t, { allowPrivateNetworks: true }))
  const reply = await get(url, { isTrusted: false, signal })
  t.equal(await text(reply.body), 'ok')
  t.equal(reply.url.pathname, '/there')
  t.strictSame(requests, ['/', '/there'])
})

t.test('a redirect of a trusted URL is not trusted', async (t) => {
  const { url, requests } = await serve(t, (_request, response) => { response.writeHead(302, { location: '/internal' }).end() })
  const { get } = bound(openFetcher(t))
  await t.rejects(get(url, { isTrusted: true, signal }), { code: 'ADDRESS_REFUSED' })
  t.strictSame(requests, ['/'])
})

t.test('a redirect loop ends, a redirect to nonsense too, one without Location is the reply', async (t) => {
  const { url, requests } = await serve(t, (request, response) => {
    if (request.url === '/loop') response.writeHead(302, { location: '/loop' }).end()
    else if (request.url === '/nonsense') response.writeHead(301, { location: 'http://[' }).end()
    else response.writeHead(307).end('as it is')
  })
  const { get } = bound(openFetcher(t, { allowPrivateNetworks: true }))
  await t.rejects(get(new URL('/loop', url), { isTrusted: true, maxRedirects: 2, signal }), { code: 'SOURCE_FAILED', message: /redirects more than 2 times/ })
  t.equal(requests.length, 3)
  await t.rejects(get(new URL('/nonsense', url), { isTrusted: true, signal }), { code: 'SOURCE_FAILED' })
  t.equal((await get(url, { isTrusted: true, signal })).status, 307)
})

t.test('tokens of the operator are not taken along by a redirect to another host', async (t) => {
  const names = ['authorization', 'cookie', 'x-token', 'x-api-key']
  const seen: string[][] = []
  const note: RequestListener = ({ headers }) => { seen.push(names.filter((name) => headers[name] !== undefined)) }
  const other = await serve(t, (request, response) => {
    note(request, response)
    response.end('ok')
  })
  const { url } = await serve(t, (request, response) => {
    note(request, response)
    response.writeHead(302, { location: other.url.href }).end()
  })
  const { get } = bound(openFetcher(t, { allowPrivateNetworks: true }))
  await text((await get(url, { isTrusted: true, headers: Object.fromEntries(names.map((name) => [name, 'secret'])), signal })).body)
  t.strictSame(seen, [names, []])
})

t.test('credentials of the operator go to their host only', async (t) => {
  const seen: Array<string | undefined> = []
  const other = await serve(t, (request, response) => {
    seen.push(request.headers.authorization)
    response.end('ok')
  })
  const { url } = await serve(t, (request, response) => {
    seen.push(request.headers.authorization)
    response.writeHead(302, { location: other.url.href }).end()
  })
  const { get } = bound(openFetcher(t, { allowPrivateNetworks: true }))
  url.username = 'me'
  url.password = 'p%40ss'
  await text((await get(url, { isTrusted: true, signal })).body)
  url.username = url.password = ''
  await text((await get(url, { isTrusted: true, headers: { Authorization: 'Bearer x' }, signal })).body)
  t.strictSame(seen, [`Basic ${Buffer.from('me:p@ss').toString('base64')}`, undefined, 'Bearer x', undefined])
})

t.test('nobody waits for ever: no connection, no headers, silence in the body', async (t) => {
  const { url, sockets } = await serve(t, (request, response) => {
    if (request.url === '/silence') response.writeHead(200, { 'content-length': 10 }).write('abc')
    if (request.url === '/cut') response.writeHead(200, { 'content-length': 10 }).write('abc', () => { response.destroy() })
    if (request.url === '/reset') request.socket.resetAndDestroy()
  })
  const { get } = bound(openFetcher(t))
  await t.rejects(get(url, { isTrusted: true, headersTimeoutMs: 100, signal }), { code: 'HTTP_TIMEOUT', message: /did not answer within 100 ms/ })
  const silence = await get(new URL('/silence', url), { isTrusted: true, bodyTimeoutMs: 100, signal })
  await t.rejects(text(silence.body), { code: 'HTTP_TIMEOUT', message: /fell silent/ })
  const cut = await get(new URL('/cut', url), { isTrusted: true, signal })
  await t.rejects(text(cut.body), { code: 'SOURCE_FAILED' })
  await t.rejects(get(new URL('/reset', url), { isTrusted: true, signal }), { code: 'SOURCE_FAILED' })
  url.port = '1'
  await t.rejects(get(url, { isTrusted: true, signal }), { code: 'SOURCE_FAILED', message: /ECONNREFUSED/ })
  await closed(sockets)
})

t.test('a deadline and a reader who leaves count while the connection is being made, too', async (t) => {
  const server = createServer(() => {}).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => { sockets.add(socket.on('error', () => {})) })
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  // TLS that is never answered: until its handshake there is no connection.
  const url = new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  const { get } = bound(openFetcher(t))
  const startedAt = performance.now()
  await t.rejects(get(url, { isTrusted: true, headersTimeoutMs: 100, signal }), { code: 'HTTP_TIMEOUT', message: /did not answer within 100 ms/ })
  await t.rejects(get(url, { isTrusted: true, signal: AbortSignal.timeout(100) }), { name: 'TimeoutError' })
  t.ok(performance.now() - startedAt < 5000)
})

t.test('a redirect to a signed URL is followed anew each time: that the last one has expired does no harm', async (t) => {
  let signature = 0
  const { url, requests } = await serve(t, (request, response) => {
    if (request.url === '/file') response.writeHead(302, { location: `/signed?${++signature}` }).end()
    else if (request.url === `/signed?${signature}`) response.end(`bytes ${signature}`)
    else response.writeHead(403).end('expired')
  })
  const { get } = bound(openFetcher(t, { allowPrivateNetworks: true }))
  const file = new URL('/file', url)
  const first = await get(file, { isTrusted: true, signal })
  t.equal(await text(first.body), 'bytes 1')
  signature++
  t.equal((await get(first.url, { isTrusted: true, signal })).status, 403)
  t.equal(await text((await get(file, { isTrusted: true, signal })).body), 'bytes 3')
  t.strictSame(requests, ['/file', '/signed?1', '/signed?1', '/file', '/signed?3'])
})

t.test('a body without Content-Length: chunked, or until the connection ends', async (t) => {
  const { url } = await serve(t, (request, response) => {
    if (request.url === '/close') response.useChunkedEncodingByDefault = false
    response.write('one ')
    response.end('two')
  })
  const { get } = bound(openFetcher(t))
  for (const [path, encoding] of [['/', 'chunked'], ['/close', undefined]] as const) {
    const { headers, body } = await get(new URL(path, url), { isTrusted: true, signal })
    t.equal(headers['content-length'], undefined)
    t.equal(headers['transfer-encoding'], encoding)
    t.equal(await text(body), 'one two')
  }
})

t.test('chunks that are cut off in the middle are a failure, not an end', async (t) => {
  const { url } = await serve(t, (_request, response) => { response.write('abc', () => { response.destroy() }) })
  const { body } = await bound(openFetcher(t)).get(url, { isTrusted: true, signal })
  await t.rejects(text(body), { code: 'SOURCE_FAILED' })
})

t.test('the reader leaves: before, while waiting, in the middle of the body', async (t) => {
  const { url, sockets } = await serve(t, (request, response) => {
    if (request.url === '/body') response.writeHead(200).write('abc')
    else stop.abort(new Error('gone'))
  })
  const { get } = bound(openFetcher(t))
  const stop = new AbortController()
  await t.rejects(get(url, { isTrusted: true, signal: AbortSignal.abort(new Error('gone before')) }), { message: 'gone before' })
  await t.rejects(get(url, { isTrusted: true, signal: stop.signal }), { message: 'gone' })
  const leave = new AbortController()
  const { body } = await get(new URL('/body', url), { isTrusted: true, signal: leave.signal })
  t.equal(String((await body.next()).value), 'abc')
  leave.abort(new Error('gone in the middle'))
  await t.rejects(body.next(), { message: 'gone in the middle' })
  await closed(sockets)
})

t.test('connections to one origin are bounded, and a wait for one is bounded too', async (t) => {
  const { url, sockets } = await serve(t, () => {})
  const { get } = bound(openFetcher(t))
  await Promise.all(Array.from({ length: 12 }, async () => {
    await t.rejects(get(url, { isTrusted: true, headersTimeoutMs: 300, signal }), { code: 'HTTP_TIMEOUT' })
  }))
  t.ok(sockets.size <= 8)
})

t.test('close() leaves no socket, and ends what is still being read', async (t) => {
  const { url, sockets } = await serve(t, (request, response) => {
    if (request.url === '/idle') response.end('x')
    else response.write('x')
  })
  const own = new Fetcher({ allowPrivateNetworks: false })
  await text((await own.get(new URL('/idle', url), { isTrusted: true, signal })).body)
  const { body } = await own.get(url, { isTrusted: true, signal })
  const reading = text(body)
  reading.catch(() => {})
  await own.close()
  await t.rejects(reading, { code: 'SOURCE_FAILED' })
  await t.rejects(own.get(url, { isTrusted: true, signal }), { code: 'SOURCE_FAILED' })
  await closed(sockets)
  t.equal(sockets.size, 0)
})

function bound (fetcher: Fetcher): { get: Fetcher['get'] } {
  return { get: async (url, options) => await fetcher.get(url, options) }
}
