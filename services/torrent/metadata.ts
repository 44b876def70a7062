import { createHash } from 'node:crypto'
import { CodedError } from '../errors.ts'
import { decode, encode } from './bencode.ts'
import { httpUrls, trackerUrls } from './urls.ts'
import type { Bencoded, Dictionary, WantedKeys } from './bencode.ts'

/** One file of a torrent (BEP 3 `files`, BEP 47 `attr`). */
export interface TorrentFile {
  /** Zero-based, in the torrent's own order, padding files included. */
  readonly index: number
  /** Path components exactly as the torrent has them: hostile until `safeFileName` made a name of them. */
  readonly components: readonly string[]
  /** The last component. */
  readonly name: string
  /** The components joined by `/`, for people. */
  readonly path: string
  readonly lengthBytes: number
  /** Where the file starts in the torrent's bytes. */
  readonly offset: number
  /** BEP 47 padding: zeros, never fetched, never offered. */
  readonly isPadding: boolean
}

/** A parsed and checked `.torrent` (BEP 3): the info dictionary hashes to `infohash`. */
export interface Metadata {
  readonly infohash: string
  readonly name: string
  /** The info dictionary has `files`: web seed URLs are folders (BEP 19), even with one file in them. */
  readonly isMultiFile: boolean
  readonly isPrivate: boolean
  readonly lengthBytes: number
  readonly pieceLength: number
  readonly pieceCount: number
  readonly files: readonly TorrentFile[]
  readonly trackers: readonly string[]
  /** BEP 19 `url-list`, http(s) only. */
  readonly webSeeds: readonly string[]
  /** BEP 17 `httpseeds`, http(s) only. */
  readonly httpSeeds: readonly string[]
  /** `creation date`, where the torrent has one. */
  readonly createdAt: Date | null
  /** The whole `.torrent`, as kept on disk. */
  readonly torrent: Buffer
  /** SHA-1 of the piece, 20 bytes. */
  hashOf (piece: number): Buffer
}

/** A `.torrent` larger than this is refused, whoever sent it. */
export const maxTorrentBytes = 10 * 1024 * 1024

const maxFiles = 100_000
const maxTrackers = 50
const maxSeeds = 50

/** WebTorrent assembles a piece in memory, so a larger one could take the process down. */
const maxPieceLength = 64 * 1024 * 1024

/** Smaller pieces make more bookkeeping than bytes. A torrent of a single piece may be as small as it likes. */
const minPieceLength = 1024

/** Of a name, and of a file's whole path; file systems take 255 and 4096. */
const maxPathLength = 4096

/** What is read of a `.torrent`: its own keys, those of the info dictionary, and those of a file in its list. */
const readKeys: WantedKeys = [
  new Set(['announce', 'announce-list', 'creation date', 'httpseeds', 'info', 'url-list']),
  new Set(['files', 'length', 'meta version', 'name', 'name.utf-8', 'piece length', 'pieces', 'private']),
  undefined,
  new Set(['attr', 'length', 'path', 'path.utf-8'])
]

const hashLength = 20
const lastSecondOfYear9999 = 253_402_300_799

/**
 * Parses a `.torrent` (BEP 3, 12, 17, 19, 27, 47; of a BEP 52 hybrid the v1 part) and checks it against the infohash
 * that was asked for. The hash is taken over the raw bytes of the info dictionary, never over a re-encoding. Junk in
 * optional fields is skipped; anything that would make the bytes of the torrent ambiguous is refused. The buffer is
 * kept, not copied.
 *
 * @param expectedInfohash 40 lower-case hex digits; without it any torrent will do.
 *
 * Throws CodedError METADATA_INVALID (says what is wrong), METADATA_MISMATCH (another torrent than the one asked for) or
 * METADATA_V2_ONLY.
 */
