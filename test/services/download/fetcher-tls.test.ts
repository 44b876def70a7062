import t from 'tap'
import { once } from 'node:events'
import { createSecureServer } from 'node:http2'
import { createServer } from 'node:https'
import { createServer as createPlainServer } from 'node:net'
import { makeCertificate, trust } from '../../certificate.ts'
import { closed, noise, openFetcher, serve } from './origin.ts'
import type { CertificateChoices, TestCertificate } from '../../certificate.ts'
import type { Http2SecureServer, Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { Server } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Test } from 'tap'

const { signal } = new AbortController()
const trusted = makeCertificate()
trust(trusted)

interface TlsOrigin {
  readonly url: URL
  /** `HTTP version path` of each request. */
  readonly requests: string[]
  readonly sockets: Set<Socket>
  connections (): number
}

async function listening (t: Test, server: Http2SecureServer | Server, requests: string[]): Promise<TlsOrigin> {
  const sockets = new Set<Socket>()
  let connections = 0
  server.on('tlsClientError', () => {})
  server.on('secureConnection', (socket) => {
    connections++
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => { sockets.delete(socket) })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { url: new URL(`https://localhost:${(server.address() as AddressInfo).port}/`), requests, sockets, connections: () => connections }
}

async function serveH2 (t: Test, allowHTTP1: boolean, listener: (request: Http2ServerRequest, response: Http2ServerResponse) => void): Promise<TlsOrigin> {
  const requests: string[] = []
  const server = createSecureServer({ ...trusted, allowHTTP1 }, (request, response) => {
    requests.push(`${request.httpVersion} ${request.url}`)
    listener(request, response)
  })
  return await listening(t, server, requests)
}

async function serveTls (t: Test, { key, cert }: TestCertificate): Promise<TlsOrigin> {
  const requests: string[] = []
  return await listening(t, createServer({ key, cert }, (request, response) => {
    requests.push(`${request.httpVersion} ${request.url}`)
    response.end('ok')
  }), requests)
}

async function bytes (body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks)
}

t.test('an origin that speaks HTTP/2 only is downloaded from, ranges, redirects and status included', async (t) => {
  const content = noise(3_000_000)
  const { url, requests } = await serveH2(t, false, (request, response) => {
    if (request.url === '/moved') {
      response.writeHead(302, { location: '/file' })
      response.end()
    } else if (request.url === '/gone') {
      response.writeHead(410)
      response.end('gone')
    } else {
      const [, first = '0', last = '0'] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
      response.writeHead(206, { 'content-range': `bytes ${first}-${last}/${content.length}` })
      response.end(content.subarray(Number(first), Number(last) + 1))
    }
  })
  const fetcher = openFetcher(t, { allowPrivateNetworks: true })
  const reply = await fetcher.get(new URL('/moved', url), { isTrusted: true, headers: { range: 'bytes=1000-2500000' }, signal })
  t.equal(reply.status, 206)
  t.equal(reply.headers['content-range'], 'bytes 1000-2500000/3000000')
  t.ok(content.subarray(1000, 2_500_001).equals(await bytes(reply.body)))
  const gone = await fetcher.get(new URL('/gone', url), { isTrusted: true, signal })
  t.equal(gone.status, 410)
  t.equal(String(await bytes(gone.body)), 'gone')
  t.strictSame(requests, ['2.0 /moved', '2.0 /file', '2.0 /gone'])
})

t.test('requests over HTTP/2 share a connection, and one that hangs or is not read holds up no other', async (t) => {
  const content = noise(3_000_000)
  const { url, connections } = await serveH2(t, false, (request, response) => {
    if (request.url === '/hang') return
    response.write(content)
    if (request.url !== '/silence') response.end()
  })
  const fetcher = openFetcher(t)
  const get = async (path: string, limits: object = {}): Promise<Buffer> => {
    const { body } = await fetcher.get(new URL(path, url), { isTrusted: true, signal, ...limits })
    return await bytes(body)
  }
  await get('/')
  const leave = new AbortController()
  const hanging = get('/hang', { signal: leave.signal })
  const unread = await Promise.all(['/a', '/b', '/c'].map(async (path) => await fetcher.get(new URL(path, url), { isTrusted: true, signal })))
  for (let i = 0; i < 3; i++) t.ok(content.equals(await get('/')))
  leave.abort(new Error('gone'))
  await t.rejects(hanging, { message: 'gone' })
  for (const { body } of unread) t.ok(content.equals(await bytes(body)))
  await t.rejects(get('/hang', { headersTimeoutMs: 200 }), { code: 'HTTP_TIMEOUT', message: /did not answer within 200 ms/ })
  await t.rejects(get('/silence', { bodyTimeoutMs: 200 }), { code: 'HTTP_TIMEOUT', message: /fell silent/ })
  const { body } = await fetcher.get(url, { isTrusted: true, signal })
  await body.next()
  await body.return()
  t.ok(content.equals(await get('/')))
  t.equal(connections(), 1)
})

