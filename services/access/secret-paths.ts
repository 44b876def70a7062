import { randomBytes, randomUUID } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { stateFolder } from '../cache/stored-files.ts'
import { coalesce } from '../coalesce.ts'
import { asCoded } from '../errors.ts'
import { StateRecord } from '../state-record.ts'
import { digest, secretMode } from './token.ts'
import type { Log } from '../log.ts'

/** A way in for clients that can send no header: `/t/<secret>/…`. Of the secret itself only its digest is kept. */
export interface SecretPath {
  readonly id: string
  /** For the owner: who has it. */
  readonly name: string
  /** ISO 8601. */
  readonly createdAt: string
}

interface Entry extends SecretPath {
  /** SHA-256, hexadecimal. */
  readonly digest: string
}

const FORMAT_VERSION = 1
const MOST = 1000
/** What another server's record says now is looked up so often. */
const REFRESH_MS = 2000

/** The secret paths that were given out, kept in `.self-streme/secret-paths.json`. */
export class SecretPaths {
  readonly #path: string
  readonly #record: StateRecord
  readonly #isReadOnly: boolean
  readonly #byDigest = new Map<string, Entry>()
  /** By digest: what ends when that secret is revoked. */
  readonly #uses = new Map<string, Set<() => void>>()
  /** One at a time: of two, the older one might be on the disk last, with what was revoked. */
  readonly #save = coalesce(async () => { await this.#record.write({ paths: [...this.#byDigest.values()] }) })
  #seen = ''
  #lookedAt = 0

  private constructor (directory: string, isReadOnly: boolean, log: Log) {
    this.#path = join(directory, stateFolder, 'secret-paths.json')
    this.#isReadOnly = isReadOnly
    this.#record = new StateRecord({
      path: this.#path, version: FORMAT_VERSION, title: 'the list of secret paths', without: 'those that were given out do not count', mode: secretMode, isReadOnly, log
    })
  }

  /** Never fails: a record that makes no sense is put aside with a warning, and none of it counts. */
  static async open (directory: string, { isReadOnly, log }: { readonly isReadOnly: boolean, readonly log: Log }): Promise<SecretPaths> {
    const paths = new SecretPaths(directory, isReadOnly, log)
    await paths.#load()
    return paths
  }

  list (): SecretPath[] {
    return [...this.#byDigest.values()].map(({ id, name, createdAt }) => ({ id, name, createdAt }))
  }

  /** Does this secret count? By digests: how long that takes tells nothing of those that do. */
  async has (secret: string): Promise<boolean> {
    if (this.#isReadOnly) await this.#refresh()
    return this.#byDigest.has(digest(secret).toString('hex'))
  }

  /** Calls `end` if this secret is revoked, until the function is called that this returns. */
  use (secret: string, end: () => void): () => void {
    const key = digest(secret).toString('hex')
    const uses = this.#uses.get(key) ?? new Set()
    this.#uses.set(key, uses.add(end))
    return () => {
      uses.delete(end)
      if (uses.size === 0 && this.#uses.get(key) === uses) this.#uses.delete(key)
    }
  }

  /** A new one, and its secret, which nobody can be told a second time. null: there are too many. Throws STORE_FAILED; then there is none. */
  async create (name: string): Promise<{ readonly path: SecretPath, readonly secret: string } | null> {
    if (this.#byDigest.size >= MOST) return null
    const secret = randomBytes(16).toString('base64url')
    const entry = { id: randomUUID(), name, createdAt: new Date().toISOString(), digest: digest(secret).toString('hex') }
    this.#byDigest.set(entry.digest, entry)
    try {
      await this.#write()
    } catch (error) {
      this.#byDigest.delete(entry.digest)
      throw error
    }
    return { path: { id: entry.id, name, createdAt: entry.createdAt }, secret }
  }

  /** It counts no more from now on, and what uses it ends, even where that cannot be written, which throws STORE_FAILED. false: there is none with this id. */
  async revoke (id: string): Promise<boolean> {
    const entry = [...this.#byDigest.values()].find((candidate) => candidate.id === id)
    if (entry === undefined) return false
    this.#byDigest.delete(entry.digest)
    for (const end of this.#uses.get(entry.digest) ?? []) end()
    await this.#write()
    return true
  }

  async #write (): Promise<void> {
    try {
      await this.#save()
    } catch (error) {
      throw asCoded(error, 'STORE_FAILED')
    }
  }

  async #refresh (): Promise<void> {
    if (performance.now() - this.#lookedAt < REFRESH_MS) return
    this.#lookedAt = performance.now()
    const found = await stat(this.#path).catch(() => null)
    const seen = found === null ? '' : `${found.ino} ${found.mtimeMs}`
    if (seen === this.#seen) return
    this.#seen = seen
    await this.#load()
  }

  async #load (): Promise<void> {
    const records = await this.#record.read()
    this.#byDigest.clear()
    for (const { paths } of records) {
      if (!Array.isArray(paths)) continue
      for (const path of paths) {
        const entry = parseEntry(path)
        if (entry !== null) this.#byDigest.set(entry.digest, entry)
      }
    }
  }
}

/** Takes a secret off an address: `/t/<secret>/rest` is `/rest`. null: it has none. */
export function splitSecret (url: string): { readonly secret: string, readonly url: string } | null {
  const [, secret, rest = ''] = /^\/t\/([^/?#]+)(.*)$/s.exec(url) ?? []
  if (secret === undefined) return null
  return { secret, url: rest.startsWith('/') ? rest : `/${rest}` }
}

function parseEntry (value: unknown): Entry | null {
  if (typeof value !== 'object' || value === null) return null
  const { id, name, createdAt, digest }: Partial<Record<keyof Entry, unknown>> = value
  if (typeof id !== 'string' || typeof name !== 'string' || typeof createdAt !== 'string') return null
  return typeof digest === 'string' && /^[0-9a-f]{64}$/.test(digest) ? { id, name, createdAt, digest } : null
}
