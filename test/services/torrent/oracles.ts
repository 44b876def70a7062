import { encode } from '../../../services/torrent/bencode.ts'
import type { Encodable } from '../../../services/torrent/bencode.ts'

/** What the tests compare with. None of these packages has types, so their shapes are written down here. */
export interface OracleTorrent {
  readonly infoHash: string
  readonly name: string
  readonly length: number
  readonly pieceLength: number
  readonly pieces: readonly string[]
  readonly files: ReadonlyArray<{ readonly path: string, readonly name: string, readonly length: number, readonly offset: number }>
  readonly announce: readonly string[]
  readonly urlList: readonly string[]
  readonly peerAddresses?: readonly string[]
  readonly so?: readonly number[]
  readonly private?: boolean
  readonly created?: Date
}

export interface Fixture {
  readonly torrent: Uint8Array
  readonly magnetURI?: string
  readonly content?: Uint8Array
}

type CreateTorrent = (input: readonly Buffer[], options: object, done: (error: Error | null, torrent: Uint8Array) => void) => void

// a name in a variable: TypeScript would look for the types of a literal one
const [parseTorrentName, createTorrentName, fixturesName] = ['parse-torrent', 'create-torrent', 'webtorrent-fixtures']

const parser: { default: (input: Uint8Array | string) => Promise<OracleTorrent> } = await import(parseTorrentName)
export const parseTorrent = parser.default

const creator: { default: CreateTorrent } = await import(createTorrentName)

const fixtureModule: { default: Record<string, Partial<Fixture>> } = await import(fixturesName)

/** The fixture of this name. */
export function fixture (name: string): { torrent: Buffer, magnetURI: string, content: Buffer } {
  const { torrent, magnetURI = '', content = Buffer.alloc(0) } = fixtureModule.default[name] ?? {}
  if (torrent === undefined) throw new Error(`there is no fixture ${name}`)
  return { torrent: Buffer.from(torrent), magnetURI, content: Buffer.from(content) }
}

/** A torrent made by create-torrent from files of these names (`/` makes folders) and bytes. */
export function createTorrent (files: ReadonlyArray<readonly [name: string, bytes: Buffer]>, options: object = {}): Promise<Buffer> {
  const input = files.map(([name, bytes]) => Object.assign(Buffer.from(bytes), { name }))
  return new Promise((resolve, reject) => {
    creator.default(input, { announceList: [], filterJunkFiles: false, ...options }, (error, torrent) => {
      if (error !== null) reject(error)
      else resolve(Buffer.from(torrent))
    })
  })
}

export type Plain = number | string | Uint8Array | readonly Plain[] | { readonly [key: string]: Plain | undefined }

/** Bencodes plain objects; keys that are undefined are left out. */
export function bencoded (value: Plain): Buffer {
  return encode(encodable(value))
}

function encodable (value: Plain): Encodable {
  if (typeof value === 'number' || typeof value === 'string' || value instanceof Uint8Array) return value
  if (isList(value)) return value.map(encodable)
  const map = new Map<string, Encodable>()
  for (const [key, item] of Object.entries(value)) if (item !== undefined) map.set(Buffer.from(key).toString('latin1'), encodable(item))
  return map
}

function isList (value: readonly Plain[] | { readonly [key: string]: Plain | undefined }): value is readonly Plain[] {
  return Array.isArray(value)
}

/** A single-file torrent of 3 pieces of 16 KiB with these changes to its info dictionary and around it. */
export function torrentWith (info: { readonly [key: string]: Plain | undefined } = {}, outside: { readonly [key: string]: Plain | undefined } = {}): Buffer {
  return bencoded({ info: { name: 'movie.mp4', length: 40000, 'piece length': 16384, pieces: Buffer.alloc(60, 7), ...info }, ...outside })
}

/** The same as a multi-file torrent of these files. */
export function torrentOfFiles (files: ReadonlyArray<Plain>, info: { readonly [key: string]: Plain | undefined } = {}): Buffer {
  return torrentWith({ length: undefined, files, ...info })
}

/** The code of the CodedError that this throws, else what happened instead. */
export function codeOf (run: () => unknown): string {
  try {
    run()
    return 'nothing was thrown'
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.name === 'CodedError') return String(error.code)
    return `not coded: ${error instanceof Error ? error.stack : error}`
  }
}

/** Numbers between 0 and 1 that are the same in each run (mulberry32). */
export function seeded (seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}
