const UNITS = ['bytes', 'KB', 'MB', 'GB', 'TB'] as const
const STEP = 1024

/**
 * A number of bytes for people: `15234` -> `15 KB`, `384_827_392` -> `367 MB`, `1_610_612_736` -> `1.5 GB`.
 * 1 KB is 1024 bytes, as torrent clients and file managers count, so that the numbers of a log and of a client agree.
 * Below 10, and from 1 GB on, one decimal is shown where it is not 0.
 */
export function formatBytes (bytes: number): string {
  let value = bytes
  let unit = 0
  while (unit < UNITS.length - 1 && rounded(value, unit) >= STEP) {
    value /= STEP
    unit++
  }
  return `${rounded(value, unit)} ${UNITS[unit] ?? ''}`
}

function rounded (value: number, unit: number): number {
  return unit > 0 && (value < 10 || unit >= UNITS.indexOf('GB')) ? Math.round(value * 10) / 10 : Math.round(value)
}

/**
 * A URL as a log may show it: no user, no password, no values of its query, no secret of a `/t/:secret/` path; the
 * names of the query's parameters stay, so that people recognise the URL.
 */
export function withoutSecrets (url: URL): string {
  const names = [...url.searchParams.keys()].map((name) => `${encodeURIComponent(name)}=…`)
  const path = url.pathname.replace(/^\/t\/[^/]+/, '/t/…')
  return `${url.protocol}//${url.host}${path}${names.length === 0 ? '' : `?${names.join('&')}`}`
}
