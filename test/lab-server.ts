import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { NetworkReport } from '../services/nat/network-report.ts'
import type { LabHost } from './lab.ts'
import { temporaryDirectory, until } from './testnet.ts'

const index = fileURLToPath(new URL('../index.js', import.meta.url))

/** The server on a host of the laboratory, as people start it. */
export interface LabServer {
  /** What curl there gets of a path. */
  get (path: string): Promise<string>
  network (): Promise<NetworkReport>
  readonly pid: number
  /** What it has written. */
  output (): string
  /** Resolves when it is gone. */
  stop (signal: NodeJS.Signals): Promise<void>
}

/** Starts it on port 11470: it knows nobody, and asks nobody over HTTP. Killed with the test. */
export async function startLabServer (t: Test, host: LabHost, env: Record<string, string> = {}): Promise<LabServer> {
  const cwd = await temporaryDirectory(t)
  const child = host.spawn(process.execPath, [index], {
    cwd,
    env: { TORRENT_DOWNLOAD_PATH: join(cwd, 'cache'), TRACKERS: 'none', DHT_BOOTSTRAP: 'none', STUN_SERVERS: 'none', TORRENT_METADATA_URLS: 'none', ENABLE_HTTP_FALLBACK: 'false', ...env }
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => { output += chunk.toString() })
  const gone = once(child, 'exit')
  await until('the server listens', () => output.includes('Server listening on port'))
  const get = async (path: string): Promise<string> => await host.run('curl', ['-s', `http://127.0.0.1:11470${path}`])
  return {
    get,
    async network () { return JSON.parse(await get('/api/network')).data },
    pid: child.pid ?? 0,
    output: () => output,
    async stop (signal) {
      child.kill(signal)
      await gone
    }
  }
}
