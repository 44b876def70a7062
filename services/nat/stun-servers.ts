import { lookup as lookupOfSystem, promises as dns } from 'node:dns'
import { isIPv4 } from 'node:net'
import { abortable } from '../deadline.ts'
import type { Endpoint } from './stun.ts'

/**
 * The IPv4 addresses of STUN servers, `host:port` each, `stun:` before it or not. Each rejects, with a reason that names
 * the server, where it has none, after `limitMs`, or with the signal. Asks the name servers itself: the system's lookup
 * cannot be given up, and holds a thread until it is over.
 */
export function resolveServers (names: readonly string[], limitMs: number, signal: AbortSignal): Array<Promise<Endpoint>> {
  const both = AbortSignal.any([signal, AbortSignal.timeout(limitMs)])
  const resolver = new dns.Resolver({ timeout: limitMs, tries: 1 })
  both.addEventListener('abort', () => { resolver.cancel() }, { once: true })
  const servers = names.map(async (name) => {
    const [, host = '', port] = /^(?:stun:)?\[?([^\]]+?)\]?:(\d+)$/.exec(name) ?? []
    try {
      return { address: isIPv4(host) ? host : await abortable(addressOf(host, resolver), both), port: Number(port) }
    } catch (error) {
      const reason = both.aborted ? 'its name was not resolved in time' : error instanceof Error ? error.message : String(error)
      throw new Error(`${name}: ${reason}`, { cause: error })
    }
  })
  // Each is looked at when it is needed, if at all.
  for (const server of servers) server.catch(() => {})
  return servers
}

async function addressOf (host: string, resolver: dns.Resolver): Promise<string> {
  try {
    const [address] = await resolver.resolve4(host)
    if (address !== undefined) return address
  } catch (error) {
    // Where the name server said no, or there is none, the system answers at once; it may be in the hosts file.
    if (!(error instanceof Error && 'code' in error && (error.code === 'ENOTFOUND' || error.code === 'ENODATA' || error.code === 'ECONNREFUSED'))) throw error
  }
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  lookupOfSystem(host, { family: 4 }, (error, address) => { if (error === null) resolve(address); else reject(error) })
  return await promise
}
