import { CodedError } from '../errors.ts'
import { parseInfohash } from './infohash.ts'
import { parseMagnet } from './magnet.ts'
import { parseMetadata } from './metadata.ts'
import type { Metadata } from './metadata.ts'
import type { Hints } from './torrent.ts'

/** A torrent that somebody wants to add, and what came with it. */
export interface Addition {
  readonly infohash: string
  readonly hints: Hints
  /** Of a `.torrent` that was given: parsed and checked. */
  readonly metadata: Metadata | null
}

/** As it was given, by whatever way; what is absent may also be empty. */
export interface GivenTorrent {
  readonly magnetUri?: string | undefined
  readonly infoHash?: string | undefined
  readonly name?: string | undefined
  readonly torrent?: Uint8Array | undefined
}

/** So many files of a magnet's `so` (BEP 53) are downloaded; who wants more adds the rest in another turn. */
const maxSelected = 1000

/** Of every `.torrent`: a bencoded dictionary (BEP 3). */
const firstByte = 'd'.charCodeAt(0)

/**
 * What to add: a `.torrent` wins over a magnet, a magnet over an infohash. null: nothing was given. Throws
 * METADATA_INVALID, METADATA_V2_ONLY, MAGNET_INVALID or INFOHASH_INVALID, with what is wrong and what to do.
 */
export function additionOf ({ magnetUri, infoHash, name, torrent }: GivenTorrent): Addition | null {
  const named = name === undefined || name === '' ? null : name
  if (torrent !== undefined) return additionOfTorrent(torrent, named)
  if (magnetUri !== undefined && magnetUri !== '') return additionOfMagnet(magnetUri, named)
  if (infoHash === undefined || infoHash === '') return null
  const infohash = parseInfohash(infoHash)
  if (infohash === null) throw new CodedError('INFOHASH_INVALID', `${JSON.stringify(infoHash.slice(0, 80))} is not an infohash: give 40 hex digits or 32 base32 characters`)
  return { infohash, hints: { name: named }, metadata: null }
}

function additionOfMagnet (magnetUri: string, name: string | null): Addition {
  const magnet = parseMagnet(magnetUri)
  const { length } = magnet.selectOnly
  if (length > maxSelected) throw new CodedError('MAGNET_INVALID', `this magnet selects ${length} files (so=): select at most ${maxSelected}, or leave it out`)
  return { infohash: magnet.infohash, hints: { ...magnet, name: name ?? magnet.name }, metadata: null }
}

function additionOfTorrent (torrent: Uint8Array, name: string | null): Addition {
  // A copy of its own: parseMetadata keeps the buffer, which may be a part of a whole request.
  const bytes = Buffer.from(torrent)
  if (bytes[0] !== firstByte) throw new CodedError('METADATA_INVALID', 'this is no .torrent: give the file itself, as a torrent site or another client saves it')
  const metadata = parseMetadata(bytes)
  const { infohash, trackers, webSeeds } = metadata
  return { infohash, hints: { name: name ?? metadata.name, trackers, webSeeds }, metadata }
}
