import { isAbsolute, relative, sep } from 'node:path'
import type { RequestHeaders } from './conditional.ts'

export interface SendfileOptions {
  /** What the proxy understands. */
  readonly header: 'x-accel-redirect' | 'x-sendfile'
  /** The download directory, every link resolved: the proxy has it under `accelPrefix`. */
  readonly directory: string
}

/** Where a proxy that understands X-Accel-Redirect finds the download directory. */
export const accelPrefix = '/_self-streme/'

const conditions = ['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'if-range'] as const

/** May the proxy answer this request? Conditions name our validators, which the proxy does not know. */
export function isForProxy (headers: RequestHeaders): boolean {
  return conditions.every((name) => headers[name] === undefined)
}

/**
 * The header that has the reverse proxy send this file, ranges and all; null: the proxy cannot. `path` is absolute. nginx
 * gets a URI below `accelPrefix`, so only files of the download directory; the others get the path. Both are percent-encoded.
 */
export function sendfileHeader (path: string, { header, directory }: SendfileOptions): Record<string, string> | null {
  if (header === 'x-sendfile') return { 'X-Sendfile': encoded(path) }
  const below = relative(directory, path)
  const isInside = below !== '' && below !== '..' && !below.startsWith(`..${sep}`) && !isAbsolute(below)
  return isInside ? { 'X-Accel-Redirect': `${accelPrefix}${encoded(below)}` } : null
}

function encoded (path: string): string {
  return path.split(sep).map(encodeURIComponent).join('/')
}
