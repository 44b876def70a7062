import { open, readFile, rename, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { asCoded } from '../errors.ts'
import type { Metadata } from '../torrent/metadata.ts'
import { Completion } from './completion.ts'
import type { PieceIndex } from './geometry.ts'
import { isMissing, isNoSpace, syncDirectory, writeFully } from './piece-files.ts'

type Torrent = Pick<Metadata, 'infohash' | 'pieceCount' | 'pieceLength'>

/* The file: magic (8 bytes), infohash (20), piece count (4), piece length (6), bits. Numbers are big-endian. */
const magic = Buffer.from('SSCLAIMS', 'latin1')
const headerLength = magic.length + 20 + 4 + 6

/**
 * Which pieces have their bytes in the files, on the disk or on their way to it. Kept in `claimed`, each bit at once and
 * without a sync: a process that is killed leaves what the system holds in memory, so the next one finds all that was
 * verified, however long before the last save. Nobody believes a claim: a hash decides.
 */
export class Claims {
  readonly #directory: string
  readonly #torrent: Torrent
  readonly #bits: Completion
  /** null: there is no file yet, for there is nothing to say or the disk is full. */
  #handle: FileHandle | null = null
  #firstDirty = Infinity
  #lastDirty = -1
  #writing: Promise<void> = Promise.resolve()
  #next: Promise<void> | null = null

  private constructor (directory: string, torrent: Torrent, bits: Completion) {
    this.#directory = directory
    this.#torrent = torrent
    this.#bits = bits
  }

  /**
   * Begins anew with these claims, which are taken over. `hasFiles`: a record is needed, if only to say that nothing is
   * claimed of them. `isPrecious`: some claims are in no other bitmap, so they are brought to the disk. A full disk keeps
   * the record of the last life. Throws STORE_FAILED.
   */
  static async begin (directory: string, torrent: Torrent, bits: Completion, { hasFiles, isPrecious }: { hasFiles: boolean, isPrecious: boolean }): Promise<Claims> {
    const claims = new Claims(directory, torrent, bits)
    try {
      if (hasFiles) await claims.#create({ isPrecious })
      else await rm(claims.#path, { force: true })
    } catch (error) {
      // It costs a second download, after a crash only: no reason not to play.
      if (!isNoSpace(error)) throw asCoded(error, 'STORE_FAILED')
    }
    return claims
  }

  /** What the last life claimed; null when there is nothing, or something of another torrent. Throws STORE_FAILED. */
  static async load (directory: string, torrent: Torrent): Promise<Completion | null> {
    try {
      const file = await readFile(join(directory, 'claimed'))
      if (file.length !== headerLength + Math.ceil(torrent.pieceCount / 8) || !file.subarray(0, headerLength).equals(headerOf(torrent))) return null
      return new Completion(torrent, Uint8Array.from(file.subarray(headerLength)))
    } catch (error) {
      if (isMissing(error)) return null
      throw asCoded(error, 'STORE_FAILED')
    }
  }

  /** The piece's bytes are in the files, or are not worth a look any more. */
  set (piece: PieceIndex, isClaimed: boolean): void {
    if (!(isClaimed ? this.#bits.add(piece) : this.#bits.remove(piece))) return
    const byte = piece >>> 3
    this.#firstDirty = Math.min(this.#firstDirty, byte)
    this.#lastDirty = Math.max(this.#lastDirty, byte)
    this.#writeSoon()
  }

  /** Makes the record, before there are files that nothing is claimed of. Never rejects. */
  ensure (): Promise<void> {
    if (this.#handle === null) this.#writeSoon()
    return this.#writing
  }

  /** Resolves when all changes up to now survive the end of the process. Never rejects. */
  settled (): Promise<void> {
    return this.#writing
  }

  async close (): Promise<void> {
    await this.#writing
    await this.#handle?.close()
  }

  get #path (): string {
    return join(this.#directory, 'claimed')
  }

  async #create ({ isPrecious }: { isPrecious: boolean }): Promise<void> {
    const temporary = `${this.#path}.tmp`
    const handle = await open(temporary, 'w')
    try {
      await writeFully(handle, Buffer.concat([headerOf(this.#torrent), this.#bits.bitfield()]), 0)
      if (isPrecious) await handle.sync()
      await rename(temporary, this.#path)
      if (isPrecious) await syncDirectory(this.#directory)
      this.#handle = handle
    } catch (error) {
      await handle.close()
      await rm(temporary, { force: true })
      throw error
    }
  }

  #writeSoon (): void {
    // One that has not begun yet takes every change along.
    this.#next ??= this.#writing.then(() => {
      this.#next = null
      return this.#write()
    })
    this.#writing = this.#next
  }

  async #write (): Promise<void> {
    const [first, last] = [this.#firstDirty, this.#lastDirty]
    this.#firstDirty = Infinity
    this.#lastDirty = -1
    try {
      if (this.#handle === null) await this.#create({ isPrecious: false })
      else await writeFully(this.#handle, this.#bits.bitfield().subarray(first, last + 1), headerLength + first)
    } catch {
      // A claim that is lost costs a second download, after a crash only.
    }
  }
}

function headerOf ({ infohash, pieceCount, pieceLength }: Torrent): Buffer {
  const header = Buffer.alloc(headerLength)
  let offset = magic.copy(header)
  offset += Buffer.from(infohash, 'hex').copy(header, offset)
  offset = header.writeUInt32BE(pieceCount, offset)
  header.writeUIntBE(pieceLength, offset, 6)
  return header
}
