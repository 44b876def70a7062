import { readSecret } from '../services/access/token.ts'
import type { Config } from '../services/config.ts'

/** Where a server with these settings is reached from its own machine, without a slash. */
export function ownAddress ({ HOST, PORT }: Pick<Config, 'HOST' | 'PORT'>): string {
  const host = HOST === '0.0.0.0' ? '127.0.0.1' : HOST === '::' ? '::1' : HOST
  return `http://${host.includes(':') ? `[${host}]` : host}:${PORT}`
}

/** What shows that server that its owner asks: the token that was set, else the one that it has made, where it can be read. */
export async function ownerHeaders ({ API_TOKEN, TORRENT_DOWNLOAD_PATH }: Pick<Config, 'API_TOKEN' | 'TORRENT_DOWNLOAD_PATH'>): Promise<Record<string, string>> {
  const token = API_TOKEN ?? await readSecret(TORRENT_DOWNLOAD_PATH, 'api-token').catch(() => null)
  return token === null ? {} : { Authorization: `Bearer ${token}` }
}
