import { createReadStream } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { isIPv4 } from 'node:net'
import { createInterface } from 'node:readline'
import { createGunzip } from 'node:zlib'
import { canonicalAddress } from '../download/address-guard.ts'

/** Addresses from `from` to `to`, both included. */
export type AddressRange =
  | { readonly isV6: false, readonly from: number, readonly to: number }
  | { readonly isV6: true, readonly from: bigint, readonly to: bigint }

/** Above this level a DAT list names those who are let through. */
const LAST_BLOCKED_LEVEL = 127
const lastV6 = 2n ** 128n - 1n

/**
 * The range that a line of a blocklist names. The formats that are in use, which a file may mix: P2P or PeerGuardian
 * (`name:1.2.3.4-1.2.3.5`), DAT (`001.002.003.004 - 001.002.003.005 , 100 , name`), CIDR, ranges, single addresses.
 * null: the line names none (empty, a comment, somebody let through); 'bad': it cannot be understood.
 */
export function parseBlocklistLine (line: string): AddressRange | null | 'bad' {
  const text = line.replace(/^\uFEFF/, '').trim()
  if (text === '' || /^(?:#|;|\/\/)/.test(text)) return null
  const [, datFrom, datTo, level] = /^([\d.]+)\s*-\s*([\d.]+)\s*,\s*(\d+)\s*(?:,|$)/.exec(text) ?? []
  if (datFrom !== undefined && datTo !== undefined) return Number(level) > LAST_BLOCKED_LEVEL ? null : rangeOf(datFrom, datTo)
  // What follows an address is a remark, what stands before a colon the name of the range.
  const [, range = ''] = /^([^#;]*?)\s*(?:\s[#;].*)?$/.exec(text) ?? []
  const [, from, to] = /^(?:.*:)?\s*(\d+\.\d+\.\d+\.\d+)\s*-\s*(\d+\.\d+\.\d+\.\d+)$/.exec(text) ?? /^([\d.]+|[\da-f:.]+)\s*-\s*([\d.]+|[\da-f:.]+)$/i.exec(range) ?? []
  if (from !== undefined && to !== undefined) return rangeOf(from, to)
  const [, address = '', bits] = /^([\d.]+|[\da-f:.]+)(?:\/(\d{1,3}))?$/i.exec(range) ?? []
  return bits === undefined ? rangeOf(address, address) : subnetOf(address, Number(bits))
}

function rangeOf (first: string, last: string): AddressRange | 'bad' {
  const [a, b] = [literal(first), literal(last)]
  if (a === null || b === null || isIPv4(a) !== isIPv4(b)) return 'bad'
  const range = isIPv4(a) ? { isV6: false, from: v4(a), to: v4(b) } as const : { isV6: true, from: v6(a), to: v6(b) } as const
  return range.from <= range.to ? range : 'bad'
}

function subnetOf (text: string, bits: number): AddressRange | 'bad' {
  const address = literal(text)
  if (address === null || bits > (isIPv4(address) ? 32 : 128)) return 'bad'
  if (isIPv4(address)) {
    const size = 2 ** (32 - bits)
    const from = Math.floor(v4(address) / size) * size
    return { isV6: false, from, to: from + size - 1 }
  }
  const mask = lastV6 >> BigInt(bits)
  return { isV6: true, from: v6(address) & ~mask, to: v6(address) | mask }
}

function literal (text: string): string | null {
  // Lists write 001.002.003.004, and mean decimals.
  return canonicalAddress(text.includes(':') ? text : text.replace(/\b0+(?=\d)/g, ''))
}

function v4 (address: string): number {
  const [a, b, c, d] = address.split('.')
  return ((Number(a) * 256 + Number(b)) * 256 + Number(c)) * 256 + Number(d)
}

/** @param address as canonicalAddress() gives it. */
function v6 (address: string): bigint {
  return address.split(':').reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n)
}

/** Sorted, none touching another, so that one search tells whether an address is among them. */
export class Blocklist {
  /** Ranges that the file names. */
  readonly rangeCount: number
  /** Lines that could not be understood, and the first of them, numbered from 1. */
  readonly badLines: number
  readonly firstBadLine: number | null
  readonly #v4: Uint32Array
  readonly #v6: readonly bigint[]

  private constructor (v4: readonly number[], v6: ReadonlyArray<readonly [bigint, bigint]>, badLines: number, firstBadLine: number | null) {
    this.rangeCount = v4.length / 2 + v6.length
    this.badLines = badLines
    this.firstBadLine = firstBadLine
    this.#v4 = merged(v4)
    const six: bigint[] = []
    for (const [from, to] of v6.toSorted((a, b) => a[0] < b[0] ? -1 : 1)) {
      const last = six.at(-1)
      if (last !== undefined && from <= last) six[six.length - 1] = to > last ? to : last
      else six.push(from, to)
    }
    this.#v6 = six
  }

  /** Blocks nobody. */
  static readonly empty = new Blocklist([], [], 0, null)

  /** Reads a list, compressed by gzip or not. Throws what the file system says, and where it is no list at all. */
  static async read (path: string): Promise<Blocklist> {
    const v4: number[] = []
    const v6: Array<readonly [bigint, bigint]> = []
    let [lineNumber, badLines] = [0, 0]
    let firstBadLine: number | null = null
    for await (const line of linesOf(path, await isGzip(path))) {
      lineNumber++
      const range = parseBlocklistLine(line)
      if (range === 'bad') {
        badLines++
        firstBadLine ??= lineNumber
      } else if (range !== null && range.isV6) {
        v6.push([range.from, range.to])
      } else if (range !== null) {
        v4.push(range.from, range.to)
      }
    }
    if (badLines > 0 && v4.length + v6.length === 0) throw new Error(`${path} is no blocklist: not one of its ${badLines} lines names an address`)
    return new Blocklist(v4, v6, badLines, firstBadLine)
  }

  /** @param ip as canonicalAddress() gives it. */
  has (ip: string): boolean {
    return isIPv4(ip) ? isWithin(this.#v4, v4(ip)) : this.#v6.length > 0 && isWithin(this.#v6, v6(ip))
  }
}

/** Starts and ends in turn, in order. */
function merged (ranges: readonly number[]): Uint32Array {
  const starts = Uint32Array.from({ length: ranges.length / 2 }, (_, i) => i).sort((a, b) => (ranges[2 * a] ?? 0) - (ranges[2 * b] ?? 0))
  const found: number[] = []
  for (const start of starts) {
    const [from, to, last] = [ranges[2 * start] ?? 0, ranges[2 * start + 1] ?? 0, found.at(-1)]
    if (last !== undefined && from <= last) found[found.length - 1] = Math.max(last, to)
    else found.push(from, to)
  }
  return Uint32Array.from(found)
}

/** How many of the starts and ends are not above the value? Within a range it is an odd number, or the value is an end. */
function isWithin<T extends number | bigint> (ends: { readonly length: number, readonly [index: number]: T }, value: T): boolean {
  let [low, high] = [0, ends.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((ends[middle] ?? value) <= value) low = middle + 1
    else high = middle
  }
  return low % 2 === 1 || (low > 0 && ends[low - 1] === value)
}

async function isGzip (path: string): Promise<boolean> {
  const handle = await open(path)
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(2), 0, 2, 0)
    return bytesRead === 2 && buffer.readUInt16BE() === 0x1f8b
  } finally {
    await handle.close()
  }
}

async function * linesOf (path: string, isCompressed: boolean): AsyncGenerator<string, void, void> {
  const file = createReadStream(path)
  const input = isCompressed ? file.pipe(createGunzip()) : file
  // An error of the file does not pass through the pipe by itself.
  file.on('error', (error) => { input.destroy(error) })
  const failed = new Promise<never>((_resolve, reject) => { input.on('error', reject) })
  failed.catch(() => {})
  const lines = createInterface({ input, crlfDelay: Infinity })
  try {
    yield * lines
    // The end of the lines may be the end of what could be read.
    if (input.errored !== null) await failed
  } finally {
    lines.close()
    file.destroy()
    input.destroy()
  }
}

/** What tells one content of a file from the next; empty: there is no file. */
export async function stampOf (path: string): Promise<string> {
  const found = await stat(path).catch(() => null)
  return found === null ? '' : `${found.ino} ${found.size} ${found.mtimeMs}`
}
