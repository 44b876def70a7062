import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { deadlines } from '../../../services/deadlines.ts'
import { SharedPort } from '../../../services/http/shared-port.ts'
import { testBytes, until } from '../../testnet.ts'

interface Shared {
  readonly server: Server
  readonly port: SharedPort
  readonly taken: Array<{ socket: Socket, bytes: Buffer }>
  dial (): Promise<Socket>
}

/** An echo of request bodies, on a port that BitTorrent shares. */
async function start (t: Test): Promise<Shared> {
  const server = createServer({ requestTimeout: 2_000, headersTimeout: 1_000, connectionsCheckingInterval: 100 }, (request, response) => {
    response.setHeader('X-Path', request.url ?? '')
    request.pipe(response)
  })
  const port = new SharedPort(server)
  const taken: Shared['taken'] = []
  port.take('bittorrent', (socket, bytes) => { taken.push({ socket, bytes }) })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const number = address !== null && typeof address === 'object' ? address.port : 0
  t.teardown(async () => {
    for (const { socket } of taken) socket.destroy()
    port.close()
    server.closeAllConnections()
    await new Promise(resolve => { server.close(resolve) })
  })
  return {
    server,
    port,
    taken,
    async dial () {
      const socket = connect({ port: number, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
      t.teardown(() => { socket.destroy() })
      await once(socket, 'connect')
      return socket
    }
  }
}

/** Sends the parts as packets of their own. */
async function sendParts (socket: Socket, parts: readonly Buffer[]): Promise<void> {
  for (const part of parts) {
    socket.write(part)
    await new Promise(resolve => { setImmediate(resolve) })
    await sleep(1)
  }
}

/** Cuts at places that the seed decides. */
function cut (bytes: Buffer, seed: string): Buffer[] {
  const numbers = testBytes(bytes.length + 1, seed)
  const parts: Buffer[] = []
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const length = 1 + (numbers[i] ?? 0) % 9
    parts.push(bytes.subarray(at, at + length))
    at += length
  }
  return parts
}

async function textUntil (socket: Socket, end: string): Promise<string> {
  let text = ''
  socket.on('data', (chunk: Buffer) => { text += chunk.toString('latin1') })
  await until(`${end} comes`, () => text.includes(end), 8_000)
  return text
}

t.test('a request is answered however its bytes are cut into packets', async (t) => {
  const { dial } = await start(t)
  const body = 'b'
  const request = Buffer.from(`POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`)
  await Promise.all(Array.from({ length: 20 }, async (_, i) => {
    const socket = await dial()
    const answer = textUntil(socket, '\r\n0\r\n\r\n')
    await sendParts(socket, i === 0 ? [request] : cut(request, `request ${i}`))
    t.match(await answer, /^HTTP\/1\.1 200 OK\r\n[^]*X-Path: \/a\r\n[^]*\r\n1\r\nb\r\n0/)
  }))
})

t.test('a peer is handed over with all its bytes, however they are cut', async (t) => {
  const { dial, taken } = await start(t)
  const encrypted = Buffer.concat([Buffer.from('GET'), testBytes(93, 'random')])
  for (const [i, bytes] of [Buffer.from('\x13BitTorrent protocol'), encrypted].entries()) {
    await sendParts(await dial(), cut(bytes, `peer ${i}`))
    await until('it is taken', () => taken.length > i)
    const { socket, bytes: read } = taken[i] ?? {}
    if (socket === undefined || read === undefined) throw new Error('not taken')
    t.equal(socket.listenerCount('error') + socket.listenerCount('readable'), 0, 'nothing listens to it')
    let all = read
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => { all = Buffer.concat([all, chunk]) })
    await until('all bytes are there', () => all.length >= bytes.length)
    t.ok(all.equals(bytes))
  }
})

t.test('what HTTP is not asked for politely is answered by HTTP', async (t) => {
  const { dial, taken } = await start(t)
  for (const text of ['GET /\x7f HTTP/1.1\r\n\r\n', 'BREW /coffee HTTP/1.1\r\nHost: x\r\n\r\n', '\x16\x03\x01\x00\xc8\x01\x00\x00']) {
    const socket = await dial()
    socket.write(Buffer.from(text, 'latin1'))
    t.match(await textUntil(socket, '\r\n\r\n'), /^HTTP\/1\.1 400 /, JSON.stringify(text))
  }
  t.equal(taken.length, 0, 'TLS, too, while nobody takes it')
})

