import { CodedError } from '../errors.ts'

/** A decoded value. Strings stay bytes; the keys of a dictionary are latin1, one character a byte. */
export type Bencoded = number | Buffer | Bencoded[] | Dictionary

/** A Map, so that a key named `__proto__` is a key like any other. */
export type Dictionary = Map<string, Bencoded>

export interface DecodeLimits {
  /** Lists and dictionaries inside each other; hybrid torrents nest one level for each folder (BEP 52 `file tree`). */
  readonly depth: number
  /** How much may be decoded: each value counts 1 and each dictionary 4, because it takes that much more memory. */
  readonly weight: number
  /** Keys of one dictionary that is decoded. */
  readonly keys: number
  /** Bytes of one dictionary key. V8 hashes longer strings by their length alone, so that a lookup gets slow. */
  readonly keyLength: number
}

/**
 * The keys that matter in the dictionaries at each depth, the outermost at 0; where there is no set, all do. The value
 * of another key is stepped over and decoded as an empty string: its form is checked, but it takes no memory.
 */
export type WantedKeys = ReadonlyArray<ReadonlySet<string> | undefined>

export interface Decoded {
  readonly value: Bencoded
  /** The bytes of a value of the outermost dictionary as they stood in the input, not re-encoded; null if it has no such key. */
  rawOf (key: string): Buffer | null
}

const defaultLimits: DecodeLimits = { depth: 64, weight: 1_000_000, keys: 1000, keyLength: 4096 }

/** Some tools end a file with a newline; anything more after the value is not the torrent. */
const trailingBytes = 4

const nothing = Buffer.alloc(0)

const minus = 0x2d
const zero = 0x30
const nine = 0x39
const colon = 0x3a
const integerStart = 0x69
const listStart = 0x6c
const dictionaryStart = 0x64
const end = 0x65

/**
 * Decodes one bencoded value (BEP 3), strictly: no leading zeros, no `-0`, no integer that a double cannot hold, no
 * duplicate keys (except inside what is stepped over). Keys out of order are tolerated, for real torrents have them. Up to 4 bytes of CR or LF may follow.
 * Buffers in the result share memory with `bytes`.
 *
 * Throws CodedError METADATA_INVALID that names the byte.
 */
export function decode (bytes: Buffer, limits: Partial<DecodeLimits> = {}, wanted: WantedKeys = []): Decoded {
  const decoder = new Decoder(bytes, { ...defaultLimits, ...limits }, wanted)
  const value = decoder.whole()
  return { value, rawOf: key => decoder.rawOf(key) }
}

/** What `encode` takes. A string becomes its UTF-8 bytes; a key must be latin1, as `decode` gives it. */
export type Encodable = number | string | Uint8Array | readonly Encodable[] | ReadonlyMap<string, Encodable>

/** Bencodes a value that we made ourselves, keys sorted (BEP 3). Throws TypeError for what has no bencoded form. */
export function encode (value: Encodable): Buffer {
  const parts: Buffer[] = []
  append(parts, value)
  return Buffer.concat(parts)
}

function append (parts: Buffer[], value: Encodable): void {
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new TypeError(`${value} is not an integer that bencode can hold`)
    parts.push(Buffer.from(`i${value}e`))
  } else if (typeof value === 'string') {
    appendBytes(parts, Buffer.from(value))
  } else if (value instanceof Uint8Array) {
    appendBytes(parts, value)
  } else if (isMap(value)) {
    parts.push(Buffer.from('d'))
    for (const key of [...value.keys()].sort(byCodeUnit)) {
      if (/[^\0-\xff]/.test(key)) throw new TypeError(`the key ${key} is not latin1`)
      const item = value.get(key)
      if (item === undefined) throw new TypeError(`the key ${key} has no value`)
      appendBytes(parts, Buffer.from(key, 'latin1'))
      append(parts, item)
    }
    parts.push(Buffer.from('e'))
  } else {
    parts.push(Buffer.from('l'))
    for (const item of value) append(parts, item)
    parts.push(Buffer.from('e'))
  }
}

