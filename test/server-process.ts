import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'
import type { Test } from 'tap'
import { temporaryDirectory } from './testnet.ts'

/**
 * The server as people start it: `node index.js`, a process of its own that can be killed.
 */

const root = join(import.meta.dirname, '..')

/** Neither tracker nor DHT, nobody to ask for metadata, no router. */
const offline = { TRACKERS: 'none', DHT_BOOTSTRAP: 'none', STUN_SERVERS: 'none', TORRENT_METADATA_URLS: 'none', ENABLE_PORT_MAPPING: 'false', TORRENT_PORT: '0' }

export interface ServerProcess {
  readonly child: ChildProcess
  readonly pid: number
  readonly port: number
  /** `http://127.0.0.1:port`, without a slash. */
  readonly url: string
  /** The download directory, when it is the default one. */
  readonly directory: string
  /** What it has written to stdout and stderr. */
  output (): string
  /** Types a line into its console. */
  type (line: string): void
  /** Sends the signal, and resolves with the exit code when the process is gone. */
  stop (signal: NodeJS.Signals): Promise<number | null>
}

type Start = (command: string, args: readonly string[], options: { readonly cwd: string, readonly env: Record<string, string> }) => ChildProcess

function startHere (command: string, args: readonly string[], { cwd, env }: { readonly cwd: string, readonly env: Record<string, string> }): ChildProcess {
  const { PATH, HOME } = process.env
  return spawn(command, args, { cwd, env: { PATH, HOME, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
}

function launch (cwd: string, env: Record<string, string>, start: Start = startHere): { child: ChildProcess, output: () => string } {
  const child = start(process.execPath, [join(root, 'index.js')], { cwd, env: { PORT: '0', ...offline, ...env } })
  // One that has ended reads no more.
  child.stdin?.on('error', () => {})
  let output = ''
  child.stdout?.on('data', (chunk: Buffer) => { output += chunk.toString() })
  child.stderr?.on('data', (chunk: Buffer) => { output += chunk.toString() })
  return { child, output: () => output }
}

/**
 * Starts it in `directory` (default: a directory of the test's own); resolves when it says that it listens, rejects with its
 * output when it ends before. Killed with the test.
 *
 * @param start `spawn` of a host in the laboratory (test/lab.ts), to have it there.
 */
export async function startServer (t: Test, env: Record<string, string> = {}, directory?: string, start?: Start): Promise<ServerProcess> {
  const cwd = directory ?? await temporaryDirectory(t)
  const { child, output } = launch(cwd, env, start)
  const gone = once(child, 'exit')
  const hasEnded = (): boolean => child.exitCode !== null || child.signalCode !== null
  const stop = async (signal: NodeJS.Signals): Promise<number | null> => {
    if (!hasEnded()) child.kill(signal)
    await gone
    return child.exitCode
  }
  t.teardown(async () => { await stop('SIGKILL') })
  const lines = createInterface({ input: child.stdout ?? process.stdin })
  const port = await new Promise<number>((resolve, reject) => {
    lines.on('line', (line) => {
      const match = /^Server listening on port (\d+)$/.exec(line)
      if (match !== null) resolve(Number(match[1]))
    })
    child.once('exit', (code, signal) => { reject(new Error(`it ended with ${signal ?? code}: ${output()}`)) })
  })
  return { child, pid: child.pid ?? 0, port, url: `http://127.0.0.1:${port}`, directory: join(cwd, 'cache'), output, type: (line) => { child.stdin?.write(`${line}\n`) }, stop }
}

/** Runs it to its end. */
export async function runToEnd (t: Test, env: Record<string, string>, directory?: string): Promise<{ code: number | null, output: string }> {
  const cwd = directory ?? await temporaryDirectory(t)
  const { child, output } = launch(cwd, env)
  t.teardown(() => { child.kill('SIGKILL') })
  await once(child, 'close')
  return { code: child.exitCode, output: output() }
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

/** The processes below this one, with their command lines. */
export async function descendantsOf (pid: number): Promise<Array<{ readonly pid: number, readonly command: string[] }>> {
  const found = await Promise.all((await childrenOf(pid)).map(async (child) => {
    const command = (await readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => '')).split('\0').slice(0, -1)
    return [{ pid: child, command }, ...await descendantsOf(child)]
  }))
  return found.flat()
}

/** Does this process run? One that has ended and was not waited for does not. */
export async function isAlive (pid: number): Promise<boolean> {
  return !/^$|\) [ZX] /.test(await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ''))
}

/** The server's swarm process, as soon as there is one. */
export async function swarmOf ({ pid }: { readonly pid: number }): Promise<number> {
  for (let i = 0; i < 100; i++) {
    const [child] = await childrenOf(pid)
    if (child !== undefined) return child
    await wait(50)
  }
  throw new Error('no swarm process was started')
}

/** Resolves with whether the process is gone, after 5 s at the latest. */
export async function isGone (pid: number): Promise<boolean> {
  for (let i = 0; i < 100; i++) {
    if (!await isAlive(pid)) return true
    await wait(50)
  }
  return false
}
