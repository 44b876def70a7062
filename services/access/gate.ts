import { clientKey, isNearClient } from './near-client.ts'
import { allowed, mayDo } from './may-do.ts'
import { isOwnHost, originOf } from './own-names.ts'
import { Refused } from './refused.ts'
import { sessionOf } from './sessions.ts'
import { digest, isSameSecret } from './token.ts'
import { queryOf } from './url-signer.ts'
import type { RequestHeaders } from '../http/conditional.ts'
import type { Grant } from '../links.ts'
import type { DistinctLimit } from './distinct-limit.ts'
import type { Action, Proof, StreamAccess } from './may-do.ts'
import type { OwnNames } from './own-names.ts'
import type { Sessions } from './sessions.ts'
import type { UrlSignature, UrlSigner } from './url-signer.ts'

export interface GateOptions {
  readonly token: string
  /** API_TOKEN was set, or a panel runs us: nobody is trusted for where he comes from. */
  readonly trustsNobody: boolean
  readonly mode: StreamAccess
  readonly names: OwnNames
  readonly sessions: Sessions
  /** The cookie of logins. */
  readonly cookie: string
  readonly signer: UrlSigner
  /** Wrong tokens and secrets of each client. */
  readonly attempts: DistinctLimit
}

/** A request, as far as it tells who asks. */
export interface Asking {
  /** The socket's other end: a client, or the proxy before it. */
  readonly peer: string | undefined
  /** The client's address, of proxies as far as TRUST_PROXY believes them. */
  readonly client: string
  readonly headers: RequestHeaders
  /** A secret that counts. */
  readonly secret: string | null
  readonly signature: UrlSignature | null
  /** Pages of others that the route lets in beside those of ALLOWED_ORIGINS, by their origin; absent: none. */
  readonly pages?: ((origin: string) => boolean) | undefined
}

/** What a request has shown. */
export interface Identity extends Pick<Asking, 'client' | 'secret' | 'signature'> {
  /** All but a signature, which depends on what is asked for. */
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
  readonly #isGuessable: boolean

  constructor (options: GateOptions) {
    this.#options = options
    this.#token = digest(options.token)
    this.#isGuessable = options.token.length < LONG_TOKEN
  }

  get mode (): StreamAccess { return this.#options.mode }

  identify (asking: Asking): Identity {
    const { headers, client, secret, signature } = asking
    const given = bearerOf(headers)
    const wrong = given === null ? null : this.#mistakeOf(given, client)
    const isOwner = given !== null && wrong === null
    const own: Proof[] = [...isOwner ? ['token' as const] : [], ...secret === null ? [] : ['secret' as const]]
    const { proofs, flaw } = isOwner ? { proofs: [], flaw: null } : this.#ambient(asking)
    return { proofs: new Set([...own, ...proofs]), isExplicit: own.length > 0, flaw: flaw ?? wrong, client, secret, signature }
  }

  /** What a browser adds, and what an address is: whichever page it is that asks. */
  #ambient ({ peer, headers, pages }: Asking): { readonly proofs: readonly Proof[], readonly flaw: Refused | null } {
    const { trustsNobody, sessions, cookie, names } = this.#options
    const session = sessionOf(textOf(headers.cookie), cookie)
    const proofs: Proof[] = [
      ...session !== null && sessions.isValid(session) ? ['token' as const] : [],
      ...!trustsNobody && isNearClient(peer, headers) ? ['trusted' as const] : []
    ]
    if (proofs.length === 0) return { proofs, flaw: null }
    if (!isOwnHost(textOf(headers.host), names)) return { proofs: [], flaw: strangeHost(headers) }
    const origin = originOf(textOf(headers.origin), textOf(headers.host), names)
    if (origin !== 'own' && origin !== 'listed' && !isLetIn(headers, pages)) return { proofs: [], flaw: strangeOrigin(headers) }
    return { proofs, flaw: null }
  }

  /** Throws Refused for a request to change something that a page of somebody else's may have made a browser send. */
  guard ({ headers, pages }: Asking, { isExplicit }: Identity): void {
    const { names } = this.#options
    if (originOf(textOf(headers.origin), textOf(headers.host), names) === 'foreign' && !isLetIn(headers, pages)) throw strangeOrigin(headers)
    if (!isExplicit && !isOwnHost(textOf(headers.host), names)) throw strangeHost(headers)
  }

