const base32Alphabet = 'abcdefghijklmnopqrstuvwxyz234567'

/**
 * A BitTorrent v1 infohash as people write it: 40 hex digits, or 32 base32 characters (RFC 4648 section 6), in either
 * case. Gives 40 lower-case hex digits, the only form used inside; null when the text is neither.
 */
export function parseInfohash (text: string): string | null {
  if (/^[0-9a-f]{40}$/i.test(text)) return text.toLowerCase()
  if (/^[a-z2-7]{32}$/i.test(text)) return hexOfBase32(text.toLowerCase())
  return null
}

/** 32 characters of 5 bits are 20 bytes exactly: no padding, no bits left over. */
function hexOfBase32 (text: string): string {
  let bits = 0n
  for (const character of text) bits = (bits << 5n) | BigInt(base32Alphabet.indexOf(character))
  return bits.toString(16).padStart(40, '0')
}