t.test('keep-alive: a second and third request on the connection, and three pipelined at once', async (t) => {
  const { dial, server } = await start(t)
  let connections = 0
  server.on('connection', () => { connections++ })
  const socket = await dial()
  let text = ''
  socket.on('data', (chunk: Buffer) => { text += chunk.toString() })
  const paths = (): string[] => [...text.matchAll(/X-Path: (\S+)/g)].map(([, path]) => path ?? '')
  socket.write('GET /1 HTTP/1.1\r\nHost: x\r\n\r\n')
  await until('the first', () => paths().length === 1)
  socket.write('GET /2 HTTP/1.1\r\nHost: x\r\n\r\n')
  await until('the second', () => paths().length === 2)
  socket.write(['/3', '/4', '/5'].map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''))
  await until('the rest', () => paths().length === 5)
  t.same(paths(), ['/1', '/2', '/3', '/4', '/5'])
  const other = await dial()
  other.write(['/a', '/b'].map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''))
  t.match(await textUntil(other, 'X-Path: /b'), /X-Path: \/a[^]*X-Path: \/b/, 'pipelined from the first byte')
  t.equal(connections, 2)
})

t.test('a large body arrives whole, the first packet of it with the headers', async (t) => {
  const { dial } = await start(t)
  const body = testBytes(3_000_000, 'body')
  const socket = await dial()
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => { chunks.push(chunk) })
  const ended = once(socket, 'end')
  socket.write(Buffer.concat([Buffer.from(`PUT / HTTP/1.0\r\nContent-Length: ${body.length}\r\n\r\n`), body]))
  await ended
  t.ok(Buffer.concat(chunks).subarray(-body.length).equals(body))
})

t.test('a client that has sent its request and closes its side gets its answer', async (t) => {
  const { dial } = await start(t)
  const socket = await dial()
  const answer = textUntil(socket, '\r\n\r\n')
  socket.end('GET /half HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  t.match(await answer, /200 OK[^]*\/half/)
})

t.test('a client that says nothing has the time that HTTP gives it, and is cut by HTTP', async (t) => {
  const { dial } = await start(t)
  const startedAt = performance.now()
  const socket = await dial()
  const answer = textUntil(socket, '408')
  t.match(await answer, /^HTTP\/1\.1 408 /)
  t.ok(performance.now() - startedAt >= deadlines.firstBytesMs)
})

t.test('clients that leave in the middle of a word leave nothing behind', async (t) => {
  const { dial, server, taken } = await start(t)
  const count = async (): Promise<number> => await new Promise((resolve, reject) => { server.getConnections((error, count) => { if (error === null) resolve(count); else reject(error) }) })
  for (const end of [(socket: Socket) => { socket.end('GE') }, (socket: Socket) => { socket.end() }, (socket: Socket) => { socket.resetAndDestroy() }]) {
    const socket = await dial()
    await until('it is there', async () => await count() === 1)
    socket.resume()
    end(socket)
    await until('it is gone', async () => await count() === 0)
  }
  t.equal(taken.length, 0)
})

t.test('at the stop nobody waits for those who have said nothing', async (t) => {
  const { dial, server, port } = await start(t)
  const socket = await dial()
  socket.on('error', () => {})
  socket.resume()
  socket.write('GE')
  await until('it is there', async () => await new Promise((resolve) => { server.getConnections((_error, count) => { resolve(count === 1) }) }))
  const closed = once(server, 'close')
  const gone = new Promise((resolve) => { socket.once('close', resolve) })
  server.close()
  port.close()
  await Promise.all([closed, gone])
  t.pass('both are closed')
})

t.test('a port that nobody shares is left as it was', async (t) => {
  const server = createServer()
  const before = server.listeners('connection')
  new SharedPort(server).close()
  t.same(server.listeners('connection'), before)
  const shared = new SharedPort(server)
  shared.take('bittorrent', () => {})
  shared.take('tls', () => {})
  t.equal(server.listenerCount('connection'), 1, 'two that share it look once')
})
