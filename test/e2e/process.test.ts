import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { copyFile, mkdir, readdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { isGone, runToEnd, startServer, swarmOf } from '../server-process.ts'
import { temporaryDirectory } from '../testnet.ts'
import type { AddressInfo } from 'node:net'

const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'

t.test('on defaults and without any network a mock hash plays, and the data goes where the documents say', async (t) => {
  const run = await startServer(t)
  const response = await fetch(`http://127.0.0.1:${run.port}/stream/proxy/${mockHash}`)
  t.equal(response.status, 200)
  t.equal((await response.arrayBuffer()).byteLength, 2_097_152)
  t.ok((await readdir(join(run.directory, '..'))).includes('cache'))
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  t.test(`${signal}: open streams end, the swarm process ends, the exit code is 0`, async (t) => {
    const run = await startServer(t)
    await mkdir(run.directory, { recursive: true })
    await writeFile(join(run.directory, `${infohash}.mp4`), randomBytes(30_000_000))
    const swarm = await swarmOf(run)
    const response = await fetch(`http://127.0.0.1:${run.port}/stream/proxy/${infohash}`)
    const reader = response.body?.getReader()
    await reader?.read()
    const signalledAt = performance.now()
    run.child.kill(signal)
    const [code] = await once(run.child, 'exit')
    t.equal(code, 0)
    t.ok(performance.now() - signalledAt < 5000, 'within 5 s')
    t.ok(await isGone(swarm), 'the swarm process is gone')
    await t.rejects((async () => { while ((await reader?.read())?.done === false); })(), 'the stream is cut, not finished')
  })
}

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

t.test('a port that is taken is one clear line', async (t) => {
  const server = createServer().listen(0, '0.0.0.0')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const { port } = server.address() as AddressInfo
  const { code, output } = await runToEnd(t, { PORT: String(port), ENABLE_P2P: 'false' })
  t.equal(code, 1)
  t.match(output, `Port ${port} is taken`)
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
