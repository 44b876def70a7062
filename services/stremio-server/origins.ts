/**
 * Where Stremio's own web apps are: its domains, its pages at GitHub, and those of Google that a Chromecast shows. As its own
 * server has them, but for http, which anybody in between could answer for them, and for pages of third parties.
 */
const webApps = /^https:\/\/(?:(?:[a-z0-9-]{1,63}\.){0,3}(?:strem\.io|stremio\.com|stremio\.net)|stremio\.github\.io|www\.gstatic\.com)$/

/** Shells, and apps under development: pages of this machine. */
const local = /^https?:\/\/(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/

/** Is this the origin (RFC 6454) of a page that Stremio's own streaming server lets in? */
export function isStremioPage (origin: string): boolean {
  const given = origin.toLowerCase()
  return webApps.test(given) || local.test(given)
}
