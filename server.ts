import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { loginLink } from './services/access/login-link.ts'
import { readConfig } from './services/config.ts'
import { deadlines } from './services/deadlines.ts'
import { allocatorSettings, memoryBudget, memoryLimits } from './services/memory-budget.ts'
import { listenForStop } from './services/stop-words.ts'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import type { Config } from './services/config.ts'

limitHeap()

let app: FastifyInstance | null = null
let isStopping = false
// SIGHUP: the terminal was closed.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => { void stop(signal) })

// A terminal that was closed takes no more words, which is no reason to fail.
for (const output of [process.stdout, process.stderr]) output.on('error', () => {})

const config = configOrExit()
takeStopFromInput(config)
await tryPort(config).catch((error: unknown) => { exitWith(listenFailure(error)) })
// Not imported above: a process that is about to be replaced need not load it.
const { buildApp } = await import('./app.ts')
app = await buildApp({ config, logger: await loggerOf(config) }).catch((error: unknown) => {
  exitWith(`Self-Streme could not start: ${error instanceof Error ? error.message : String(error)}`)
})

try {
  await app.listen({ port: config.PORT, host: config.HOST })
  // Panels wait for this line, plain and on stdout whatever the log looks like.
  const address = app.server.address()
  const port = typeof address === 'object' && address !== null ? address.port : config.PORT
  process.stdout.write(`Server listening on port ${port}\n`)
  // Not by the logger: logs are collected, and this is said once.
  const { newToken } = app.access
  if (newToken !== null) process.stdout.write(`Log in as the owner (shown once; the token is in ${join(config.TORRENT_DOWNLOAD_PATH, '.self-streme', 'api-token')}): ${loginLink(newToken, config, port, process.env.SERVER_IP)}\n`)
} catch (error) {
  await app.close().catch(() => {})
  exitWith(listenFailure(error))
}

/**
 * The heap's limit can only be given at the start: the process is replaced by itself with it, under the same id. Not where
 * somebody has chosen one, nor on Windows, which cannot replace a process (set NODE_OPTIONS=--max-old-space-size there).
 */
function limitHeap (): void {
  const given = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].join(' ')
  if (/--max[-_]old[-_]space[-_]size/.test(given) || process.platform === 'win32' || process.execve === undefined) return
  const { serverHeapMb } = memoryBudget(memoryLimits())
  const args = [process.execPath, ...process.execArgv, `--max-old-space-size=${serverHeapMb}`, ...process.argv.slice(1)]
  process.execve(process.execPath, args, { ...allocatorSettings, ...process.env })
}

/**
 * Readiness is off, streams have SHUTDOWN_GRACE to end, the swarm process ends, what is on disk is complete. A second wish
 * to stop ends the process at once; what it leaves behind is what a power cut would.
 */
async function stop (wish: string): Promise<void> {
  if (isStopping) process.exit(1)
  isStopping = true
  // Nothing was begun that could be lost.
  if (app === null) process.exit(0)
  const { log, drain } = app
  const { open } = drain
  log.info({ wish, streams: open }, open === 0 ? 'stopping' : `stopping: open streams have ${config.SHUTDOWN_GRACE} s to end; a second ${wish} ends them now`)
  try {
    const outcome = await drain.run(new AbortController().signal)
    if (open > 0) log.info({ streams: drain.open }, `stopping: ${outcome}`)
    setTimeout(() => {
      log.error({}, `stopping took longer than ${deadlines.stopMs} ms`)
      process.exit(1)
    }, deadlines.stopMs).unref()
    await app.close()
    process.exit(0)
  } catch (error) {
    log.error({ err: error }, 'stopping failed')
    process.exit(1)
  }
}

/**
 * Panels type the word into the console. On a terminal that is no panel's people have Ctrl-C, and a process in the
 * background that read from it would be suspended (SIGTTIN).
 */
function takeStopFromInput ({ isPanel }: Config): void {
  const { stdin } = process
  if (!stdin.isTTY || isPanel) listenForStop(stdin, (word) => { void stop(word) })
}

function configOrExit (): Config {
  try {
    return readConfig(process.env, join(process.cwd(), '.env'))
  } catch (error) {
    exitWith(error instanceof Error ? error.message : String(error))
  }
}

/**
 * Pretty in this process, and not in pino's worker: that one holds the end of the process up for ten seconds when the
 * terminal has gone, and takes memory that panels count.
 */
async function loggerOf ({ LOG_LEVEL, LOG_FORMAT }: Config): Promise<FastifyServerOptions['logger']> {
  const isPretty = LOG_FORMAT === 'pretty' || (LOG_FORMAT === 'auto' && process.stdout.isTTY)
  const base = { level: LOG_LEVEL, redact: ['req.headers.authorization', 'req.headers.cookie'] }
  if (!isPretty) return base
  const { default: pretty } = await import('pino-pretty')
  return { ...base, stream: pretty({ ignore: 'pid,hostname,reqId,infohash', translateTime: 'HH:MM:ss', singleLine: true, sync: true }) }
}

/** Before anything is begun that others would see: the swarm, a port on the router. Throws what keeps the server from listening. */
async function tryPort ({ PORT: port, HOST: host }: Config): Promise<void> {
  const server = createServer().listen({ port, host })
  await once(server, 'listening')
  server.close()
  await once(server, 'close')
}

function listenFailure (error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'EADDRINUSE') {
    return `Port ${config.PORT} is taken by another program (Stremio's own streaming server uses 11470): stop it, or set PORT to a free port.`
  }
  if (code === 'EACCES') return `Port ${config.PORT} needs more rights than this user has: set PORT to one above 1023.`
  return `Cannot listen on ${config.HOST}:${config.PORT}: ${error instanceof Error ? error.message : String(error)}`
}

function exitWith (message: string): never {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}
