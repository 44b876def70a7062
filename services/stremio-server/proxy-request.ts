/** A request that a client wants made, for it cannot send the headers itself. */
export interface ProxyRequest {
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  /** Of the answer: instead of its own. */
  readonly answerHeaders: Readonly<Record<string, string>>
}

const MAX_HEADERS = 30
/** About the connection, or of whoever makes the request: nothing that a client says. */
const ownHeaders = /^(?:host|connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect|content-.*|proxy-.*|via|forwarded|x-forwarded-.*|accept-encoding|http2-settings)$/
/** All else would let an answer do something in a browser, under this server's name. */
const answerable: ReadonlySet<string> = new Set(['content-type', 'content-disposition', 'content-language', 'cache-control', 'accept-ranges', 'etag', 'expires', 'last-modified'])

/**
 * Reads `/proxy/d=<origin>&h=<name:value>&r=<name:value>/<path>?<query>`, as it came: `d` is where to, `h` headers of the
 * request, `r` of the answer. null: it names no http(s) origin.
 */
export function parseProxyRequest (address: string): ProxyRequest | null {
  const [, options = '', rest = ''] = /^\/proxy\/([^/?]*)(.*)$/s.exec(address) ?? []
  const given = new URLSearchParams(options)
  const origin = URL.parse(given.get('d') ?? '')
  if (origin === null || !/^https?:$/.test(origin.protocol) || origin.username !== '' || origin.password !== '') return null
  const url = URL.parse(`${origin.origin}${rest.startsWith('/') ? '' : '/'}${rest}`)
  if (url === null || url.origin !== origin.origin) return null
  return {
    url,
    headers: fieldsOf(given.getAll('h'), (name) => !ownHeaders.test(name)),
    answerHeaders: fieldsOf(given.getAll('r'), (name) => answerable.has(name))
  }
}

/** Lower-case names; what is no header (RFC 9110 section 5) is left out. */
function fieldsOf (given: readonly string[], isAllowed: (name: string) => boolean): Record<string, string> {
  const fields: Record<string, string> = {}
  for (const each of given.slice(0, MAX_HEADERS)) {
    const [, name = '', value = ''] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)$/.exec(each) ?? []
    if (name !== '' && isAllowed(name.toLowerCase())) fields[name.toLowerCase()] = value.trim()
  }
  return fields
}
