const trackerSchemes: ReadonlySet<string> = new Set(['udp:', 'http:', 'https:', 'ws:', 'wss:'])
const httpSchemes: ReadonlySet<string> = new Set(['http:', 'https:'])

/** A URL longer than this is no address but an attack. */
const maxUrlLength = 2048

/** How many entries of a hostile list are looked at before the rest is left alone. */
const maxCandidates = 1000

/**
 * The trackers among these texts (BEP 3, 12, 15; WebTorrent's ws): udp, http, https, ws and wss URLs as they were
 * written, without repetitions, at most `max`. Whether an address may be dialled is for the address guard.
 */
export function trackerUrls (candidates: Iterable<string>, max: number): string[] {
  return urlsOf(candidates, max, url => trackerSchemes.has(url.protocol))
}

/**
 * The http and https URLs among these texts, as they were written, without repetitions, at most `max`. URLs with
 * credentials are left out: they would end up in logs and in requests of our own. Whether an address may be dialled is
 * for the address guard.
 */
export function httpUrls (candidates: Iterable<string>, max: number): string[] {
  return urlsOf(candidates, max, url => httpSchemes.has(url.protocol) && url.username === '' && url.password === '')
}

function urlsOf (candidates: Iterable<string>, max: number, isWanted: (url: URL) => boolean): string[] {
  const found = new Map<string, string>()
  let looked = 0
  for (const candidate of candidates) {
    if (found.size >= max || ++looked > maxCandidates) break
    const text = candidate.trim()
    const url = parse(text)
    if (url !== null && url.hostname !== '' && isWanted(url) && !found.has(url.href)) found.set(url.href, text)
  }
  return [...found.values()]
}

function parse (text: string): URL | null {
  // the URL parser drops tabs and newlines silently; whoever logs or dials the text would not
  // eslint-disable-next-line no-control-regex
  if (text.length > maxUrlLength || !text.isWellFormed() || /[\0-\x1f\x7f]/.test(text)) return null
  return URL.parse(text)
}
