import { createHash } from 'node:crypto'
import { open, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { asCoded } from '../errors.ts'
import type { Metadata } from '../torrent/metadata.ts'
import type { PieceIndex } from './geometry.ts'
import { isMissing, syncDirectory } from './piece-files.ts'

/*
 * The file: magic (8 bytes), format version (2), infohash (20), piece count (4), piece length (6), bits, and the
 * SHA-1 of all of that (20). Numbers are big-endian.
 */
const magic = Buffer.from('SSBITMAP', 'latin1')
const formatVersion = 1
const headerLength = magic.length + 2 + 20 + 4 + 6

/**
 * Which pieces of a torrent are verified: a bit for each, the high bit first, spare bits zero, as in the bitfield
 * message of BEP 3. Knows nothing of the bytes: they have to be on the disk before the bits are saved (STATE.md).
 */
export class Completion {
  readonly #torrent: Pick<Metadata, 'infohash' | 'pieceCount' | 'pieceLength'>
  readonly #bits: Uint8Array
  #count = 0

  /** Nothing verified yet, or the given bits, which are taken over. */
  constructor (torrent: Pick<Metadata, 'infohash' | 'pieceCount' | 'pieceLength'>, bits: Uint8Array = new Uint8Array(Math.ceil(torrent.pieceCount / 8))) {
    this.#torrent = torrent
    this.#bits = bits
    const spareBits = bits.length * 8 - torrent.pieceCount
    if (spareBits > 0) bits[bits.length - 1] = (bits.at(-1) ?? 0) >>> spareBits << spareBits
    for (let piece = 0; piece < torrent.pieceCount; piece++) if (this.#isSet(piece)) this.#count++
  }

  /** How many pieces are verified. */
  get count (): number {
    return this.#count
  }

  has (piece: PieceIndex): boolean {
    return this.#isSet(piece)
  }

  /** false when it was there already. */
  add (piece: PieceIndex): boolean {
    if (this.#isSet(piece)) return false
    this.#set(piece, true)
    this.#count++
    return true
  }

  /** false when it was not there. */
  remove (piece: PieceIndex): boolean {
    if (!this.#isSet(piece)) return false
    this.#set(piece, false)
    this.#count--
    return true
  }

  /** A copy of the bits. */
  bitfield (): Uint8Array {
    return this.#bits.slice()
  }

  copy (): Completion {
    return new Completion(this.#torrent, this.bitfield())
  }

  /**
   * What save() wrote for this torrent; null when the file is missing, cut off, damaged, or of another torrent.
   * Throws STORE_FAILED when it cannot be read.
   */
  static async load (path: string, torrent: Pick<Metadata, 'infohash' | 'pieceCount' | 'pieceLength'>): Promise<Completion | null> {
    let file: Buffer
    try {
      file = await readFile(path)
    } catch (error) {
      if (isMissing(error)) return null
      throw asCoded(error, 'STORE_FAILED')
    }
    const bits = file.subarray(headerLength, headerLength + Math.ceil(torrent.pieceCount / 8))
    // A file that is equal to what would be written for these bits is of this torrent, whole, and of this format.
    const completion = new Completion(torrent, Uint8Array.from(bits))
    return file.equals(completion.#encode()) ? completion : null
  }

  /**
   * Replaces the file with the bits of this moment: a crash leaves the old one or the new one.
   * Throws STORE_FAILED; then the old one is still there.
   */
  async save (path: string): Promise<void> {
    const bytes = this.#encode()
    const temporary = `${path}.tmp`
    try {
      const handle = await open(temporary, 'w')
      try {
        await handle.writeFile(bytes)
        await handle.sync()
      } finally {
        await handle.close()
      }
      await rename(temporary, path)
      await syncDirectory(dirname(path))
    } catch (error) {
      throw asCoded(error, 'STORE_FAILED')
    }
  }

  #encode (): Buffer {
    const header = Buffer.alloc(headerLength)
    let offset = magic.copy(header)
    offset = header.writeUInt16BE(formatVersion, offset)
    offset += Buffer.from(this.#torrent.infohash, 'hex').copy(header, offset)
    offset = header.writeUInt32BE(this.#torrent.pieceCount, offset)
    header.writeUIntBE(this.#torrent.pieceLength, offset, 6)
    const body = Buffer.concat([header, this.#bits])
    return Buffer.concat([body, createHash('sha1').update(body).digest()])
  }

  #isSet (piece: number): boolean {
    return ((this.#bits[piece >>> 3] ?? 0) & (0x80 >>> (piece & 7))) !== 0
  }

  #set (piece: number, isSet: boolean): void {
    const byte = this.#bits[piece >>> 3] ?? 0
    const bit = 0x80 >>> (piece & 7)
    this.#bits[piece >>> 3] = isSet ? byte | bit : byte & ~bit
  }
}
