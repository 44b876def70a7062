import { METHODS } from 'node:http'

/** What a client speaks, by the first bytes that it sends. */
export type Protocol = 'http' | 'tls' | 'bittorrent'

/** Never more than so many bytes are needed. */
export const firstBytesNeeded = 20

const methods = new Set(METHODS)

/**
 * Tells what begins with these bytes; null: more are needed. However they were cut into packets, the answer is the same.
 *
 * - TLS: a handshake record with a ClientHello (RFC 8446 section 5.1).
 * - HTTP: a method and a space (RFC 9112 section 3), or text, of which the HTTP server says what is wrong with it.
 * - Everything else is BitTorrent: the plain handshake (BEP 3) begins with 0x13, the encrypted one (MSE) with 96 random
 *   bytes, of which the first 20 are text once in 200 million times.
 */
export function protocolOf (bytes: Uint8Array): Protocol | null {
  for (let i = 0; i < Math.min(bytes.length, firstBytesNeeded); i++) {
    const byte = bytes[i] ?? 0
    if (!isText(byte)) return bytes[0] === 0x16 ? tlsOr(bytes) : 'bittorrent'
    if (byte === 0x20 && methods.has(String.fromCharCode(...bytes.subarray(0, i)))) return 'http'
  }
  return bytes.length >= firstBytesNeeded ? 'http' : null
}

/** Of what begins with 0x16. */
function tlsOr (bytes: Uint8Array): Protocol | null {
  const [, major, minor, , , kind] = bytes
  if (major === undefined) return null
  if (major !== 3 || (minor !== undefined && minor > 4)) return 'bittorrent'
  if (kind === undefined) return null
  return kind === 1 ? 'tls' : 'bittorrent'
}

/** Printable ASCII, or white space. */
function isText (byte: number): boolean {
  return (byte >= 0x20 && byte <= 0x7e) || byte === 0x0d || byte === 0x0a || byte === 0x09
}
