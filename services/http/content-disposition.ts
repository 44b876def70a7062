import { extname } from 'node:path'

/** What common file systems take for one name, in UTF-8 bytes; longer ones make clients invent their own. */
const maxNameBytes = 255

/** A longer "extension" is only a dot in a title. */
const maxExtensionBytes = 32

/**
 * A Content-Disposition field (RFC 6266) that names the file in any script: an ASCII fallback, and where the name is
 * more than that, `filename*` (RFC 8187). Takes hostile names: what cannot stand in a file name becomes `_`, and what
 * is longer than 255 bytes of UTF-8 is cut before its extension.
 */
export function contentDisposition (fileName: string, type: 'inline' | 'attachment'): string {
  // A path or a control character is no name; encodeURIComponent throws on half a surrogate pair
  const name = bound(fileName.toWellFormed().replace(/[\p{Cc}/\\]/gu, '_'))
  if (name === '') return type
  // Some browsers decode %xx in the plain form, and none agree on escaped quotes
  const fallback = name.replace(/[^\x20-\x7e]|["%]/gu, '_')
  const plain = `${type}; filename="${fallback}"`
  return fallback === name ? plain : `${plain}; filename*=UTF-8''${encode(name)}`
}

function bound (name: string): string {
  if (Buffer.byteLength(name) <= maxNameBytes) return name
  const ending = extname(name)
  const extension = Buffer.byteLength(ending) > maxExtensionBytes ? '' : ending
  const stem = name.slice(0, name.length - extension.length)
  // encodeInto stops before a code point that does not fit, and says how much of the string it took
  const { read } = new TextEncoder().encodeInto(stem, new Uint8Array(maxNameBytes - Buffer.byteLength(extension)))
  return stem.slice(0, read) + extension
}

/** Percent-encoding of everything but RFC 8187's attr-char, which is not quite what encodeURIComponent leaves alone. */
function encode (name: string): string {
  return encodeURIComponent(name)
    .replace(/['()*]/g, char => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(/%(?:23|24|26|2B|5E|60|7C)/g, decodeURIComponent)
}
