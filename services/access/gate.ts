import { isNearClient } from './near-client.ts'
import { mayDo } from './may-do.ts'
import { Refused } from './refused.ts'
import { digest, isSameSecret } from './token.ts'
import type { RequestHeaders } from '../http/conditional.ts'
import type { Action, Proof, StreamAccess } from './may-do.ts'

export interface GateOptions {
  readonly token: string
  /** API_TOKEN was set, or a panel runs us: nobody is trusted for where he comes from. */
  readonly trustsNobody: boolean
  readonly mode: StreamAccess
}

/** A request, as far as it tells who asks. */
export interface Asking {
  /** The socket's other end: a client, or the proxy before it. */
  readonly peer: string | undefined
  readonly headers: RequestHeaders
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

  /** What the request can show; `infohash`: what it asks for, which a signature has to be of. */
  proofs ({ peer, headers }: Asking): ReadonlySet<Proof> {
    const proofs = new Set<Proof>()
    const given = bearerOf(headers)
    if (given !== null && isSameSecret(given, this.#token)) proofs.add('token')
    if (!this.#options.trustsNobody && isNearClient(peer, headers)) proofs.add('trusted')
    return proofs
  }

  /** Returns the proofs where they are enough; throws Refused, with what would be. */
  check (action: Action, asking: Asking): ReadonlySet<Proof> {
    const proofs = this.proofs(asking)
    if (mayDo(action, proofs, this.#options.mode)) return proofs
    if (bearerOf(asking.headers) !== null && !proofs.has('token')) {
      throw new Refused(401, 'TOKEN_WRONG', 'This is not the API token of this server.', { suggestion: tokenHint })
    }
    throw new Refused(401, 'TOKEN_NEEDED', reasons[action], { suggestion: action === 'stream' || action === 'add' ? `${tokenHint} Players that can send none take a signed link or a secret path: ask the owner of the server for one.` : tokenHint })
  }
}

const tokenHint = 'Send "Authorization: Bearer <token>", or log in at /login. The token is what API_TOKEN is set to, else the one in .self-streme/api-token of the download directory.'

const reasons: Readonly<Record<Action, string>> = {
  public: '',
  stream: 'This server streams only to those whom its owner lets in (STREAM_ACCESS).',
  add: 'This server takes new torrents only from those whom its owner lets in (STREAM_ACCESS).',
  list: 'What this server has and does is shown to its owner only.',
  manage: 'Only the owner of this server may change it.'
}

/** RFC 6750 section 2.1. null: none was sent. */
function bearerOf (headers: RequestHeaders): string | null {
  const { authorization } = headers
  const [, token] = typeof authorization === 'string' ? /^Bearer +(\S+) *$/i.exec(authorization) ?? [] : []
  return token ?? null
}