export function parseMetadata (torrent: Buffer, expectedInfohash?: string): Metadata {
  if (torrent.length > maxTorrentBytes) throw invalid(`it has ${torrent.length} bytes, more than ${maxTorrentBytes}`)
  const { value: outermost, rawOf } = decode(torrent, {}, readKeys)
  if (!(outermost instanceof Map)) throw invalid('it is not a dictionary')
  const info = outermost.get('info')
  const rawInfo = rawOf('info')
  if (!(info instanceof Map) || rawInfo === null) throw invalid('it has no info dictionary')

  const infohash = sha1(rawInfo)
  if (isV2Only(info)) throw v2OnlyOrMismatch(rawInfo, infohash, expectedInfohash)
  if (expectedInfohash !== undefined && expectedInfohash !== infohash) throw mismatch(infohash, expectedInfohash)

  const name = textOf(info, 'name')
  if (name === null) throw invalid('info.name is missing')
  if (Buffer.byteLength(name) > maxPathLength) throw invalid(`info.name has more than ${maxPathLength} bytes`)
  const isMultiFile = info.has('files')
  const files = isMultiFile ? filesOf(info.get('files')) : [fileAt(0, [name], lengthIn(info, 'info.length'), 0, false)]
  const last = files.at(-1)
  const lengthBytes = last === undefined ? 0 : last.offset + last.lengthBytes
  if (lengthBytes === 0) throw invalid('its files hold no bytes')
  if (files.every(({ isPadding }) => isPadding)) throw invalid('it holds nothing but padding')
  const { pieceLength, pieces } = piecesOf(info, lengthBytes)
  const pieceCount = pieces.length / hashLength

  return {
    infohash,
    name,
    isMultiFile,
    isPrivate: (info.get('private') ?? 0) !== 0,
    lengthBytes,
    pieceLength,
    pieceCount,
    files,
    trackers: trackerUrls(textsIn(outermost.get('announce'), outermost.get('announce-list')), maxTrackers),
    webSeeds: httpUrls(textsIn(outermost.get('url-list')), maxSeeds),
    httpSeeds: httpUrls(textsIn(outermost.get('httpseeds')), maxSeeds),
    createdAt: dateOf(outermost.get('creation date')),
    torrent,
    hashOf (piece: number): Buffer {
      if (!Number.isInteger(piece) || piece < 0 || piece >= pieceCount) throw new RangeError(`piece ${piece} is not one of ${pieceCount}`)
      return pieces.subarray(piece * hashLength, (piece + 1) * hashLength)
    }
  }
}

/**
 * Wraps a raw info dictionary, as peers send it (BEP 9), byte-exactly into a `.torrent` with these trackers, and parses
 * that. Throws as `parseMetadata` does.
 *
 * @param infohash 40 lower-case hex digits.
 */
export function metadataFromInfo (info: Buffer, infohash: string, trackers: readonly string[]): Metadata {
  // before wrapping: bytes after the dictionary's end would become keys of the torrent around it
  const hash = sha1(info)
  if (hash !== infohash && truncatedSha256(info) !== infohash) throw mismatch(hash, infohash)
  const announced = trackerUrls(trackers, maxTrackers)
  const [first] = announced
  const head = encode(first === undefined ? new Map() : new Map<string, string | string[][]>([['announce', first], ['announce-list', announced.map(url => [url])]]))
  return parseMetadata(Buffer.concat([head.subarray(0, -1), encode('info'), info, Buffer.from('e')]), infohash)
}

/** BEP 52: a v2 torrent that is no hybrid has neither v1 hashes nor v1 files. */
function isV2Only (info: Dictionary): boolean {
  return (info.get('meta version') === 2 || info.has('file tree')) && !info.has('pieces')
}

/** Under a v1 infohash a v2 torrent is another torrent; it is named for what it is when it is the one asked for. */
function v2OnlyOrMismatch (rawInfo: Buffer, infohash: string, expected: string | undefined): CodedError {
  if (expected !== undefined && expected !== infohash && expected !== truncatedSha256(rawInfo)) return mismatch(infohash, expected)
  return new CodedError('METADATA_V2_ONLY', 'this is a BitTorrent v2 torrent (BEP 52) without a v1 part; only v1 and hybrid torrents can be streamed')
}

function filesOf (list: Bencoded | undefined): TorrentFile[] {
  if (!Array.isArray(list) || list.length === 0) throw invalid('info.files is not a list of files')
  if (list.length > maxFiles) throw invalid(`it has ${list.length} files, more than ${maxFiles}`)
  const files: TorrentFile[] = []
  let offset = 0
  for (const [index, entry] of list.entries()) {
    if (!(entry instanceof Map)) throw invalid(`info.files[${index}] is not a dictionary`)
    const components = componentsOf(entry, index)
    const attributes = entry.get('attr')
    const has = (flag: string): boolean => attributes instanceof Buffer && attributes.includes(flag)
    // BEP 47: a symlink has no bytes of its own and may come without a length
    const length = has('l') && !entry.has('length') ? 0 : lengthIn(entry, `info.files[${index}].length`)
    if (has('l') && length !== 0) throw invalid(`info.files[${index}] is a symlink with bytes of its own`)
    files.push(fileAt(index, components, length, offset, has('p') || isPaddingPath(components)))
    offset += length
    if (!Number.isSafeInteger(offset)) throw invalid('its files are too long together')
  }
  return files
}

