import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { deflateRawSync, inflateRawSync } from 'node:zlib'

/** What one installation of the addon is set to. It stands in the addon's own address, for Stremio keeps nothing else. */
export interface AddonSettings {
  /** Manifests of other addons, which may have keys of people in their addresses. */
  readonly upstreams: readonly string[]
  /** What is here is listed, too. */
  readonly hasCatalogs: boolean
}

export const MAX_UPSTREAMS = 20
export const sealedForm = '^cfg-[\\w-]{38,1900}$'

const PREFIX = 'cfg-'
/** The router takes no longer part of a path than 2000. */
const MAX_LENGTH = 1900
const MAX_PLAIN_BYTES = 20_000
const IV_BYTES = 12
const TAG_BYTES = 16

/**
 * Settings as a part of an address (AES-256-GCM): nobody who sees the address learns what is in them, and nobody makes
 * any but this server, so that what it fetches for them was named by its owner.
 */
export class SettingsSeal {
  readonly #key: Buffer

  /** @param key 32 bytes. */
  constructor (key: Buffer) {
    this.#key = key
  }

  /** null: they are too long for an address. */
  seal ({ upstreams, hasCatalogs }: AddonSettings): string | null {
    const iv = randomBytes(IV_BYTES)
    const cipher = createCipheriv('aes-256-gcm', this.#key, iv)
    const plain = deflateRawSync(JSON.stringify({ v: 1, u: upstreams, c: hasCatalogs }))
    const sealed = Buffer.concat([iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
    const text = PREFIX + sealed.toString('base64url')
    return text.length > MAX_LENGTH ? null : text
  }

  /** null: this server has not made it, or with another key. */
  open (text: string): AddonSettings | null {
    const sealed = Buffer.from(text.slice(PREFIX.length), 'base64url')
    if (!text.startsWith(PREFIX) || text.length > MAX_LENGTH || sealed.length <= IV_BYTES + TAG_BYTES) return null
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#key, sealed.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES })
      decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
      const plain = Buffer.concat([decipher.update(sealed.subarray(IV_BYTES, -TAG_BYTES)), decipher.final()])
      return parse(JSON.parse(inflateRawSync(plain, { maxOutputLength: MAX_PLAIN_BYTES }).toString()))
    } catch {
      return null
    }
  }
}

/** The address of an addon's manifest as people copy it: `stremio:` is https. null: it is none. */
export function manifestUrl (text: string): string | null {
  const url = URL.parse(text.trim().replace(/^stremio:/i, 'https:').replace(/\/configure\/?$/, '/manifest.json'))
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:') || !url.pathname.endsWith('/manifest.json')) return null
  return url.href
}

function parse (value: unknown): AddonSettings | null {
  if (typeof value !== 'object' || value === null) return null
  const { v, u, c }: { v?: unknown, u?: unknown, c?: unknown } = value
  if (v !== 1 || !Array.isArray(u)) return null
  return { upstreams: u.filter((url) => typeof url === 'string').slice(0, MAX_UPSTREAMS), hasCatalogs: c === true }
}
