import { isIPv6 } from 'node:net'
import type { Config } from '../config.ts'

const everywhere = new Set(['0.0.0.0', '::'])

/**
 * The address that logs its reader in. The token stands behind the `#`: browsers send that to nobody, neither in requests
 * nor as Referer, and the page posts it.
 *
 * @param panelAddress where a panel's players reach it (SERVER_IP).
 */
export function loginLink (token: string, { BASE_URL, HOST, isPanel }: Pick<Config, 'BASE_URL' | 'HOST' | 'isPanel'>, port: number, panelAddress?: string): string {
  const [address = 'localhost'] = [HOST, ...isPanel && panelAddress !== undefined ? [panelAddress] : []].filter((host) => host !== '' && !everywhere.has(host))
  const base = BASE_URL?.replace(/\/+$/, '') ?? `http://${isIPv6(address) ? `[${address}]` : address}:${port}`
  return `${base}/login#token=${token}`
}