function fileAt (index: number, components: readonly string[], lengthBytes: number, offset: number, isPadding: boolean): TorrentFile {
  return { index, components, name: components.at(-1) ?? '', path: components.join('/'), lengthBytes, offset, isPadding }
}

function componentsOf (file: Dictionary, index: number): string[] {
  const path = file.get('path.utf-8') ?? file.get('path')
  if (!Array.isArray(path) || path.length === 0) throw invalid(`info.files[${index}].path is not a list of names`)
  let lengthBytes = 0
  return path.map(component => {
    if (!(component instanceof Buffer)) throw invalid(`info.files[${index}].path holds something that is no name`)
    lengthBytes += component.length + 1
    if (lengthBytes > maxPathLength) throw invalid(`info.files[${index}].path has more than ${maxPathLength} bytes`)
    return component.toString()
  })
}

/** Tools that predate BEP 47's `attr`, and BitComet, mark padding by its name alone. */
function isPaddingPath (components: readonly string[]): boolean {
  return components[0] === '.pad' || components[0] === '.____padding_file' ||
    /^_____padding_file_\d+_/.test(components.at(-1) ?? '')
}

function piecesOf (info: Dictionary, lengthBytes: number): { pieceLength: number, pieces: Buffer } {
  const pieceLength = info.get('piece length')
  if (typeof pieceLength !== 'number' || pieceLength < 1) throw invalid('info["piece length"] is not a positive number')
  if (pieceLength > maxPieceLength) throw invalid(`its pieces of ${pieceLength} bytes are larger than ${maxPieceLength}`)
  if (pieceLength < minPieceLength && lengthBytes > pieceLength) throw invalid(`its pieces of ${pieceLength} bytes are smaller than ${minPieceLength}`)
  const pieces = info.get('pieces')
  if (!(pieces instanceof Buffer)) throw invalid('info.pieces is missing')
  const expected = Math.ceil(lengthBytes / pieceLength)
  if (pieces.length !== expected * hashLength) {
    throw invalid(`info.pieces has ${pieces.length} bytes; ${lengthBytes} bytes in pieces of ${pieceLength} need ${expected} hashes of ${hashLength}`)
  }
  return { pieceLength, pieces }
}

function lengthIn (dictionary: Dictionary, what: string): number {
  const length = dictionary.get('length')
  if (typeof length !== 'number' || length < 0) throw invalid(`${what} is not a length`)
  return length
}

/** The text under `key`; its `.utf-8` twin, which older tools write beside a local encoding, comes first. */
function textOf (dictionary: Dictionary, key: string): string | null {
  const bytes = dictionary.get(`${key}.utf-8`) ?? dictionary.get(key)
  return bytes instanceof Buffer ? bytes.toString() : null
}

/** The strings in these values and in lists inside them, two levels deep as in `announce-list` (BEP 12). */
function * textsIn (...values: ReadonlyArray<Bencoded | undefined>): Generator<string> {
  for (const value of values) {
    for (const tier of Array.isArray(value) ? value : [value]) {
      for (const text of Array.isArray(tier) ? tier : [tier]) {
        if (text instanceof Buffer) yield text.toString()
      }
    }
  }
}

/** Seconds (BEP 3); early versions of create-torrent wrote milliseconds. */
function dateOf (time: Bencoded | undefined): Date | null {
  if (typeof time !== 'number' || time <= 0) return null
  if (time <= lastSecondOfYear9999) return new Date(time * 1000)
  return time <= lastSecondOfYear9999 * 1000 ? new Date(time) : null
}

function sha1 (bytes: Buffer): string {
  return createHash('sha1').update(bytes).digest('hex')
}

/** How BEP 52 shortens a v2 infohash where only 20 bytes fit. */
function truncatedSha256 (bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 40)
}

function invalid (what: string): CodedError {
  return new CodedError('METADATA_INVALID', `this .torrent cannot be used: ${what}`)
}

function mismatch (actual: string, expected: string): CodedError {
  return new CodedError('METADATA_MISMATCH', `this .torrent is ${actual}, not ${expected}`)
}
