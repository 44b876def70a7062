import { decode, encode } from '../../../services/torrent/bencode.ts'
import type { Bencoded, Encodable } from '../../../services/torrent/bencode.ts'

/** `.torrent` bodies that are broken or made to do harm. */

const tokens = [
  'd', 'l', 'e', 'i', ':', '0', '-', '9', '4:info', 'i-1e', 'i99999999999999999999e', '999999999:', 'le', 'de', '6:pieces', '5:files', '4:path', '4:attr1:p', '12:piece lengthi0e', 'i-0e', '00:', '1:\0'
].map((token) => Buffer.from(token))

/** Values that stand where another was. */
const oddValues: readonly Encodable[] = [
  0, 1, -1, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, '', 'x', '\0', '..', '../../etc/passwd', '/', '\ufeffx', Buffer.from([0xff, 0xfe]), Buffer.alloc(20), Buffer.alloc(5000, 'a'), [], [[]], ['', ''], ['..', 'x'], [0], [new Map()], new Map(), new Map([['', '']])
]

export type Random = () => number

/** The torrent with a few random changes, half of the time to its bytes, half of the time to its values. */
export function mutated (torrent: Buffer, random: Random): Buffer {
  return random() < 0.5 ? withChangedBytes(torrent, random) : withChangedValues(torrent, random)
}

function withChangedBytes (torrent: Buffer, random: Random): Buffer {
  const below = (n: number): number => Math.floor(random() * n)
  let bytes: Buffer = Buffer.from(torrent)
  for (let changes = 1 + below(4); changes > 0; changes--) {
    // half of the changes near the start or the end, where the structure is and not the hashes
    const at = below(2) === 0 ? below(bytes.length) : below(2) === 0 ? below(Math.min(300, bytes.length)) : bytes.length - 1 - below(Math.min(60, bytes.length))
    const before = bytes.subarray(0, at)
    switch (below(6)) {
      case 0: bytes.fill(below(256), at, at + 1); break
      case 1: bytes = Buffer.concat([before, bytes.subarray(at + 1 + below(20))]); break
      case 2: bytes = Buffer.concat([before, tokens[below(tokens.length)] ?? before, bytes.subarray(at)]); break
      case 3: bytes = Buffer.concat([before, bytes.subarray(at, at + below(200)), bytes.subarray(at)]); break
      case 4: bytes = bytes.subarray(0, at + 1); break
      default: bytes = Buffer.concat([before, bytes.subarray(at, at + 1 + below(9)).reverse(), bytes.subarray(at)])
    }
    if (bytes.length === 0) bytes = Buffer.from('d')
  }
  return bytes
}

function withChangedValues (torrent: Buffer, random: Random): Buffer {
  const below = (n: number): number => Math.floor(random() * n)
  const odd = (): Encodable => oddValues[below(oddValues.length)] ?? 0
  const change = (value: Bencoded): Encodable => {
    if (value instanceof Map) {
      const entries = [...value]
      const at = below(entries.length + 1)
      const changed = new Map<string, Encodable>(entries)
      const [key, item] = entries[at] ?? ['length', 0]
      switch (below(6)) {
        case 0: changed.delete(key); break
        case 1: changed.set(key, odd()); break
        case 2: changed.set(['path', 'length', 'name', 'name.utf-8', 'path.utf-8', 'attr', 'files', 'piece length', 'url-list', 'meta version'][below(10)] ?? '', odd()); break
        default: changed.set(key, change(item))
      }
      return changed
    }
    if (Array.isArray(value) && value.length > 0) {
      const at = below(value.length)
      const item = value[at]
      const instead: Encodable[] = item === undefined || below(4) === 0 ? [odd()] : below(6) === 0 ? [] : below(6) === 0 ? [item, item] : [change(item)]
      return [...value.slice(0, at), ...instead, ...value.slice(at + 1)]
    }
    return odd()
  }
  let bytes = torrent
  for (let changes = 1 + below(2); changes > 0; changes--) bytes = encode(change(decode(bytes).value))
  return bytes
}

const text = (ascii: string): Buffer => Buffer.from(ascii, 'latin1')
const numbered = (count: number, make: (digits: string) => string): string => Array.from({ length: count }, (_, i) => make(String(i).padStart(7, '0'))).join('')
const size = 10_000_000
const film = '4:name1:a12:piece lengthi16384e'
const listOf = (files: string, hashes: number): Buffer => text(`d4:infod5:filesl${files}e${film}6:pieces${hashes * 20}:${'x'.repeat(hashes * 20)}ee`)

