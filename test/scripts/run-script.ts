import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Test } from 'tap'

const root = join(import.meta.dirname, '..', '..')

export interface ScriptRun {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** `npm run -s NAME -- ARGUMENTS`, as npm runs it: in the project's folder, with the folder where it was called in INIT_CWD. */
export async function runScript (t: Test, name: string, args: readonly string[], { cwd, env = {} }: { cwd: string, env?: Record<string, string> }): Promise<ScriptRun> {
  const { PATH, HOME } = process.env
  const child = spawn(process.execPath, [join(root, 'scripts', `${name}.ts`), ...args], { cwd: root, env: { PATH, HOME, INIT_CWD: cwd, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => { stdout += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { stderr += chunk.toString() })
  await once(child, 'close')
  return { code: child.exitCode, stdout, stderr }
}
