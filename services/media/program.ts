import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, constants } from 'node:fs/promises'
import { basename, delimiter, join } from 'node:path'
import { CodedError } from '../errors.ts'
import type { ChildProcess, StdioOptions } from 'node:child_process'

/** Where this program is; null: nowhere on the PATH. */
export async function programOf (name: string, path: string): Promise<string | null> {
  for (const directory of path.split(delimiter).filter((each) => each !== '')) {
    const program = join(directory, name)
    if (await access(program, constants.X_OK).then(() => true, () => false)) return program
  }
  return null
}

/**
 * Starts it, with nothing of ours in its environment: there are tokens in that. Throws SOURCE_FAILED where the system does not
 * let it start: too many processes or open files, no memory, no such program any more.
 */
export async function startProgram (program: string, args: readonly string[], stdio: StdioOptions): Promise<ChildProcess> {
  try {
    const child = spawn(program, args, { stdio, env: {} })
    // Out of descriptors it has no streams, and says so by an event only, which ends the server where nobody listens.
    await once(child, 'spawn')
    return child
  } catch (error) {
    throw new CodedError('SOURCE_FAILED', `${basename(program)} cannot be run${error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''}`, { cause: error })
  }
}
