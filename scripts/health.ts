// Exit code 0 when the server on this machine answers /health: for Docker, whose image has no curl.
import { readConfig } from '../services/config.ts'

const { HOST, PORT } = readConfig(process.env, '.env')
const loopback = new Map([['0.0.0.0', '127.0.0.1'], ['::', '::1']])
const host = loopback.get(HOST) ?? HOST

try {
  const { ok, status } = await fetch(`http://${host.includes(':') ? `[${host}]` : host}:${PORT}/health`, { signal: AbortSignal.timeout(4000) })
  if (!ok) throw new Error(`/health answered ${status}`)
} catch (error) {
  console.error(error instanceof Error ? `${error.message} ${String(error.cause ?? '')}` : error)
  process.exitCode = 1
}
