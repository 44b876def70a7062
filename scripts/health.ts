// Exit code 0 when the server on this machine answers /health: for Docker, whose image has no curl.
import { configuration } from './command.ts'
import { ownAddress } from './own-server.ts'

try {
  const { ok, status } = await fetch(`${ownAddress(configuration())}/health`, { signal: AbortSignal.timeout(4000) })
  if (!ok) throw new Error(`/health answered ${status}`)
} catch (error) {
  console.error(error instanceof Error ? `${error.message} ${String(error.cause ?? '')}` : error)
  process.exitCode = 1
}
