import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, readdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { isGone, runToEnd, startServer, swarmOf } from '../server-process.ts'
import { temporaryDirectory, until } from '../testnet.ts'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import type { ServerProcess } from '../server-process.ts'

const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'

t.test('on defaults and without any network a mock hash plays, and the data goes where the documents say', async (t) => {
  const run = await startServer(t)
  const response = await fetch(`http://127.0.0.1:${run.port}/stream/proxy/${mockHash}`)
  t.equal(response.status, 200)
  t.equal((await response.arrayBuffer()).byteLength, 2_097_152)
  t.ok((await readdir(join(run.directory, '..'))).includes('cache'))
})

/** A server with a cached file of 30 MB, and a response of it that has begun. */
async function withStream (t: Test, env: Record<string, string> = {}) {
  const run = await startServer(t, env)
  await mkdir(run.directory, { recursive: true })
  const content = randomBytes(30_000_000)
  await writeFile(join(run.directory, `${infohash}.mp4`), content)
  const swarm = await swarmOf(run)
  const response = await fetch(`${run.url}/stream/proxy/${infohash}`)
  const reader = response.body?.getReader()
  if (reader === undefined) throw new Error('no body')
  const first = await reader.read()
  /** Reads the rest, and gives how many bytes there were in all; throws where the stream is cut. */
  const readRest = async (pauseMs = 0): Promise<number> => {
    let length = first.value?.length ?? 0
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return length
      length += value.length
      if (pauseMs > 0) await wait(pauseMs)
    }
  }
  return { run, swarm, content, readRest }
}

/** Asks the server to stop in one of the ways in which it can be asked. */
function ask (run: ServerProcess, wish: string): void {
  if (wish === 'SIGINT' || wish === 'SIGTERM' || wish === 'SIGHUP') run.child.kill(wish)
  else run.type(wish)
}

for (const wish of ['SIGINT', 'SIGTERM', 'SIGHUP', 'stop', '^C']) {
  t.test(`${wish}: a paused stream is cut, the swarm process ends, the exit code is 0, within 5 s`, async (t) => {
    const { run, swarm, readRest } = await withStream(t)
    const askedAt = performance.now()
    ask(run, wish)
    const [code] = await once(run.child, 'exit')
    t.equal(code, 0)
    t.ok(performance.now() - askedAt < 5000, 'within 5 s')
    t.ok(await isGone(swarm), 'the swarm process is gone')
    await t.rejects(readRest(), 'the stream is cut, not finished')
  })
}

t.test('a stop with nothing open is immediate', async (t) => {
  const run = await startServer(t, { ENABLE_P2P: 'false' })
  const askedAt = performance.now()
  t.equal(await run.stop('SIGTERM'), 0)
  t.ok(performance.now() - askedAt < 1900, `${Math.round(performance.now() - askedAt)} ms, without SHUTDOWN_GRACE and without the wait for clients`)
})

t.test('a stream that is being read ends whole after the stop signal; readiness is off meanwhile, and new requests are served', async (t) => {
  const { run, content, readRest } = await withStream(t, { SHUTDOWN_GRACE: '30' })
  run.child.kill('SIGTERM')
  await until('readiness is off', async () => (await fetch(`${run.url}/ready`)).status === 503)
  t.equal((await fetch(`${run.url}/health`)).status, 200, 'and it is alive')
  t.equal((await fetch(`${run.url}/stream/proxy/${mockHash}`, { headers: { Range: 'bytes=0-9' } })).status, 206)
  t.equal(await readRest(), content.length)
  const [code] = await once(run.child, 'exit')
  t.equal(code, 0)
})

t.test('one that would go on for longer than SHUTDOWN_GRACE is cut', async (t) => {
  const { run, readRest } = await withStream(t, { SHUTDOWN_GRACE: '1' })
  const askedAt = performance.now()
  run.child.kill('SIGTERM')
  await t.rejects(readRest(40))
  if (run.child.exitCode === null) await once(run.child, 'exit')
  t.ok(performance.now() - askedAt >= 1000)
  t.match(run.output(), /stopping: time is up/)
})

for (const second of ['SIGINT', 'stop']) {
  t.test(`a second wish to stop (${second}) ends everything at once, and the next start finds no stale lock`, async (t) => {
    const { run, swarm } = await withStream(t, { SHUTDOWN_GRACE: '600' })
    run.child.kill('SIGTERM')
    await until('it is stopping', async () => (await fetch(`${run.url}/ready`)).status === 503)
    const askedAt = performance.now()
    ask(run, second)
    await once(run.child, 'exit')
    t.ok(performance.now() - askedAt < 1000)
    t.ok(await isGone(swarm), 'the swarm process is gone')
    const next = await startServer(t, {}, dirname(run.directory))
    t.equal((await fetch(`${next.url}/stream/proxy/${infohash}`, { method: 'HEAD' })).status, 200)
  })
}