function appendBytes (parts: Buffer[], bytes: Uint8Array): void {
  parts.push(Buffer.from(`${bytes.length}:`), Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
}

function byCodeUnit (a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function isMap (value: readonly Encodable[] | ReadonlyMap<string, Encodable>): value is ReadonlyMap<string, Encodable> {
  return value instanceof Map
}

class Decoder {
  readonly #bytes: Buffer
  readonly #limits: DecodeLimits
  readonly #wanted: WantedKeys
  readonly #rawOfOutermost = new Map<string, Buffer>()
  #position = 0
  #weight = 0

  constructor (bytes: Buffer, limits: DecodeLimits, wanted: WantedKeys) {
    this.#bytes = bytes
    this.#limits = limits
    this.#wanted = wanted
  }

  rawOf (key: string): Buffer | null {
    return this.#rawOfOutermost.get(key) ?? null
  }

  whole (): Bencoded {
    const value = this.#value(0)
    const rest = this.#bytes.subarray(this.#position)
    if (rest.length > trailingBytes || rest.some(byte => byte !== 0x0a && byte !== 0x0d)) {
      throw this.#error(`${rest.length} bytes too many after the end`)
    }
    return value
  }

  #value (depth: number): Bencoded {
    const byte = this.#bytes[this.#position]
    this.#weight += byte === dictionaryStart ? 4 : 1
    if (this.#weight > this.#limits.weight) throw this.#error('too many values')
    this.#checkDepth(depth)
    switch (byte) {
      case integerStart: return this.#integer()
      case listStart: return this.#list(depth)
      case dictionaryStart: return this.#dictionary(depth)
      default: return this.#string()
    }
  }

  /** As #value, but makes nothing. */
  #skip (depth: number): void {
    this.#checkDepth(depth)
    switch (this.#bytes[this.#position]) {
      case integerStart: this.#integer(); return
      case listStart:
        this.#position++
        while (this.#bytes[this.#position] !== end) this.#skip(depth + 1)
        this.#position++
        return
      case dictionaryStart:
        this.#position++
        while (this.#bytes[this.#position] !== end) {
          this.#skipString()
          this.#skip(depth + 1)
        }
        this.#position++
        return
      default: this.#skipString()
    }
  }

  #checkDepth (depth: number): void {
    if (depth > this.#limits.depth) throw this.#error(`nested deeper than ${this.#limits.depth}`)
  }

  #integer (): number {
    this.#position++
    const isNegative = this.#bytes[this.#position] === minus
    if (isNegative) this.#position++
    const magnitude = this.#digits(end, Number.MAX_SAFE_INTEGER)
    if (isNegative && magnitude === 0) throw this.#error('-0 is no integer')
    return isNegative ? -magnitude : magnitude
  }

  #string (): Buffer {
    const start = this.#skipString()
    return this.#bytes.subarray(start, this.#position)
  }

  /** Where the bytes of the string start; the position is at their end then. */
  #skipString (): number {
    const first = this.#bytes[this.#position]
    if (first === undefined) throw this.#error('the input ends in the middle')
    if (first < zero || first > nine) throw this.#error(`0x${first.toString(16).padStart(2, '0')} does not start a value`)
    const length = this.#digits(colon, Number.MAX_SAFE_INTEGER)
    const left = this.#bytes.length - this.#position
    if (length > left) throw this.#error(`a string of ${length} bytes where ${left} are left`)
    const start = this.#position
    this.#position += length
    return start
  }

  #list (depth: number): Bencoded[] {
    this.#position++
    const items: Bencoded[] = []
    while (this.#bytes[this.#position] !== end) items.push(this.#value(depth + 1))
    this.#position++
    return items
  }

  #dictionary (depth: number): Dictionary {
    this.#position++
    const dictionary: Dictionary = new Map()
    const wanted = this.#wanted[depth]
    while (this.#bytes[this.#position] !== end) {
      const keyBytes = this.#string()
      if (keyBytes.length > this.#limits.keyLength) throw this.#error(`a key of ${keyBytes.length} bytes`)
      const key = keyBytes.toString('latin1')
      if (dictionary.has(key)) throw this.#error('the same key twice in one dictionary')
      if (dictionary.size === this.#limits.keys) throw this.#error(`more than ${this.#limits.keys} keys in one dictionary`)
      const start = this.#position
      if (wanted?.has(key) === false) {
        this.#skip(depth + 1)
        dictionary.set(key, nothing)
        continue
      }
      dictionary.set(key, this.#value(depth + 1))
      if (depth === 0) this.#rawOfOutermost.set(key, this.#bytes.subarray(start, this.#position))
    }
    this.#position++
    return dictionary
  }

  /** Digits up to and including the terminator. Stops at the first digit too many: a long run of digits costs nothing. */
  #digits (terminator: number, max: number): number {
    const start = this.#position
    let number = 0
    for (;;) {
      const byte = this.#bytes[this.#position]
      if (byte === undefined) throw this.#error('the input ends in the middle')
      if (byte === terminator) break
      if (byte < zero || byte > nine) throw this.#error('not a number')
      if (this.#position > start && number === 0) throw this.#error('a number with a leading zero')
      number = number * 10 + (byte - zero)
      if (number > max) throw this.#error('a number that is too large')
      this.#position++
    }
    if (this.#position === start) throw this.#error('a number without digits')
    this.#position++
    return number
  }

  #error (what: string): CodedError {
    return new CodedError('METADATA_INVALID', `not valid bencode at byte ${this.#position}: ${what}`)
  }
}
