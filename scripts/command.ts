import { isAbsolute, relative, resolve, sep } from 'node:path'
import { readConfig } from '../services/config.ts'
import type { Config } from '../services/config.ts'
import type { Log } from '../services/log.ts'

/** Wrong use: the message, then how it is used. */
export class Usage extends Error {}

/**
 * Runs a command line's work. Its number is the exit code; what it throws is one line on stderr and exit code 1, wrong
 * use exit code 2. Ctrl-C aborts the signal, so that nothing half-made stays; a second one ends it at once.
 */
export async function command (usage: string, work: (signal: AbortSignal) => Promise<number>): Promise<void> {
  const controller = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(1)
      controller.abort(new Error('stopped'))
    })
  }
  try {
    process.exitCode = await work(controller.signal)
  } catch (error) {
    const isUsage = error instanceof Usage || (error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS'))
    const message = error instanceof Error ? error.message : String(error)
    process.stderr.write(isUsage ? `${message}\n\n${usage}` : `${message}\n`)
    process.exitCode = isUsage ? 2 : 1
  }
}

/** Where the command was called: npm runs scripts in the project's folder, wherever that was. */
const calledIn = process.env['INIT_CWD'] ?? process.cwd()

/** A path of the command line as the person meant it. */
export function pathOfArgument (path: string): string {
  return resolve(calledIn, path)
}

/** A path as it may be typed where the command was called: below that folder without it. */
export function shownPath (path: string): string {
  const shown = relative(calledIn, resolve(path))
  return shown === '' || shown === '..' || shown.startsWith(`..${sep}`) || isAbsolute(shown) ? path : shown
}

/** The server's configuration: the environment, and `.env` in the project's folder. */
export function configuration (): Config {
  return readConfig(process.env, '.env')
}

/** What services have to say goes to stderr, without fields; news of the ordinary course is left out. */
export const stderrLog: Log = {
  debug () {},
  info () {},
  warn (_fields, message) { process.stderr.write(`${message}\n`) },
  error (_fields, message) { process.stderr.write(`${message}\n`) }
}