t.test('an input that is closed, or says something else, stops nothing', async (t) => {
  const run = await startServer(t, { ENABLE_P2P: 'false' })
  run.type('stopp')
  run.child.stdin?.end('say hello')
  await once(run.child.stdin ?? process.stdin, 'finish')
  for (let i = 0; i < 3; i++) t.equal((await fetch(`${run.url}/health`)).status, 200)
})

/** Runs the server on a terminal until it listens, then does this with the terminal (Python, its descriptor is `fd`); gives the exit code. */
async function onTerminal (t: Test, action: string, env: Record<string, string> = {}): Promise<string> {
  const child = spawn('/usr/bin/python3', ['-c', `
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
text = b''
while b'listening on port' not in text: text += os.read(fd, 4096)
${action}
try:
    while os.read(fd, 4096): pass
except OSError: pass
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`, process.execPath, join(import.meta.dirname, '..', '..', 'index.js')], {
    cwd: await temporaryDirectory(t), env: { PATH: process.env.PATH, PORT: '0', ENABLE_P2P: 'false', TORRENT_METADATA_URLS: 'none', ...env }, stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => { child.kill('SIGKILL') })
  return (await text(child.stdout)).trim()
}

const skip = existsSync('/usr/bin/python3') ? false : 'needs python3 for a terminal'

t.test('a terminal that goes away stops the server like a signal', { skip }, async (t) => {
  t.equal(await onTerminal(t, 'os.close(fd)'), '0')
})

t.test('so does Ctrl-C on it, and on the terminal of a panel the word stop', { skip }, async (t) => {
  t.equal(await onTerminal(t, "os.write(fd, b'\\x03')"), '0')
  t.equal(await onTerminal(t, "os.write(fd, b'stop\\n')", { P_SERVER_UUID: 'x', SERVER_PORT: '0' }), '0')
})

t.test('SIGKILL of the server leaves no orphan', async (t) => {
  const run = await startServer(t)
  const swarm = await swarmOf(run)
  run.child.kill('SIGKILL')
  t.ok(await isGone(swarm))
})

t.test('SIGKILL of the swarm process: the server goes on and starts another', async (t) => {
  const run = await startServer(t)
  const first = await swarmOf(run)
  process.kill(first, 'SIGKILL')
  t.ok(await isGone(first))
  t.equal((await fetch(`http://127.0.0.1:${run.port}/stream/proxy/${mockHash}`, { method: 'HEAD' })).status, 200)
  t.not(await swarmOf(run), first)
})

t.test('a wrong setting stops the start and names the variable', async (t) => {
  const { code, output } = await runToEnd(t, { PORT: 'abc', P2P_TIMEOUT: '-1' })
  t.equal(code, 1)
  t.match(output, /PORT .*"abc"/)
  t.match(output, /P2P_TIMEOUT/)
})

t.test("a port that is taken is one clear line, which names Stremio's own server", async (t) => {
  for (const address of ['0.0.0.0', '127.0.0.1']) {
    const server = createServer().listen(0, address)
    await once(server, 'listening')
    t.teardown(() => { server.close() })
    const { port } = server.address() as AddressInfo
    const { code, output } = await runToEnd(t, { PORT: String(port) })
    t.equal(code, 1)
    t.equal(output, `Port ${port} is taken by another program (Stremio's own streaming server uses 11470): stop it, or set PORT to a free port.\n`)
  }
})

t.test('11470 is the port, and taken it is told as any', async (t) => {
  const server = createServer().listen(11470, '0.0.0.0')
  const isOurs = await once(server, 'listening').then(() => true, () => false)
  t.teardown(() => { if (isOurs) server.close() })
  const { code, output } = await runToEnd(t, { PORT: '' })
  t.equal(code, 1)
  t.match(output, /^Port 11470 is taken by another program \(Stremio's own streaming server uses 11470\): .*\n$/)
})

t.test('the documents: cp .env.hybrid-http .env, a file in ./temp, and panel variables on top', async (t) => {
  const cwd = await temporaryDirectory(t)
  await copyFile(join(import.meta.dirname, '..', '..', '.env.hybrid-http'), join(cwd, '.env'))
  await mkdir(join(cwd, 'temp'))
  const content = randomBytes(1_200_000)
  await writeFile(join(cwd, 'temp', `${infohash}-Big.Buck.Bunny.mkv`), content)
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  const run = await startServer(t, { P_SERVER_UUID: 'b7e0f1a2-0000-4000-8000-000000000000', SERVER_PORT: String(port), PORT: '', HOST: '', TRACKERS: '', API_TOKEN: '', UPLOAD_LIMIT: '' }, cwd)
  t.equal(run.port, port, 'the port of the panel')
  const response = await fetch(`http://127.0.0.1:${port}/stream/proxy/${infohash}`)
  t.equal(response.headers.get('content-type'), 'video/x-matroska')
  t.ok(content.equals(Buffer.from(await response.arrayBuffer())))
})
