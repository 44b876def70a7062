import { isNearClient } from './near-client.ts'
import { allowed, mayDo } from './may-do.ts'
import { isOwnHost, originOf } from './own-names.ts'
import { Refused } from './refused.ts'
import { sessionOf } from './sessions.ts'
import { digest, isSameSecret } from './token.ts'
import type { RequestHeaders } from '../http/conditional.ts'
import type { Action, Proof, StreamAccess } from './may-do.ts'
import type { OwnNames } from './own-names.ts'
import type { Sessions } from './sessions.ts'

export interface GateOptions {
  readonly token: string
  /** API_TOKEN was set, or a panel runs us: nobody is trusted for where he comes from. */
  readonly trustsNobody: boolean
  readonly mode: StreamAccess
  readonly names: OwnNames
  readonly sessions: Sessions
}

/** A request, as far as it tells who asks. */
export interface Asking {
  /** The socket's other end: a client, or the proxy before it. */
  readonly peer: string | undefined
  readonly headers: RequestHeaders
}

/** What a request has shown. */
export interface Identity {
  readonly proofs: ReadonlySet<Proof>
  /** It brought a proof itself; else a browser may have added one, or its address is one, whichever page it is that asks. */
  readonly isExplicit: boolean
  /** Why something that it has shown does not count. */
  readonly flaw: Refused | null
}

/** Decides who may do what: reads what a request shows, and asks the table (may-do.ts). */
export class Gate {
  readonly #options: GateOptions
  readonly #token: Buffer

  constructor (options: GateOptions) {
    this.#options = options
    this.#token = digest(options.token)
  }

  get mode (): StreamAccess { return this.#options.mode }

  identify ({ peer, headers }: Asking): Identity {
    const { trustsNobody, sessions, names } = this.#options
    const given = bearerOf(headers)
    if (given !== null && this.isToken(given)) return { proofs: new Set<Proof>(['token']), isExplicit: true, flaw: null }
    const session = sessionOf(textOf(headers.cookie))
    const ambient = new Set<Proof>([
      ...session !== null && sessions.isValid(session) ? ['token' as const] : [],
      ...!trustsNobody && isNearClient(peer, headers) ? ['trusted' as const] : []
    ])
    const flaw = given === null ? null : wrongToken()
    if (ambient.size === 0) return { proofs: ambient, isExplicit: false, flaw }
    if (!isOwnHost(textOf(headers.host), names)) return { proofs: new Set(), isExplicit: false, flaw: strangeHost(headers) }
    const origin = originOf(textOf(headers.origin), textOf(headers.host), names)
    if (origin !== 'own' && origin !== 'listed') return { proofs: new Set(), isExplicit: false, flaw: strangeOrigin(headers) }
    return { proofs: ambient, isExplicit: false, flaw }
  }

  /** Throws Refused for a request to change something that a page of somebody else's may have made a browser send. */
  guard ({ headers }: Asking, { isExplicit }: Identity): void {
    const { names } = this.#options
    if (originOf(textOf(headers.origin), textOf(headers.host), names) === 'foreign') throw strangeOrigin(headers)
    if (!isExplicit && !isOwnHost(textOf(headers.host), names)) throw strangeHost(headers)
  }

  /** Throws Refused, with what is missing, unless this client may do it. */
  check (action: Action, { proofs, flaw }: Identity): void {
    if (mayDo(action, proofs, this.#options.mode)) return
    throw flaw ?? new Refused(401, 'TOKEN_NEEDED', reasons[action], { suggestion: action === 'stream' || action === 'add' ? `${tokenHint} ${linkHint}` : tokenHint })
  }

  /** All that this client may do. */
  allowed ({ proofs }: Identity): Action[] {
    return allowed(proofs, this.#options.mode)
  }

  isToken (given: string): boolean {
    return isSameSecret(given, this.#token)
  }
}

const tokenHint = 'Send "Authorization: Bearer <token>", or log in at /login. The token is what API_TOKEN is set to, else the one in .self-streme/api-token of the download directory.'
const linkHint = 'Players that can send none take a signed link or a secret path: ask the owner of the server for one.'

const reasons: Readonly<Record<Action, string>> = {
  public: '',
  stream: 'This server streams only to those whom its owner lets in (STREAM_ACCESS).',
  add: 'This server takes new torrents only from those whom its owner lets in (STREAM_ACCESS).',
  list: 'What this server has and does is shown to its owner only.',
  manage: 'Only the owner of this server may change it.'
}

export function wrongToken (): Refused {
  return new Refused(401, 'TOKEN_WRONG', 'This is not the API token of this server.', { suggestion: tokenHint })
}

function strangeHost (headers: RequestHeaders): Refused {
  return new Refused(403, 'HOST_REFUSED', `${shown(headers.host)} is not a name that this server is known by: a page of that name could have sent this.`, {
    suggestion: 'Use its IP address, or set BASE_URL to the address that you use, or add the name to ALLOWED_HOSTS.'
  })
}

function strangeOrigin (headers: RequestHeaders): Refused {
  return new Refused(403, 'ORIGIN_REFUSED', `A page of ${shown(headers.origin)} has sent this, which is not a page of this server.`, {
    suggestion: 'Add it to ALLOWED_ORIGINS if it is yours; behind a reverse proxy set BASE_URL to the address that you use.'
  })
}

/** RFC 6750 section 2.1. null: none was sent. */
function bearerOf ({ authorization }: RequestHeaders): string | null {
  const [, token] = /^Bearer +(\S+) *$/i.exec(textOf(authorization) ?? '') ?? []
  return token ?? null
}

function textOf (header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' ? header : header?.[0]
}

function shown (header: string | string[] | undefined): string {
  return JSON.stringify((textOf(header) ?? '').slice(0, 100))
}