t.test('an HTTP/2 origin that dies in the middle fails that reply with a reason; close() leaves no connection', async (t) => {
  const { url, sockets } = await serveH2(t, false, (request, response) => {
    response.writeHead(200, { 'content-length': 10 })
    response.write('abc', () => { if (request.url === '/die') request.stream.session?.destroy() })
  })
  const fetcher = openFetcher(t)
  const cut = await fetcher.get(new URL('/die', url), { isTrusted: true, signal })
  await t.rejects(bytes(cut.body), { code: 'SOURCE_FAILED' })
  const { body } = await fetcher.get(url, { isTrusted: true, signal })
  const reading = t.rejects(bytes(body), { code: 'SOURCE_FAILED' })
  await fetcher.close()
  await reading
  await closed(sockets)
})

t.test('an origin that offers both is asked over HTTP/1.1', async (t) => {
  const { url, requests } = await serveH2(t, true, (_request, response) => { response.end('ok') })
  const { body } = await openFetcher(t).get(url, { isTrusted: true, signal })
  t.equal(String(await bytes(body)), 'ok')
  t.strictSame(requests, ['1.1 /'])
})

t.test('what a stranger named reaches no HTTP/2 origin on this machine either', async (t) => {
  const { url, requests, connections } = await serveH2(t, false, (_request, response) => { response.end('secret') })
  const fetcher = openFetcher(t)
  await bytes((await fetcher.get(url, { isTrusted: true, signal })).body)
  for (const target of [url.href, url.href.replace('localhost', '127.0.0.1')]) {
    await t.rejects(fetcher.get(new URL(target), { isTrusted: false, signal }), { code: 'ADDRESS_REFUSED' })
  }
  t.strictSame(requests, ['2.0 /'])
  t.equal(connections(), 1)
})

t.test('a certificate that cannot be trusted: the reason says what is wrong with it, and nothing is asked', async (t) => {
  const day = 86_400_000
  const cases: Array<readonly [what: string, choices: CertificateChoices, isTrusted: boolean, message: RegExp]> = [
    ['self-signed', {}, false, /nobody whom this machine trusts has signed its TLS certificate/],
    ['expired', { notBefore: new Date(Date.now() - 2 * day), notAfter: new Date(Date.now() - day) }, true, /its TLS certificate has expired/],
    ['from the future', { notBefore: new Date(Date.now() + day), notAfter: new Date(Date.now() + 2 * day) }, true, /not valid yet/],
    ['for another name', { names: ['mirror.example'] }, true, /its TLS certificate is for another name/]
  ]
  const fetcher = openFetcher(t)
  for (const [what, choices, isTrusted, message] of cases) {
    const certificate = makeCertificate(choices)
    if (isTrusted) trust(certificate)
    const { url, requests } = await serveTls(t, certificate)
    await t.rejects(fetcher.get(url, { isTrusted: true, signal }), { code: 'SOURCE_FAILED', message }, what)
    t.strictSame(requests, [], what)
  }
})

t.test('https at a port that speaks http, at one that speaks nonsense, and at one that says nothing', async (t) => {
  const { url } = await serve(t, (_request, response) => { response.end('plain') })
  url.protocol = 'https:'
  const fetcher = openFetcher(t)
  await t.rejects(fetcher.get(url, { isTrusted: true, signal }), { code: 'SOURCE_FAILED', message: /does not speak TLS/ })

  const sockets = new Set<Socket>()
  const other = createPlainServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    if (sockets.size === 1) socket.end('SSH-2.0-OpenSSH_9.2\r\n')
  }).listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    other.close()
  })
  const target = new URL(`https://127.0.0.1:${(other.address() as AddressInfo).port}/`)
  await t.rejects(fetcher.get(target, { isTrusted: true, signal }), { code: 'SOURCE_FAILED' })
  await t.rejects(fetcher.get(target, { isTrusted: true, headersTimeoutMs: 300, signal }), { code: 'HTTP_TIMEOUT' })
})
