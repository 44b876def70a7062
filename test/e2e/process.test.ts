import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import type { ChildProcess } from 'node:child_process'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

const root = join(import.meta.dirname, '..', '..')
const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'
const offline = { TRACKERS: 'none', DHT_BOOTSTRAP: 'none', STUN_SERVERS: 'none', TORRENT_METADATA_URLS: 'none', ENABLE_PORT_MAPPING: 'false', TORRENT_PORT: '0' }

interface Run {
  readonly child: ChildProcess
  readonly port: number
  readonly directory: string
  readonly output: () => string
}

/** `node index.js` in a directory of its own, as people start it; resolves when it says that it listens. */
async function start (t: Test, env: Record<string, string> = {}, cwd = t.testdir()): Promise<Run> {
  const { PATH, HOME } = process.env
  const child = spawn(process.execPath, [join(root, 'index.js')], { cwd, env: { PATH, HOME, PORT: '0', ...offline, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  let output = ''
  child.stderr.on('data', (chunk: Buffer) => { output += chunk.toString() })
  const lines = createInterface({ input: child.stdout })
  const port = await new Promise<number>((resolve, reject) => {
    lines.on('line', (line) => {
      output += `${line}\n`
      const match = /^Server listening on port (\d+)$/.exec(line)
      if (match !== null) resolve(Number(match[1]))
    })
    child.once('exit', (code) => { reject(new Error(`it ended with ${code}: ${output}`)) })
  })
  return { child, port, directory: join(cwd, 'cache'), output: () => output }
}

/** Runs it to its end. */
async function runToEnd (t: Test, env: Record<string, string>): Promise<{ code: number | null, output: string }> {
  const { PATH, HOME } = process.env
  const child = spawn(process.execPath, [join(root, 'index.js')], { cwd: t.testdir(), env: { PATH, HOME, ...offline, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => { output += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { output += chunk.toString() })
  const [code] = await once(child, 'exit')
  return { code, output }
}

/** The processes whose parent this is. */
async function childrenOf (pid: number): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const found = await Promise.all(pids.map(async (candidate) => {
    const stat = await readFile(`/proc/${candidate}/stat`, 'utf8').catch(() => '')
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === pid ? [candidate] : []
  }))
  return found.flat()
}

const isAlive = async (pid: number): Promise<boolean> => !/^$|\) [ZX] /.test(await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ''))

async function swarmOf ({ child }: Run): Promise<number> {
  for (let i = 0; i < 100; i++) {
    const [pid] = await childrenOf(child.pid ?? 0)
    if (pid !== undefined) return pid
    await wait(50)
  }
  throw new Error('no swarm process was started')
}

async function gone (pid: number): Promise<boolean> {
  for (let i = 0; i < 100; i++) {
    if (!await isAlive(pid)) return true
    await wait(50)
  }
  return false
}

t.test('on defaults and without any network a mock hash plays, and the data goes where the documents say', async (t) => {
  const run = await start(t)
  const response = await fetch(`http://127.0.0.1:${run.port}/stream/proxy/${mockHash}`)
  t.equal(response.status, 200)
  t.equal((await response.arrayBuffer()).byteLength, 2_097_152)
  t.ok((await readdir(join(run.directory, '..'))).includes('cache'))
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  t.test(`${signal}: open streams end, the swarm process ends, the exit code is 0`, async (t) => {
    const run = await start(t)
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
    t.ok(await gone(swarm), 'the swarm process is gone')
    await t.rejects((async () => { while ((await reader?.read())?.done === false); })(), 'the stream is cut, not finished')
  })
}

t.test('SIGKILL of the server leaves no orphan', async (t) => {
  const run = await start(t)
  const swarm = await swarmOf(run)
  run.child.kill('SIGKILL')
  t.ok(await gone(swarm))
})

t.test('SIGKILL of the swarm process: the server goes on and starts another', async (t) => {
  const run = await start(t)
  const first = await swarmOf(run)
  process.kill(first, 'SIGKILL')
  t.ok(await gone(first))
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
  const cwd = t.testdir({ '.env': await readFile(join(root, '.env.hybrid-http'), 'utf8'), temp: {} })
  const content = randomBytes(1_200_000)
  await writeFile(join(cwd, 'temp', `${infohash}-Big.Buck.Bunny.mkv`), content)
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  const run = await start(t, { P_SERVER_UUID: 'b7e0f1a2-0000-4000-8000-000000000000', SERVER_PORT: String(port), PORT: '', HOST: '', TRACKERS: '', API_TOKEN: '', UPLOAD_LIMIT: '' }, cwd)
  t.equal(run.port, port, 'the port of the panel')
  const response = await fetch(`http://127.0.0.1:${port}/stream/proxy/${infohash}`)
  t.equal(response.headers.get('content-type'), 'video/x-matroska')
  t.ok(content.equals(Buffer.from(await response.arrayBuffer())))
})
