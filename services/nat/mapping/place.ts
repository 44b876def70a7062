import { readFile } from 'node:fs/promises'
import { ownAddresses, routeTo } from '../own-addresses.ts'
import type { Place } from './router.ts'

/** Of a routing table entry: it is up, and leads to a gateway. */
const usableFlags = 0x1 | 0x2

/**
 * The router that this machine's default route leads to; null: there is none. Read from the kernel on Linux. Elsewhere it
 * is taken to have the first address of our network, as nearly every home router has.
 */
export async function findPlace (): Promise<Place | null> {
  const table = await readFile('/proc/net/route', 'utf8').catch(() => null)
  const gateway = table === null ? guess(ownAddresses().map(({ address }) => address)) : defaultGateway(table)
  if (gateway === null) return null
  const own = await routeTo({ address: gateway, port: 5351 })
  return own === null || own.address === gateway ? null : { gateway, local: own.address }
}

/** The gateway of the default route with the least metric, from the text of /proc/net/route; null: none. */
export function defaultGateway (table: string): string | null {
  const routes = table.split('\n').slice(1).flatMap((line) => {
    const [, destination, gateway, flags, , , metric, mask] = line.trim().split(/\s+/)
    const isDefault = destination === '00000000' && mask === '00000000' && (parseInt(flags ?? '', 16) & usableFlags) === usableFlags
    return isDefault && /^[\dA-F]{8}$/i.test(gateway ?? '') ? [{ gateway: gateway ?? '', metric: Number(metric) }] : []
  })
  const [best] = routes.sort((a, b) => a.metric - b.metric)
  // The kernel prints it in its own byte order; no big-endian machine runs this.
  return best === undefined ? null : Buffer.from(best.gateway, 'hex').reverse().join('.')
}

function guess (addresses: readonly string[]): string | null {
  const home = addresses.find((address) => /^(?:10|192\.168|172\.(?:1[6-9]|2\d|3[01]))\./.test(address))
  return home?.replace(/\d+$/, '1') ?? null
}
