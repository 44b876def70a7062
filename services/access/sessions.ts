import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { keyFor } from './token.ts'

/** Browsers know cookies by host and not by port: servers beside each other at one address need names of their own. */
export function sessionCookie (port: number): string {
  return `self_streme_session_${port}`
}

const LIFE_SECONDS = 30 * 86_400
/** Of logins that were ended by hand; more at a time than people have browsers. */
const MAX_ENDED = 10_000

export interface Session {
  /** For the cookie: it says until when it counts, and tells nothing of the token. */
  readonly value: string
  readonly lifeSeconds: number
}

/** Logins of browsers. They are signed with a key of the token, so that a new token ends them all, and none is kept here. */
export class Sessions {
  readonly #key: Buffer
  readonly #now: () => number
  readonly #ended = new Map<string, number>()

  /** @param now milliseconds since 1970. */
  constructor (token: string, now: () => number = Date.now) {
    this.#key = keyFor('session', token)
    this.#now = now
  }

  begin (): Session {
    const text = `${Math.floor(this.#now() / 1000) + LIFE_SECONDS}.${randomBytes(12).toString('base64url')}`
    return { value: `${text}.${this.#sign(text).toString('base64url')}`, lifeSeconds: LIFE_SECONDS }
  }

  isValid (value: string): boolean {
    const [, text, expires, mac] = /^((\d{1,12})\.[\w-]{16})\.([\w-]{43})$/.exec(value) ?? []
    if (text === undefined || mac === undefined || this.#ended.has(text)) return false
    const given = Buffer.from(mac, 'base64url')
    const own = this.#sign(text)
    return given.length === own.length && timingSafeEqual(given, own) && Number(expires) * 1000 > this.#now()
  }

  /** It counts no more, until this process ends; the cookie is for the browser to forget. */
  end (value: string): void {
    if (!this.isValid(value)) return
    const now = this.#now()
    for (const [text, expiresAt] of this.#ended) if (expiresAt < now) this.#ended.delete(text)
    const [oldest] = this.#ended.keys()
    if (oldest !== undefined && this.#ended.size >= MAX_ENDED) this.#ended.delete(oldest)
    const text = value.slice(0, value.lastIndexOf('.'))
    this.#ended.set(text, Number(text.split('.')[0]) * 1000)
  }

  #sign (text: string): Buffer {
    return createHmac('sha256', this.#key).update(text).digest()
  }
}

/** The login of a request's cookies (RFC 6265 section 4.2.1), of that name; null: there is none. */
export function sessionOf (cookie: string | undefined, name: string): string | null {
  for (const pair of (cookie ?? '').split(';')) {
    const at = pair.indexOf('=')
    if (pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim()
  }
  return null
}

/** The Set-Cookie header for a login; null: that forgets it. Only this server's own pages send it back, and no script reads it. */
export function setCookie (session: Session | null, { name, path, isSecure }: { readonly name: string, readonly path: string, readonly isSecure: boolean }): string {
  return `${name}=${session?.value ?? ''}; Path=${path}; Max-Age=${session?.lifeSeconds ?? 0}; HttpOnly; SameSite=Strict${isSecure ? '; Secure' : ''}`
}