/** Made by hand to take the parser's time or memory, each up to 10 MB; made when called. */
export const bombs: Readonly<Record<string, () => Buffer>> = {
  'lists in each other': () => text('l'.repeat(size)),
  'lists in each other below info': () => text(`d4:info${'l'.repeat(size)}`),
  'lists in each other where nobody reads': () => text(`d1:x${'l'.repeat(size)}`),
  'dictionaries in each other': () => text('d1:a'.repeat(size / 4)),
  'dictionaries in each other where nobody reads': () => text(`d4:info${'d9:file tree'.repeat(800_000)}`),
  'a million keys': () => text(`d4:infod${numbered(700_000, (digits) => `7:${digits}0:`)}ee`),
  'a million keys where nobody reads': () => text(`d1:xd${numbered(800_000, (digits) => `7:${digits}0:`)}ee`),
  'keys of a megabyte': () => text(`d${numbered(9, (digits) => `1000007:${'k'.repeat(1_000_000)}${digits}0:`)}e`),
  'keys that differ at their end': () => text(`d${numbered(2400, (digits) => `4096:${'k'.repeat(4089)}${digits}0:`)}e`),
  'a million empty files': () => listOf('de'.repeat(249_000), 1),
  'a hundred thousand files': () => listOf(numbered(100_000, (digits) => `d6:lengthi1e4:pathl7:${digits}ee`), 7),
  'more files than that': () => listOf(numbered(100_001, (digits) => `d6:lengthi1e4:pathl7:${digits}ee`), 7),
  'files of two components and an attribute': () => listOf(numbered(80_000, (digits) => `d4:attr1:x6:lengthi1e4:pathl1:a7:${digits}ee`), 5),
  'a path of a million components': () => listOf(`d6:lengthi1e4:pathl${'1:a'.repeat(990_000)}ee`, 1),
  'a name of ten megabytes': () => text(`d4:infod6:lengthi1e4:name9000000:${'a'.repeat(9_000_000)}12:piece lengthi16384e6:pieces20:${'x'.repeat(20)}ee`),
  'a component of ten megabytes': () => listOf(`d6:lengthi1e4:pathl9000000:${'a'.repeat(9_000_000)}ee`, 1),
  'a million trackers': () => text(`d13:announce-listl${'0:'.repeat(980_000)}ee`),
  'a million tiers': () => text(`d13:announce-listl${'le'.repeat(490_000)}ee`),
  'trackers that are almost URLs': () => text(`d13:announce-listl${numbered(300_000, (digits) => `18:http://[${digits}]//`)}e4:infod6:lengthi1e${film}6:pieces20:${'x'.repeat(20)}ee`),
  'web seeds of ten megabytes': () => text(`d4:infod6:lengthi1e${film}6:pieces20:${'x'.repeat(20)}e8:url-list9000000:${'h'.repeat(9_000_000)}e`),
  'half a million hashes': () => text(`d4:infod6:lengthi${499_000 * 16384}e${film}6:pieces9980000:${'x'.repeat(9_980_000)}ee`),
  'hashes for more than there is': () => text(`d4:infod6:lengthi1e${film}6:pieces9980000:${'x'.repeat(9_980_000)}ee`),
  'a length beyond all hashes': () => text(`d4:infod6:lengthi9007199254740991e${film}6:pieces20:${'x'.repeat(20)}ee`),
  'lengths that overflow together': () => listOf('d6:lengthi9007199254740991e4:pathl1:aee'.repeat(2), 1),
  'a piece length that divides to nothing': () => text(`d4:infod6:lengthi9007199254740991e4:name1:a12:piece lengthi9007199254740991e6:pieces20:${'x'.repeat(20)}ee`),
  'five million empty strings': () => text(`l${'0:'.repeat(size / 2 - 1)}e`),
  'five million empty strings where nobody reads': () => text(`d1:xl${'0:'.repeat(size / 2 - 10)}ee`),
  'an integer of ten million digits': () => text(`i${'1'.repeat(size)}e`),
  'a length of ten million digits': () => text('1'.repeat(size)),
  'a string that ends beyond the end': () => text('d4:info99999999:x'),
  'a length that is negative': () => text('d4:info-1:xe'),
  'ten million zeros': () => text('0'.repeat(size)),
  'ten million bytes after the end': () => text(`d4:infod6:lengthi1e${film}6:pieces20:${'x'.repeat(20)}ee${'\n'.repeat(size)}`),
  'nothing at all': () => Buffer.alloc(0)
}
