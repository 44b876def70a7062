import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { deadlines } from '../../services/deadlines.ts'
import { jsonFrom, startApp } from '../helper.ts'
import { startServer } from '../server-process.ts'
import { tellFigure } from '../soak.ts'
import { temporaryDirectory, testBytes, until } from '../testnet.ts'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Test } from 'tap'

const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'
const filmHash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const SLOW_CLIENTS = 300
const ABORTED = 10_000
const SECRET = 'nobody may read this: 6b1f'

interface Target {
  readonly url: string
  readonly port: number
  /** Resident memory, MB. */
  memoryMb (): Promise<number>
}

/** A server with a film of 30 MB, and a secret beside its download directory. */
async function startTarget (t: Test): Promise<Target> {
  const directory = await temporaryDirectory(t)
  await mkdir(join(directory, 'cache'))
  await writeFile(join(directory, 'secret.mp4'), SECRET)
  await writeFile(join(directory, 'cache', `${filmHash}.mp4`), testBytes(30_000_000, 'film'))
  const { pid, port, url } = await startServer(t, { ENABLE_P2P: 'false', LOG_LEVEL: 'error' }, directory)
  return {
    url,
    port,
    async memoryMb () {
      const [, kilobytes = '0'] = /^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
      return Math.round(Number(kilobytes) / 1000)
    }
  }
}

async function isUp (t: Test, { url }: Target): Promise<void> {
  const askedAt = performance.now()
  t.equal((await fetch(`${url}/health`)).status, 200)
  t.ok(performance.now() - askedAt < 2000, `the server is up, and answers after ${Math.round(performance.now() - askedAt)} ms`)
}

/** A connection of which nobody minds how it ends. */
function dial (port: number): Socket {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  return socket
}

async function closed (socket: Socket): Promise<void> {
  await new Promise<void>((resolve) => { socket.once('close', () => { resolve() }) })
}

/** Sends these bytes, and gives all that comes until the server closes, or `limitMs`. */
async function exchange (port: number, bytes: string | Buffer, limitMs = 3000): Promise<{ text: string, isClosed: boolean, ms: number }> {
  const startedAt = performance.now()
  const socket = dial(port)
  let text = ''
  socket.on('data', (chunk: Buffer) => { text += chunk.toString('latin1') })
  socket.write(bytes)
  const over = new AbortController()
  const isClosed = await Promise.race([closed(socket).then(() => true), wait(limitMs, false, { signal: over.signal }).catch(() => false)])
  over.abort()
  socket.destroy()
  return { text, isClosed, ms: Math.round(performance.now() - startedAt) }
}

/**
 * Asks for a path as it is written: nothing is normalised. `isHeld`: of the body only its length is told, which has to be
 * enough; a refusal that comes while a body is still being sent may be lost with the connection.
 */
async function ask (port: number, method: string, path: string, headers: Record<string, string> = {}, body?: Buffer | string, { isHeld = false } = {}): Promise<{ status: number, text: string, ms: number }> {
  const startedAt = performance.now()
  const length = body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) }
  const asked = request({ host: '127.0.0.1', port, method, path, headers: { ...length, ...headers }, agent: false, signal: AbortSignal.timeout(10_000) })
  // Who has the answer need not mind how the connection ends.
  asked.on('error', () => {})
  if (isHeld) asked.flushHeaders()
  else asked.end(body)
  const [response]: IncomingMessage[] = await once(asked, 'response')
  if (response === undefined) throw new Error('no response')
  const text = Buffer.concat(await response.toArray()).toString('latin1')
  return { status: response.statusCode ?? 0, text, ms: Math.round(performance.now() - startedAt) }
}

