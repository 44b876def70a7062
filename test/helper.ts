import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { buildApp } from '../app.ts'
import { readConfig } from '../services/config.ts'
import { temporaryDirectory } from './testnet.ts'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import type { Test } from 'tap'

/** A server that knows nobody: no tracker, no DHT, no metadata cache, no mirror, and a cache of its own. */
const alone = {
  HOST: '127.0.0.1',
  PORT: '0',
  TORRENT_PORT: '0',
  ENABLE_PORT_MAPPING: 'false',
  ENABLE_P2P: 'false',
  TRACKERS: 'none',
  DHT_BOOTSTRAP: 'none',
  STUN_SERVERS: 'none',
  TORRENT_METADATA_URLS: 'none',
  MEDIA_PATHS: 'none',
  HTTP_ALLOW_PRIVATE_NETWORKS: 'true'
}

export interface TestApp {
  readonly app: FastifyInstance
  /** `http://127.0.0.1:port`, without a slash. */
  readonly url: string
  /** The download directory. */
  readonly directory: string
}

/** A listening app of this test's own, closed with it. `env` is laid over the settings of a server that knows nobody. */
export async function startApp (t: Test, env: Record<string, string> = {}, logger: FastifyServerOptions['logger'] = false): Promise<TestApp> {
  // Not t.testdir(): that is removed before the app is closed, which writes what it knows once more.
  const directory = env['TORRENT_DOWNLOAD_PATH'] ?? join(await temporaryDirectory(t), 'cache')
  await mkdir(directory, { recursive: true })
  const config = readConfig({ ...alone, TORRENT_DOWNLOAD_PATH: directory, ...env })
  const app = await buildApp({ config, forceCloseConnections: true, logger: process.env['TEST_LOG'] !== undefined ? { level: process.env['TEST_LOG'] } : logger })
  t.teardown(async () => { await app.close() })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, url, directory }
}

/** The body of a request, whole. */
export async function bytesFrom (url: string, headers: Record<string, string> = {}): Promise<Buffer> {
  const response = await fetch(url, { headers })
  return Buffer.from(await response.arrayBuffer())
}

/** Any JSON answer; a test says what it expects of it. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export async function jsonFrom (url: string, init?: RequestInit): Promise<{ status: number, headers: Headers, body: any }> {
  const response = await fetch(url, init)
  return { status: response.status, headers: response.headers, body: await response.json() }
}
