import { createHash, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import { chmod, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { stateFolder } from '../cache/stored-files.ts'
import { isNoSpace } from '../pieces/piece-files.ts'
import { writeFileAtomically } from '../write-file.ts'
import type { Log } from '../log.ts'

/** Nobody but us may read it. */
export const secretMode = 0o600

/** What is kept in a file of its own below the state folder. */
export type SecretName = 'api-token' | 'signing-key'

export interface Secret {
  readonly value: string
  /** It was made now: whoever needs it does not have it yet. */
  readonly isNew: boolean
}

/** 256 bits, in characters that URLs and shells leave alone. */
export function makeSecret (): string {
  return randomBytes(32).toString('base64url')
}

export function secretPath (directory: string, name: SecretName): string {
  return join(directory, stateFolder, name)
}

/**
 * The secret that was made at the first start, or a new one that is kept for the next. Read-only: one that is not there is made for
 * this life of the server only, and so it is on a full disk. Throws what the file system says where it cannot be read or kept.
 */
export async function openSecret (directory: string, name: SecretName, { isReadOnly, log }: { readonly isReadOnly: boolean, readonly log: Log }): Promise<Secret> {
  const path = secretPath(directory, name)
  const found = await readSecret(directory, name).catch((error: unknown) => {
    // Another user's, who runs the server that writes.
    if (isReadOnly) return null
    throw error
  })
  if (found !== null) {
    // A copy that went through somebody's backup.
    if (!isReadOnly && ((await stat(path)).mode & 0o077) !== 0) await chmod(path, secretMode)
    return { value: found, isNew: false }
  }
  const value = makeSecret()
  if (isReadOnly) log.warn({}, `there is no ${name} that can be read, and CACHE_READ_ONLY=true keeps none: the one in use ends with this process`)
  else {
    await writeFileAtomically(path, `${value}\n`, secretMode).catch((error: unknown) => {
      if (!isNoSpace(error)) throw error
      log.warn({}, `the disk is full, so the new ${name} is not kept: it ends with this process`)
    })
  }
  return { value, isNew: true }
}

/** The secret that is kept; null: there is none, or nothing that could be one. Throws where it is there and cannot be read. */
export async function readSecret (directory: string, name: SecretName): Promise<string | null> {
  try {
    const value = (await readFile(secretPath(directory, name), 'utf8')).trim()
    return /^[\x21-\x7e]{16,}$/.test(value) ? value : null
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw error
  }
}

/** Is it the secret with this digest? Takes as long wherever they differ. */
export function isSameSecret (given: string, own: Buffer): boolean {
  return timingSafeEqual(digest(given), own)
}

/** What may be kept of a secret that only has to be known again. */
export function digest (secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}

/** A key for one purpose: who learns it learns neither the secret nor the key for another one (RFC 5869). */
export function keyFor (purpose: string, secret: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', `self-streme ${purpose}`, 32))
}
