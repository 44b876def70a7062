/** Where Stremio's own web apps are. */
const webApps: ReadonlySet<string> = new Set([
  'https://app.strem.io', 'https://web.strem.io', 'https://staging.strem.io', 'https://www.strem.io',
  'https://web.stremio.com', 'https://app.stremio.com', 'https://www.stremio.com'
])

/** Shells, and apps under development: pages of this machine. */
const local = /^https?:\/\/(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/

/** Is this the origin (RFC 6454) of a page that Stremio's own streaming server lets in? */
export function isStremioPage (origin: string): boolean {
  const given = origin.toLowerCase()
  return webApps.has(given) || local.test(given)
}