  /**
   * As `guard`, for a GET that does something: an image or a video of any page makes a browser send one without an Origin.
   * Told by what the browser says of it (Fetch Metadata; only to https and this machine), and by the Referer. A page may
   * keep that to itself: for one that removes something, a browser that says neither is refused, too.
   */
  guardGet ({ headers, pages }: Asking, { isExplicit }: Identity, { isRemoving = false } = {}): void {
    const { names } = this.#options
    const site = textOf(headers['sec-fetch-site'])
    // Of the same origin, or typed in by somebody.
    if (isExplicit || headers.origin !== undefined || site === 'same-origin' || site === 'none') return
    const referer = textOf(headers.referer)
    if (site === undefined && referer === undefined && !(isRemoving && /^Mozilla\//.test(textOf(headers['user-agent']) ?? ''))) return
    const origin = URL.parse(referer ?? '')?.origin ?? 'null'
    const from = originOf(origin, textOf(headers.host), names)
    if (from !== 'own' && from !== 'listed' && pages?.(origin) !== true) throw strangeOrigin({ origin })
  }

  /** Throws Refused, with what is missing, unless this client may do it; `infohash`: with which torrent, null: with none in particular. */
  check (action: Action, { proofs, flaw, signature, client }: Identity, infohash: string | null): void {
    const { mode, signer } = this.#options
    if (mayDo(action, proofs, mode)) return
    if (signature !== null && infohash !== null && mayDo(action, new Set(['signature']), mode)) {
      const verdict = signer.check(infohash, signature, client)
      if (verdict === 'valid') return
      throw verdict === 'expired' ? expired(signature) : wrongSignature()
    }
    throw flaw ?? new Refused(401, 'TOKEN_NEEDED', reasons[action], { suggestion: action === 'stream' || action === 'add' || action === 'relay' ? `${tokenHint} ${linkHint}` : tokenHint })
  }

  /** What links for this client have with them: its own secret path or signature, or a new signature for who may give away what he likes. */
  grant ({ proofs, secret, signature, client }: Identity): Grant {
    const { mode, signer } = this.#options
    if (secret !== null) return { prefix: `/t/${secret}` }
    if (mode === 'open') return {}
    if (proofs.has('token') || proofs.has('trusted')) return { queryFor: (infohash) => signer.sign(infohash) }
    return { queryFor: (infohash) => signature !== null && signer.check(infohash, signature, client) === 'valid' ? queryOf(signature) : '' }
  }

  /** How long the signature by which this torrent was asked for still counts, in seconds; null: it was asked for without. */
  secondsLeft ({ signature, client }: Identity, infohash: string): number | null {
    const { signer } = this.#options
    return signature === null || signer.check(infohash, signature, client) === 'wrong' ? null : signer.secondsLeft(signature.expires)
  }

  /** All that this client may do. */
  allowed ({ proofs }: Identity): Action[] {
    return allowed(proofs, this.#options.mode)
  }

  /** Throws Refused for a token that is not ours, or for one more after too many of them. */
  logIn (given: string, client: string): void {
    const mistake = this.#mistakeOf(given, client)
    if (mistake !== null) throw mistake
  }

  /** Throws Refused: for a secret path that is none, or none any more. */
  refuseSecret (secret: string, client: string): never {
    throw this.#shutOut(secret, client) ?? new Refused(403, 'SECRET_PATH_UNKNOWN', 'This secret path does not exist, or was revoked.', { suggestion: 'Ask the owner of the server for a new one.' })
  }

  /** Nobody is told whether a short token is right while he has too many wrong ones, or guessing would go on. A long one is right whatever others at the same address, such as that of a proxy, have tried. */
  #mistakeOf (given: string, client: string): Refused | null {
    const isRight = isSameSecret(given, this.#token)
    const { attempts } = this.#options
    if (isRight && (!this.#isGuessable || attempts.wait(clientKey(client)) === null)) return null
    return this.#shutOut(isRight ? null : given, client) ?? wrongToken()
  }

  /** Notes what was wrong; gives the refusal of a client that has had too much of that. */
  #shutOut (wrong: string | null, client: string): Refused | null {
    const { attempts } = this.#options
    const key = clientKey(client)
    const seconds = attempts.wait(key)
    // The same one again is a program with an old setting, and no guess.
    const name = wrong === null ? null : digest(wrong).toString('base64')
    if (seconds === null && name !== null) attempts.note(key, name)
    if (seconds === null || (name !== null && attempts.has(key, name))) return null
    return new Refused(429, 'TOO_MANY_ATTEMPTS', 'Too many wrong tokens or secret paths came from this address.', { suggestion: 'Wait, then use the right one.', retryAfterSeconds: seconds })
  }
}

/** Characters that nobody guesses, if they were drawn at random. */
export const LONG_TOKEN = 20

const tokenHint = 'Send "Authorization: Bearer <token>", or log in at /login. The token is what API_TOKEN is set to, else the one in .self-streme/api-token of the download directory.'
const linkHint = 'Players that can send none take a signed link or a secret path: ask the owner of the server for one.'

const reasons: Readonly<Record<Action, string>> = {
  public: '',
  stream: 'This server streams only to those whom its owner lets in (STREAM_ACCESS).',
  add: 'This server takes new torrents only from those whom its owner lets in (STREAM_ACCESS).',
  list: 'What this server has and does is shown to its owner only.',
  manage: 'Only the owner of this server may change it.',
  relay: 'This server fetches what is elsewhere only for those whom its owner lets in.'
}

function wrongSignature (): Refused {
  return new Refused(403, 'SIGNATURE_WRONG', 'This link is signed for another torrent, for another client, or was changed.', { suggestion: 'Use the link as it was given to you, or get a new one.' })
}

function expired ({ expires }: UrlSignature): Refused {
  return new Refused(403, 'SIGNATURE_EXPIRED', `This link counted until ${new Date(expires * 1000).toISOString()}.`, { suggestion: 'Get a new one from where this one came from.' })
}

function wrongToken (): Refused {
  return new Refused(401, 'TOKEN_WRONG', 'This is not the API token of this server.', { suggestion: tokenHint })
}

function isLetIn ({ origin }: RequestHeaders, pages: Asking['pages']): boolean {
  const given = textOf(origin)
  return given !== undefined && pages?.(given) === true
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
