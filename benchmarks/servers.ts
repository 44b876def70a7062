// What the benchmarks of streams share: servers of one directory, each in a process of its own.
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { createHash, randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, open, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import fastifyStatic from '@fastify/static'
import Fastify from 'fastify'

export const MB = 1024 * 1024
const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const name = `${infohash}.mkv`
const self = fileURLToPath(import.meta.url)
const root = fileURLToPath(new URL('..', import.meta.url))

export interface Running {
  readonly child: ChildProcess
  /** `http://host:port`, without a slash at the end. */
  readonly origin: string
}

export interface Contender {
  readonly name: string
  readonly url: string
  readonly child: ChildProcess
}

// This file is also the server that self-streme is measured against.
if (import.meta.main) await serveStatic(process.argv[2] ?? '.')

/**
 * Calls `measure` with self-streme, @fastify/static and, where it is installed, nginx, each serving the same cached file
 * of random bytes, which lies at `path`; all of them were asked for the whole file and sent it right. Ends them after.
 */
export async function withContenders (sizeMB: number, measure: (contenders: readonly Contender[], path: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'self-streme-bench-'))
  const contenders: Contender[] = []
  try {
    const path = join(directory, 'cache', name)
    await mkdir(join(directory, 'cache'))
    await writeRandom(path, sizeMB)
    const service = await startService(join(directory, 'cache'), { CACHE_ONLY_MODE: 'true' })
    contenders.push({ name: 'self-streme', child: service.child, url: `${service.origin}/stream/proxy/${infohash}` }, await startStatic(directory))
    const nginx = await startNginx(directory, join(directory, 'cache'))
    if (nginx !== null) contenders.push({ name: 'nginx', child: nginx.child, url: `${nginx.origin}/${name}` })
    else console.log('nginx is not installed, or does not start: compared without it.\n')
    const hash = await hashOf(path)
    for (const { name, url } of contenders) {
      if (await hashOfUrl(url) !== hash) throw new Error(`${name} sends other bytes than the file's`)
    }
    await measure(contenders, path)
  } finally {
    await Promise.all(contenders.map(async ({ child }) => { await end(child) }))
    await rm(directory, { recursive: true })
  }
}

/** Asks the process to end, and resolves when it has. */
export async function end (child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  await once(child, 'exit')
}

/** What the process has used so far, in user space and in the kernel: unlike speed, hardly touched by what else runs. NaN but on Linux. */
export async function cpuSeconds ({ pid }: { readonly pid?: number | undefined }): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const [user, system] = stat.slice(stat.lastIndexOf(')') + 2).split(' ').slice(11, 13).map(Number)
  return ((user ?? NaN) + (system ?? NaN)) / 100
}

/** Random bytes, last touched an hour ago, as those of a cached file are. */
export async function writeRandom (path: string, sizeMB: number): Promise<void> {
  const file = await open(path, 'w')
  const block = Buffer.alloc(MB)
  for (let i = 0; i < sizeMB; i++) await file.write(randomFillSync(block))
  await file.close()
  const anHourAgo = new Date(Date.now() - 3_600_000)
  await utimes(path, anHourAgo, anHourAgo)
}

/** Self-streme with this directory to download to. */
export async function startService (downloads: string, env: Readonly<Record<string, string>>): Promise<Running> {
  const child = spawn(process.execPath, ['index.js'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      HOST: '127.0.0.1',
      PORT: '0',
      TORRENT_DOWNLOAD_PATH: downloads,
      MEDIA_PATHS: 'none',
      ENABLE_PORT_MAPPING: 'false',
      LOG_LEVEL: 'warn',
      ...env
    }
  })
  return { child, origin: `http://127.0.0.1:${await portOf(child)}` }
}

async function startStatic (directory: string): Promise<Contender> {
  const child = spawn(process.execPath, [self, join(directory, 'cache')], { stdio: ['ignore', 'pipe', 'inherit'] })
  return { name: '@fastify/static', child, url: `http://127.0.0.1:${await portOf(child)}/${name}` }
}

async function serveStatic (directory: string): Promise<void> {
  const app = Fastify()
  await app.register(fastifyStatic, { root: directory })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const address = app.server.address()
  console.log(`Server listening on port ${typeof address === 'object' ? address?.port : ''}`)
}

/** nginx, which serves the files in `root` and has what is its own in `directory`; null where it is not installed. */
export async function startNginx (directory: string, root: string): Promise<Running | null> {
  const program = ['/usr/sbin/nginx', 'nginx']
  const port = await freePort()
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(kind => `${kind}_temp_path ${directory}/nginx;`).join(' ')
  const configuration = join(directory, 'nginx.conf')
  await writeFile(configuration, `
    daemon off; master_process off; pid ${directory}/nginx.pid; error_log stderr crit;
    events { worker_connections 1024; }
    http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000000; ${temporary} server { listen 127.0.0.1:${port}; root ${root}; } }`)
  for (const path of program) {
    const child = spawn(path, ['-p', directory, '-c', configuration, '-e', 'stderr'], { stdio: ['ignore', 'ignore', 'inherit'] })
    const origin = `http://127.0.0.1:${port}`
    if (await isAnswering(origin, child)) return { child, origin }
  }
  return null
}

/** The port that the process says it listens on. */
export async function portOf (child: ChildProcess): Promise<number> {
  if (child.stdout === null) throw new Error('the process has no output')
  for await (const line of createInterface({ input: child.stdout })) {
    const port = /listening on port (\d+)/.exec(line)?.[1]
    if (port !== undefined) {
      child.stdout.resume()
      return Number(port)
    }
  }
  throw new Error('the server ended before it listened')
}

async function isAnswering (url: string, child: ChildProcess): Promise<boolean> {
  let hasEnded = false
  child.once('error', () => { hasEnded = true })
  child.once('exit', () => { hasEnded = true })
  const deadline = performance.now() + 10_000
  while (performance.now() < deadline) {
    const isUp = await fetch(url, { method: 'HEAD' }).then(() => true, () => false)
    if (hasEnded) return false
    if (isUp) return true
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  child.kill('SIGTERM')
  return false
}

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (typeof address !== 'object' || address === null) throw new Error('no free port')
  return address.port
}

/** Its SHA-1, in hexadecimal. */
export async function hashOf (path: string): Promise<string> {
  const hash = createHash('sha1')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

async function hashOfUrl (url: string): Promise<string> {
  const { body, status } = await fetch(url)
  if (body === null || status !== 200) throw new Error(`${url} answers ${status}`)
  const hash = createHash('sha1')
  await pipeline(body, hash)
  return hash.digest('hex')
}