t.test('slow clients: headers and bodies that never end are answered 408 and cut in time; a paused player is not, and others are served meanwhile', { timeout: 60_000 }, async (t) => {
  const { app, url, directory } = await startApp(t)
  await writeFile(join(directory, `${filmHash}.mp4`), testBytes(30_000_000, 'film'))
  t.equal(app.server.headersTimeout, deadlines.requestHeadersMs)
  t.equal(app.server.requestTimeout, deadlines.requestMs)
  // The same in less time.
  app.server.headersTimeout = 2000
  app.server.requestTimeout = 3000
  const port = Number(new URL(url).port)
  const player = dial(port)
  player.write(`GET /stream/proxy/${filmHash} HTTP/1.1\r\nHost: x\r\n\r\n`)
  await once(player, 'data')
  player.pause()

  const startedAt = performance.now()
  const answers: string[] = []
  const slow = Array.from({ length: SLOW_CLIENTS }, async (_, i) => {
    const socket = dial(port)
    let text = ''
    socket.on('data', (chunk: Buffer) => { text += chunk.toString() })
    // Some say nothing at all.
    const [first = '', drop = ''] = [
      ['', ''],
      ['GET /health HTTP/1.1\r\nHost: x\r\n', 'X: y\r\n'],
      ['POST /api/torrents HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{', ' '],
      ['POST /api/torrents HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n', '1\r\n \r\n']
    ][i % 4] ?? []
    if (first !== '') socket.write(first)
    const drip = setInterval(() => { if (first !== '') socket.write(drop) }, 500)
    await closed(socket)
    clearInterval(drip)
    answers.push(text.slice(0, 12))
  })
  for (const path of ['/health', `/stream/proxy/${mockHash}`]) t.equal((await ask(port, 'GET', path)).status, 200)
  await Promise.all(slow)
  const ms = Math.round(performance.now() - startedAt)
  tellFigure(t, `${SLOW_CLIENTS} slow clients`, `cut after ${ms} ms, of 3000 ms`)
  t.ok(ms < 3000 + 2 * deadlines.requestCheckMs, `they are gone after ${ms} ms`)
  t.same([...new Set(answers)], ['HTTP/1.1 408'], 'each was told why')
  t.notOk(player.closed, 'the paused player is still there')
  let read = 0
  player.on('data', (chunk: Buffer) => { read += chunk.length }).resume()
  await until('the film comes to its end', () => read > 29_900_000)
  player.destroy()
})

