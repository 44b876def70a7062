import { randomBytes } from 'node:crypto'

/**
 * A request that came through so many Self-Stremes leads to no download here. A loop ends sooner, at the first server
 * that finds itself in it. Not a depth: a torrent that several servers wait for names them all in its own requests.
 */
export const maxHops = 30

const HOP = /^\s*\S+\s+(self-streme-[0-9a-f]{8})(?=\s|$)/

/** A name for this server among the others that a request may pass, new with each start. */
export function newHop (): string {
  return `self-streme-${randomBytes(4).toString('hex')}`
}

/** The Self-Stremes that a request came through, from its `Via` (RFC 9110 section 7.6.3): at most `maxHops`, without other proxies. */
export function hopsOf (via: string | undefined): string[] {
  const hops = (via ?? '').slice(0, 4000).split(',').flatMap((received) => HOP.exec(received)?.[1] ?? [])
  return [...new Set(hops)].slice(0, maxHops)
}

/** Would going on with a request that came through these servers lead back to one of them, or on without an end? */
export function isLoop (hops: readonly string[], own: string): boolean {
  return hops.includes(own) || hops.length >= maxHops
}

/** The `Via` of a request that this server makes for one that came through `hops`. */
export function viaOf (hops: Iterable<string>, own: string): string {
  return [...hops, own].map((hop) => `1.1 ${hop}`).join(', ')
}
