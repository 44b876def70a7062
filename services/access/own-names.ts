import { isIP } from 'node:net'

export interface OwnNames {
  /** BASE_URL. */
  readonly baseUrl: string | null
  /** ALLOWED_HOSTS. */
  readonly hosts: readonly string[]
  /** ALLOWED_ORIGINS; `*`: any page, for who brings a token. */
  readonly origins: readonly string[]
}

/**
 * Is this a name that the server is known by? A page of a foreign name can have that name point here (DNS rebinding); not
 * so an address, a name of this machine or its network, nor one without a dot, which public DNS has none of.
 *
 * @param host the header; undefined or empty: no browser sent it.
 */
export function isOwnHost (host: string | undefined, { baseUrl, hosts }: Pick<OwnNames, 'baseUrl' | 'hosts'>): boolean {
  if (host === undefined || host === '') return true
  const name = nameOf(host)
  if (name === null) return false
  if (isIP(name) !== 0 || !name.includes('.') || /\.(?:localhost|local)$/.test(name)) return true
  return [...hosts, ...baseUrl === null ? [] : [URL.parse(baseUrl)?.hostname ?? '']].some((own) => nameOf(own) === name)
}

/**
 * What kind of page a request comes from: `own`: the server's own, or no page at all. `listed`: in ALLOWED_ORIGINS.
 * `any`: let in by `*` only. `foreign`: none of these.
 *
 * @param origin the header (RFC 6454 section 7); browsers send it with all that changes something.
 */
export function originOf (origin: string | undefined, host: string | undefined, { baseUrl, origins }: Pick<OwnNames, 'baseUrl' | 'origins'>): 'own' | 'listed' | 'any' | 'foreign' {
  if (origin === undefined) return 'own'
  const given = origin.toLowerCase()
  if (origins.some((listed) => listed !== '*' && listed.toLowerCase() === given)) return 'listed'
  const url = /^https?:\/\/[^/?#@]+$/.test(given) ? URL.parse(given) : null
  const places = [...host === undefined ? [] : [host.toLowerCase()], ...baseUrl === null ? [] : [URL.parse(baseUrl)?.host ?? '']]
  // By its host: a proxy that ends TLS makes the scheme another one.
  if (url !== null && places.some((own) => own !== '' && URL.parse(`${url.protocol}//${own}`)?.host === url.host)) return 'own'
  return origins.includes('*') ? 'any' : 'foreign'
}

/** Without its port, its brackets and the root's dot, in lower case. null: it is no host. */
function nameOf (host: string): string | null {
  const [, v6, name] = /^(?:\[([0-9a-f:.]+)\]|([^:[\]/@\s]+))(?::\d*)?$/i.exec(host) ?? []
  if (v6 !== undefined) return v6.toLowerCase()
  // An address as ALLOWED_HOSTS has it.
  if (isIP(host) === 6) return host.toLowerCase()
  return name?.toLowerCase().replace(/\.$/, '') ?? null
}