t.test('bombs and smuggled requests are refused at once, and the memory is back', { timeout: 60_000 }, async (t) => {
  const target = await startTarget(t)
  const { port } = target
  await ask(port, 'GET', `/stream/proxy/${filmHash}`)
  const before = await target.memoryMb()

  await t.test('headers and addresses that are too large: 431', async (t) => {
    const bombs = [
      `GET / HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(1_000_000)}\r\n\r\n`,
      `GET / HTTP/1.1\r\nHost: x\r\n${'A: b\r\n'.repeat(100_000)}\r\n`,
      `GET /?${'a=b&'.repeat(250_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
      `GET /stream/magnet?uri=magnet%3A${'a'.repeat(1_000_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
      `GET /${'../'.repeat(300_000)} HTTP/1.1\r\nHost: x\r\n\r\n`
    ]
    for (const bomb of bombs) {
      const { text, isClosed, ms } = await exchange(port, bomb)
      t.ok(/^HTTP\/1\.1 431 /.test(text) || text === '', `${bomb.slice(0, 40)}: ${text.slice(0, 12)} after ${ms} ms`)
      t.ok(isClosed)
    }
  })

  await t.test('requests of which a proxy may think that they end elsewhere: 400 and closed, or one answer', async (t) => {
    const smuggled = 'GET /api/cache HTTP/1.1\r\nHost: x\r\n\r\n'
    const head = 'POST /api/torrents HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
    const refused = {
      'Content-Length and Transfer-Encoding': `${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
      'Transfer-Encoding and Content-Length': `${head}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${smuggled}`,
      'two lengths': `${head}Content-Length: 0\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`,
      'the same length twice': `${head}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}`,
      'a list of lengths': `${head}Content-Length: 2, 2\r\n\r\n{}`,
      'a signed length': `${head}Content-Length: +2\r\n\r\n{}`,
      'a length in hex': `${head}Content-Length: 0x2\r\n\r\n{}`,
      'another transfer coding last': `${head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
      'an unknown transfer coding': `${head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
      'a space before the colon': `${head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`,
      'a bare line feed after a header': `${head}X: y\nContent-Length: 2\r\n\r\n{}`,
      'a bare carriage return in a header': `${head}X: y\rContent-Length: 2\r\n\r\n{}`,
      'a bare line feed at the end of the headers': 'GET /health HTTP/1.1\nHost: x\n\n',
      'a folded header': `GET /health HTTP/1.1\r\nHost: x\r\nX: a\r\n Transfer-Encoding: chunked\r\n\r\n${smuggled}`,
      'a folded first header': 'GET /health HTTP/1.1\r\n Host: x\r\n\r\n',
      'a NUL in a header': 'GET /health HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n',
      'a chunk of no size': `${head}Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n`,
      'a chunk whose size overflows': `${head}Transfer-Encoding: chunked\r\n\r\n1${'0'.repeat(16)}2\r\n{}\r\n0\r\n\r\n`,
      'a chunk that ends in a bare line feed': `${head}Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n`,
      'a chunk extension with a line feed': `${head}Transfer-Encoding: chunked\r\n\r\n2;\n{}\r\n0\r\n\r\n`,
      'no Host': 'GET /health HTTP/1.1\r\n\r\n',
      'two Hosts': 'GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
      'HTTP/9': 'GET /health HTTP/9.9\r\nHost: x\r\n\r\n',
      'no method': ' /health HTTP/1.1\r\nHost: x\r\n\r\n'
    }
    for (const [what, bytes] of Object.entries(refused)) {
      const { text, isClosed, ms } = await exchange(port, bytes)
      const statuses = [...text.matchAll(/^HTTP\/1\.1 (\d+) /gm)].map(([, status]) => status)
      t.same(statuses, ['400'], `${what}: ${statuses.join()} after ${ms} ms`)
      t.ok(isClosed, 'and the connection is closed')
    }
    // A body that nobody expected is not the next request.
    const { text } = await exchange(port, `GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    t.equal([...text.matchAll(/HTTP\/1\.1 200 /g)].length, 2)
    t.notMatch(text, 'limitBytes')
  })

  await t.test('lists of ranges, however long, cost no more than the file', async (t) => {
    const fits = (range: (i: number) => string): string => `bytes=${Array.from({ length: 1000 }, (_, i) => range(i)).join(',')}`.slice(0, 15_000).replace(/,[^,]*$/, '')
    for (const [what, range] of Object.entries({
      'a thousand single bytes': fits((i) => `${i * 1000}-${i * 1000}`),
      'a thousand times all of it': fits(() => '0-'),
      'a thousand suffixes': fits((i) => `-${i + 1}`),
      'beyond the end': fits((i) => `${40_000_000 + i}-`),
      commas: `bytes=${','.repeat(15_000)}`,
      digits: `bytes=0-${'9'.repeat(15_000)}`
    })) {
      const { status, text, ms } = await ask(port, 'GET', `/stream/proxy/${mockHash}`, { Range: range })
      t.ok([200, 206, 416].includes(status) && text.length < 2_200_000, `${what}: ${status}, ${text.length} bytes after ${ms} ms`)
    }
  })

  await t.test('magnets of 1 MB and torrents of 1,000,000 files: refused, with the rule', async (t) => {
    const json = { 'Content-Type': 'application/json' }
    const magnet = `magnet:?xt=urn:btih:${'b'.repeat(40)}&tr=${'x'.repeat(1_000_000)}`
    const many = `magnet:?xt=urn:btih:${'b'.repeat(40)}${'&tr=http://a.b/'.repeat(64_000)}`
    const bombs = [
      ['a magnet of 1 MB', 400, json, JSON.stringify({ magnetUri: magnet })],
      ['a magnet with 64,000 trackers', 400, json, JSON.stringify({ magnetUri: many })],
      ['a magnet of 2 MB', 413, json, JSON.stringify({ magnetUri: magnet + magnet })],
      ['JSON in JSON', 400, json, '['.repeat(1_000_000)],
      ['a torrent of 1,000,000 files', 413, { 'Content-Type': 'application/x-bittorrent' }, torrentOf(1_000_000)],
      ['a torrent of 300,000 files', 400, { 'Content-Type': 'application/x-bittorrent' }, torrentOf(300_000)],
      ['lists in lists', 400, { 'Content-Type': 'application/x-bittorrent' }, Buffer.from('l'.repeat(10_000_000))],
      ['a form with a million parts', 400, { 'Content-Type': 'multipart/form-data; boundary=B' }, Buffer.from('--B\r\n\r\n\r\n'.repeat(900_000))]
    ] as const
    // The first of each kind makes what is kept.
    for (const [, status, type, body] of bombs) await ask(port, 'POST', '/api/torrents', type, body, { isHeld: status === 413 })
    const before = await target.memoryMb()
    for (const [what, status, type, body] of bombs) {
      const answer = await ask(port, 'POST', '/api/torrents', type, body, { isHeld: status === 413 })
      t.equal(answer.status, status, `${what}: ${answer.status} after ${answer.ms} ms, ${answer.text.slice(0, 150)}`)
      t.ok(answer.ms < 3000)
    }
    const after = await target.memoryMb()
    tellFigure(t, 'magnets and torrents', `${before} MB after the first time, ${after} MB after the second`)
    t.ok(after < before + 200, `${after} MB, ${before} before`)
    t.equal((await jsonFrom(`${target.url}/api/torrents`)).body.total, 1, 'none of them is there: one is the film')
  })

  await isUp(t, target)
  const after = await target.memoryMb()
  tellFigure(t, 'bombs', `${before} MB before, ${after} MB after`)
  t.ok(after < before + 300, `${after} MB, ${before} before`)
})

t.test('tricks in paths and parameters reach no file, and none of them is a failure of the server', { timeout: 60_000 }, async (t) => {
  const { port } = await startTarget(t)
  const { paths } = JSON.parse((await ask(port, 'GET', '/openapi.json')).text)
  const tricks = [
    '..', '../../secret.mp4', '..%2f..%2fsecret.mp4', '..%5c..%5csecret.mp4', '%2e%2e/%2e%2e/secret.mp4', '%2e%2e%2fsecret.mp4', '....//....//secret.mp4',
    '..;/secret.mp4', '%252e%252e%252fsecret.mp4', '%c0%ae%c0%ae/secret.mp4', '%00', `${filmHash}%00.mp4`, `${filmHash}/../../secret.mp4`, `${filmHash}%2f..%2f..%2fsecret.mp4`,
    '%2fetc%2fpasswd', 'file:%2f%2f%2fetc%2fpasswd', 'http:%2f%2f127.0.0.1%2f', '%0d%0aSet-Cookie:x', '__proto__', 'constructor', 'con', '*', '%', '%zz', "';drop", '$(id)', '`id`', '%F0%9F%92%A9', 'a'.repeat(3000)
  ]
  const failures: string[] = []
  const asked = new Set<string>()
  for (const [path, operations] of Object.entries(paths)) {
    for (const method of Object.keys(operations ?? {})) {
      if (/events$/.test(path) || (method !== 'get' && method !== 'post' && method !== 'delete')) continue
      for (const trick of tricks) {
        const names = ['fileIndex', 'uri', 'name', 'file', 'path', 'url', 'tr', 'offset', 'limit']
        for (const target of [path.replace(/\{\w+\}/g, trick), `${path.replace(/\{\w+\}/g, mockHash)}?${names.map((name) => `${name}=${trick}`).join('&')}`, `/${trick}`]) {
          if (target === path || /[^\x21-\x7e]/.test(target) || asked.has(`${method} ${target}`)) continue
          asked.add(`${method} ${target}`)
          const { status, text } = await ask(port, method.toUpperCase(), target, { 'Content-Type': 'application/json' })
          if (status >= 500 && status !== 503) failures.push(`${method} ${target}: ${status} ${text.slice(0, 200)}`)
          if (text.includes(SECRET) || text.includes('root:')) failures.push(`${method} ${target}: read`)
          if (/set-cookie/i.test(text.split('\r\n\r\n')[0] ?? '') && trick.includes('Set-Cookie') && !text.startsWith('{')) failures.push(`${method} ${target}: split`)
        }
      }
    }
  }
  tellFigure(t, 'path tricks: requests', asked.size)
  t.same(failures, [])
})

t.test(`${ABORTED} connections that are broken off at any point leave nothing behind`, { timeout: 60_000 }, async (t) => {
  const target = await startTarget(t)
  const { port } = target
  const begun = `GET /stream/proxy/${filmHash} HTTP/1.1\r\nHost: x\r\n\r\n`
  const abort = async (i: number): Promise<void> => {
    const socket = dial(port)
    const end = closed(socket)
    await Promise.race([once(socket, 'connect').catch(() => {}), end])
    const text = ['', 'GET /hea', begun, begun, 'POST /api/torrents HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"', `${begun}${begun}${begun}`][i % 6] ?? ''
    if (text !== '') socket.write(text)
    if (i % 6 === 3) await Promise.race([once(socket, 'data').catch(() => {}), end])
    if (i % 2 === 0) socket.resetAndDestroy()
    else socket.destroy()
    await end
  }
  const storm = async (from: number, to: number): Promise<void> => {
    await Promise.all(Array.from({ length: 100 }, async (_, worker) => {
      for (let i = from + worker; i < to; i += 100) await abort(i)
    }))
  }
  // What is made once: the second time adds nothing to it.
  await storm(0, ABORTED)
  const before = await target.memoryMb()
  const startedAt = performance.now()
  await storm(0, ABORTED)
  const ms = Math.round(performance.now() - startedAt)
  await isUp(t, target)
  await until('no stream is left', async () => {
    const open = [...(await (await fetch(`${target.url}/metrics`)).text()).matchAll(/^self_streme_streams_open\{.*\} (\d+)$/gm)]
    return open.length > 0 && open.every(([, count]) => count === '0')
  })
  const after = await target.memoryMb()
  tellFigure(t, `${ABORTED} aborted connections`, `${ms} ms, ${before} MB before, ${after} MB after`)
  t.ok(after < before + 150, `${after} MB, ${before} before`)
})

/** One that is well formed but for its number of files. */
function torrentOf (files: number): Buffer {
  return Buffer.from(`d4:infod5:filesl${'d6:lengthi0e4:pathl1:aee'.repeat(files)}e4:name1:x12:piece lengthi16384e6:pieces0:ee`)
}
