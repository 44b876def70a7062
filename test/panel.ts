import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { listenOnLoopback } from './loopback.ts'
import { descendantsOf } from './server-process.ts'
import { hasStarted, isListening, missing, stopper } from './testnet.ts'

/**
 * A game panel's container, as far as it can be had without one: a read-only root, /home/container and a /tmp of 100 MB to
 * write to, a user without a passwd entry, 512 processes, no environment but the panel's, and where this machine lets us a
 * control group with the memory that Wings allows. The network is the machine's own.
 */

const run = promisify(execFile)
const root = join(import.meta.dirname, '..')

export const serverMemoryMb = 512
/** Wings adds 15 % to up to 2048 MB before the kernel kills. */
const hardLimitBytes = serverMemoryMb * 1.15 * 1_000_000

export interface PanelServer {
  readonly url: string
  /** The server itself, inside. */
  readonly pid: number
  /** Is its memory limited by the kernel, too? */
  readonly isLimited: boolean
  output (): string
  type (line: string): void
  /** Resident memory of all its processes, shared pages counted once, bytes. */
  memoryBytes (): Promise<number>
  /** Resolves when it has ended, with its exit code. */
  readonly ended: Promise<number | null>
}

/** An archive of what a release holds, on a server on loopback: `http://…/self-streme.tar.gz`. */
export async function serveRelease (t: Test, directory: string): Promise<string> {
  const { stdout } = await run('tar', ['--create', '--gzip', '--file', join(directory, 'release.tar.gz'), '--transform', 's,^,self-streme-1.0/,', '--exclude', 'node_modules', ...await releasedPaths()], { cwd: root })
  if (stdout !== '') throw new Error(stdout)
  const archive = await readFile(join(directory, 'release.tar.gz'))
  const origin = await listenOnLoopback(t, createServer((_request, response) => { response.end(archive) }))
  return `${origin}/self-streme.tar.gz`
}

/** What .dockerignore lets through: what the server runs from. */
async function releasedPaths (): Promise<string[]> {
  const lines = (await readFile(join(root, '.dockerignore'), 'utf8')).split('\n')
  return lines.flatMap((line) => line.startsWith('!') ? [line.slice(1)] : [])
}

/** Runs the egg's install script as Wings does: as root, with the server's folder at /mnt/server. */
export async function install (script: string, directory: string, env: Record<string, string>): Promise<string> {
  const { stdout } = await run('bwrap', ['--dev-bind', '/', '/', '--tmpfs', '/mnt', '--bind', directory, '/mnt/server', '--chdir', '/mnt/server', '--die-with-parent', 'bash', '-c', script], {
    env: { ...process.env, NODE_OPTIONS: '', ...env }, maxBuffer: 10_000_000
  }).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') throw missing('bubblewrap')
    throw error
  })
  return stdout
}

/** Starts a command in the panel's container of this server's folder; resolves when it says the done line. */
export async function startInPanel (t: Test, { directory, command, done, port, env = {} }: {
  readonly directory: string, readonly command: string, readonly done: string, readonly port: number, readonly env?: Record<string, string>
}): Promise<PanelServer> {
  const group = await controlGroup(t)
  const variables = {
    HOME: '/home/container',
    USER: 'container',
    PATH: '/home/node/bin:/usr/local/bin:/usr/bin:/bin',
    TZ: 'UTC',
    STARTUP: command,
    SERVER_MEMORY: String(serverMemoryMb),
    SERVER_IP: '203.0.113.7',
    SERVER_PORT: String(port),
    P_SERVER_LOCATION: 'test',
    P_SERVER_UUID: 'b7e0f1a2-0000-4000-8000-000000000000',
    P_SERVER_ALLOCATION_LIMIT: '0',
    ...env
  }
  const args = [
    ...group === null ? [] : ['sh', '-c', 'for file in $GROUPS_TO_ENTER; do echo $$ > "$file"; done; exec "$@"', 'sh'],
    'bwrap', '--ro-bind', '/', '/', '--dev', '/dev', '--proc', '/proc', '--size', String(100 * 1024 * 1024), '--tmpfs', '/tmp', '--tmpfs', '/home',
    // Its image has this Node, wherever it lies here.
    '--ro-bind', process.execPath, '/home/node/bin/node',
    '--bind', directory, '/home/container', '--chdir', '/home/container', '--unshare-user', '--uid', '988', '--gid', '988', '--unshare-pid', '--unshare-ipc', '--new-session',
    '--die-with-parent', '--clearenv', ...Object.entries(variables).flatMap(([name, value]) => ['--setenv', name, value]),
    'prlimit', '--nproc=512', 'bash', '-c', `exec ${command}`
  ]
  const [program = '', ...rest] = args
  const child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'pipe'], env: { PATH: process.env['PATH'], GROUPS_TO_ENTER: group?.join(' ') } })
  t.teardown(stopper(child))
  if (!await hasStarted(child)) throw missing('bubblewrap')
  child.stdin.on('error', () => {})
  const ended = endOf(child)
  let output = ''
  child.stderr.on('data', (chunk: Buffer) => { output += chunk.toString() })
  const lines = createInterface({ input: child.stdout })
  const started = new Promise<void>((resolve, reject) => {
    lines.on('line', (line) => {
      output += `${line}\n`
      if (line.includes(done)) resolve()
    })
    child.once('exit', (code, signal) => { reject(new Error(`it ended with ${signal ?? code}: ${output}`)) })
  })
  await started
  if (!await isListening(port)) throw new Error(`it does not listen on ${port}: ${output}`)
  const processes = async () => await descendantsOf(child.pid ?? 0)
  const server = (await processes()).find(({ command }) => basename(command[0] ?? '') === 'node' && command.some((word) => word.endsWith('index.js')))
  if (server === undefined) throw new Error('the server is not among the processes')
  return {
    url: `http://127.0.0.1:${port}`,
    pid: server.pid,
    isLimited: group !== null,
    ended,
    output: () => output,
    type: (line) => { child.stdin.write(`${line}\n`) },
    memoryBytes: async () => (await Promise.all((await processes()).map(async ({ pid }) => await pssOf(pid)))).reduce((sum, bytes) => sum + bytes, 0)
  }
}

async function endOf (child: ChildProcess): Promise<number | null> {
  await once(child, 'exit')
  return child.exitCode
}

async function pssOf (pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '')
  return Number(/^Pss: +(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024
}

/** The files that put a process into a group of its own with the panel's limits; null: this machine has none to give. */
async function controlGroup (t: Test): Promise<string[] | null> {
  const name = `self-streme-test-${process.pid}-${Date.now()}`
  const makers: Array<Array<[directory: string, limits: Record<string, string>]>> = [
    [[`/sys/fs/cgroup/${name}`, { 'memory.max': String(hardLimitBytes), 'pids.max': '512' }]],
    [[`/sys/fs/cgroup/memory/${name}`, { 'memory.limit_in_bytes': String(hardLimitBytes) }], [`/sys/fs/cgroup/pids/${name}`, { 'pids.max': '512' }]]
  ]
  for (const groups of makers) {
    try {
      for (const [directory, limits] of groups) {
        await mkdir(directory)
        t.teardown(async () => { await rmdir(directory).catch(() => {}) })
        for (const [file, limit] of Object.entries(limits)) await writeFile(join(directory, file), limit, { flag: 'r+' })
      }
      return groups.map(([directory]) => join(directory, 'cgroup.procs'))
    } catch {
      // The next kind of groups, or none: the memory is measured in any case.
      for (const [directory] of groups) await rmdir(directory).catch(() => {})
    }
  }
  return null
}
