import { randomUUID } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { maxChunkBytes, takeChunk } from '../chunk-pool.ts'
import { CodedError, asCoded } from '../errors.ts'
import type { FileSpan, Geometry, PieceIndex } from './geometry.ts'
import { HandlePool } from './handle-pool.ts'

/** Where the bytes of a torrent lie at one moment. Files are added, move, or are let go, under a new version. */
export interface Layout {
  readonly version: number
  /** Whole pieces that touch an unwanted file, one file for each, named by its number. */
  readonly edgeDirectory: string
  /** The wanted files. They exist, and each has its full length. */
  readonly files: ReadonlyArray<readonly [fileIndex: number, path: string]>
}

/**
 * Does the file lie outside the store's own folder? Then it is whole, and recorded with the time of its last write:
 * whoever writes into it, be it the same bytes, makes it a file of unknown content.
 */
function isPromoted (layout: Layout, path: string): boolean {
  return dirname(path) !== dirname(layout.edgeDirectory)
}

/** The file of an edge piece. */
export function edgePath (layout: Layout, piece: PieceIndex): string {
  return join(layout.edgeDirectory, String(piece))
}

/**
 * Reads and writes pieces by position, in the files that a layout names. Knows nothing of what is verified: see
 * STATE.md for who may write and read when. Any number of calls may run at the same time.
 *
 * Every failure of the disk is thrown as STORE_FAILED with the system's error as `cause`; after close() everything
 * throws STORE_CLOSED.
 */
export class PieceFiles {
  readonly #geometry: Geometry
  readonly #isPadding: (fileIndex: number) => boolean
  readonly #pool: HandlePool
  readonly #dirtyFiles = new Set<number>()
  readonly #writing = new Set<Promise<unknown>>()
  /** Files that nobody writes any more, as they were then. */
  readonly #sealed = new Map<number, string>()
  #hasDirtyEdges = false
  #layout: Layout
  #paths: ReadonlyMap<number, string>

  /** `openFiles`: how many files may be open at a time. */
  constructor (geometry: Geometry, layout: Layout, isPadding: (fileIndex: number) => boolean, { openFiles = 64 } = {}) {
    this.#geometry = geometry
    this.#isPadding = isPadding
    this.#pool = new HandlePool(openFiles)
    this.#layout = layout
    this.#paths = new Map(layout.files)
  }

  get layout (): Layout {
    return this.#layout
  }

  /** Files that are open now. */
  get openFiles (): number {
    return this.#pool.size
  }

  /** Goes on under a newer layout; one that is not newer is ignored. What is under way ends in the files it began with. */
  setLayout (layout: Layout): void {
    if (layout.version <= this.#layout.version) return
    this.#layout = layout
    this.#paths = new Map(layout.files)
    const alive = new Set(this.#paths.values())
    for (const path of this.#pool.paths()) if (!alive.has(path)) this.#pool.retire(path)
  }

  /**
   * Does the piece touch a file that is neither wanted nor padding, so that it lives in an edge file too? `besides`: a
   * file that counts as wanted already.
   */
  isEdge (piece: PieceIndex, besides?: number): boolean {
    return this.#touchesUnwanted(this.#geometry.spansOf(piece).filter(({ fileIndex }) => fileIndex !== besides), this.#paths)
  }

  /** Does the piece touch no wanted file, so that it lives in an edge file only? Such pieces are kept for a while, not for good. */
  isLoose (piece: PieceIndex): boolean {
    const spans = this.#geometry.spansOf(piece)
    return this.#touchesUnwanted(spans, this.#paths) && !touchesWanted(spans, this.#paths)
  }

  /**
   * Writes a whole piece: into its wanted files but for promoted ones, which have their part, and into an edge file when
   * it touches an unwanted one. Never creates a data file; a missing one means that the layout is stale, and is thrown as STORE_FAILED like every failure.
   * Resolves with the version of the layout it was written under, which the store has to be told.
   */
  writePiece (piece: PieceIndex, bytes: Uint8Array): Promise<number> {
    return this.#whileWriting(this.#writePiece(piece, bytes))
  }

  async #writePiece (piece: PieceIndex, bytes: Uint8Array): Promise<number> {
    if (bytes.length !== this.#geometry.lengthOf(piece)) {
      throw new CodedError('STORE_FAILED', `piece ${piece} has ${this.#geometry.lengthOf(piece)} bytes, not ${bytes.length}`)
    }
    const layout = this.#layout
    const paths = this.#paths
    const spans = this.#geometry.spansOf(piece)
    try {
      for (const span of spans) {
        const path = paths.get(span.fileIndex)
        if (path !== undefined && !isPromoted(layout, path)) await this.#writeSpan(span, bytes)
      }
      if (this.#touchesUnwanted(spans, paths)) await this.#writeEdge(edgePath(layout, piece), bytes, { isLoose: !touchesWanted(spans, paths) })
    } catch (error) {
      throw asCoded(error, 'STORE_FAILED')
    }
    return layout.version
  }

  /** Writes the part of a piece that lies in one wanted file. `bytes` is the whole piece. */
  writeSpan (span: FileSpan, bytes: Uint8Array): Promise<void> {
    return this.#whileWriting(this.#writeSpan(span, bytes))
  }

  /** Resolves when every write that is under way has ended: from then on all that is written knows the layout of now. */
  async settled (): Promise<void> {
    await Promise.allSettled([...this.#writing])
  }

  async #whileWriting<T> (work: Promise<T>): Promise<T> {
    this.#writing.add(work)
    try {
      return await work
    } finally {
      this.#writing.delete(work)
    }
  }

  async #writeSpan (span: FileSpan, bytes: Uint8Array): Promise<void> {
    try {
      await this.#withFile(span.fileIndex, handle =>
        writeFully(handle, bytes.subarray(span.pieceOffset, span.pieceOffset + span.length), span.fileOffset))
    } catch (error) {
      throw asCoded(error, 'STORE_FAILED')
    } finally {
      // Also after a failure: a part of it may be in the file.
      this.#dirtyFiles.add(span.fileIndex)
    }
  }

  /**
   * `length` bytes of a piece from `offset` on: from its files where all that is asked for lies in wanted ones, else
   * from its edge file; padding is zeros. Throws STORE_FAILED when a file is missing or too short.
   */
  async readPiece (piece: PieceIndex, offset: number, length: number): Promise<Buffer> {
    checkInside(offset, length, this.#geometry.lengthOf(piece), `piece ${piece}`)
    if (length === 0) return Buffer.alloc(0)
    const start = this.#geometry.offsetOf(piece) + offset
    const spans = this.#geometry.spansIn({ start, end: start + length - 1 })
    const buffer = Buffer.allocUnsafeSlow(length)
    try {
      if (await this.#readEdge(piece, offset, spans, buffer)) return buffer
      for (const { fileIndex, fileOffset, pieceOffset, length } of spans) {
        const part = buffer.subarray(pieceOffset, pieceOffset + length)
        if (this.#isPadding(fileIndex)) part.fill(0)
        else await this.#withFile(fileIndex, handle => readFully(handle, part, fileOffset))
      }
    } catch (error) {
      throw asCoded(error, 'STORE_FAILED')
    }
    return buffer
  }

  /**
   * `length` bytes of a wanted (or padding) file from `offset` on; up to 1 MiB they may be recycled (chunk-pool.ts).
   * Throws STORE_FAILED when they are not there.
   */
  async readFile (fileIndex: number, offset: number, length: number): Promise<Buffer> {
    const range = this.#geometry.rangeOfFile(fileIndex)
    checkInside(offset, length, range === null ? 0 : range.end - range.start + 1, `file ${fileIndex}`)
    if (length === 0) return Buffer.alloc(0)
    if (this.#isPadding(fileIndex)) return Buffer.alloc(length)
    const buffer = length <= maxChunkBytes ? takeChunk(length) : Buffer.allocUnsafeSlow(length)
    try {
      await this.#withFile(fileIndex, async handle => {
        await readFully(handle, buffer, offset)
        const sealed = this.#sealed.get(fileIndex)
        // After the bytes, not before: whatever was done to the file until they were read shows now.
        if (sealed !== undefined && sealed !== await sealOf(handle)) throw fileChanged()
      })
    } catch (error) {
      // Cut short, it has no such bytes; gone, it cannot be opened.
      throw this.#sealed.has(fileIndex) && !isNoSpace(error) ? fileChanged(error) : asCoded(error, 'STORE_FAILED')
    }
    return buffer
  }

  /**
   * From now on the file is complete, and nobody's to write: a read of it throws FILE_CHANGED once it is another one, or
   * was written to.
   */
  async seal (fileIndex: number, handle: FileHandle): Promise<void> {
    this.#sealed.set(fileIndex, await sealOf(handle))
  }

  /** It may be written again, or is gone. */
  unseal (fileIndex: number): void {
    this.#sealed.delete(fileIndex)
  }

  /** Keeps a whole piece beside its wanted files, for one of them is about to go. Throws STORE_FAILED. */
  async copyToEdge (piece: PieceIndex): Promise<void> {
    try {
      const bytes = await this.readPiece(piece, 0, this.#geometry.lengthOf(piece))
      await this.#writeEdge(edgePath(this.#layout, piece), bytes, { isLoose: false })
    } catch (error) {
      throw asCoded(error, 'STORE_FAILED')
    }
  }

  /** Counts a piece that another process wrote into the same files as written, so that the next sync() covers it. */
  noteWritten (piece: PieceIndex): void {
    for (const { fileIndex } of this.#geometry.spansOf(piece)) if (this.#paths.has(fileIndex)) this.#dirtyFiles.add(fileIndex)
    if (this.isEdge(piece) && !this.isLoose(piece)) this.#hasDirtyEdges = true
  }

  /**
   * Brings to the disk what was written (or noted) since the last call and before this one. After a failure it is
   * still to be done: the next call tries it again.
   */
  async sync (): Promise<void> {
    const files = [...this.#dirtyFiles]
    const hasEdges = this.#hasDirtyEdges
    this.#dirtyFiles.clear()
    this.#hasDirtyEdges = false
    const done = new Set<number>()
    try {
      for (const fileIndex of files) {
        if (this.#paths.has(fileIndex)) await this.#withFile(fileIndex, handle => handle.datasync())
        done.add(fileIndex)
      }
      if (hasEdges) await syncDirectory(this.#layout.edgeDirectory)
    } catch (error) {
      for (const fileIndex of files) if (!done.has(fileIndex)) this.#dirtyFiles.add(fileIndex)
      this.#hasDirtyEdges ||= hasEdges
      throw asCoded(error, 'STORE_FAILED')
    }
  }

  /** Keeps the file open while `work` runs, so that it may be renamed without a reader finding it gone. */
  async whileOpen<T> (fileIndex: number, work: (handle: FileHandle) => Promise<T>): Promise<T> {
    try {
      return await this.#withFile(fileIndex, work)
    } catch (error) {
      throw asCoded(error, 'STORE_FAILED')
    }
  }

  /** Waits for what is under way, then closes every file. Syncs nothing. */
  async close (): Promise<void> {
    await this.#pool.close()
  }

  #touchesUnwanted (spans: readonly FileSpan[], paths: ReadonlyMap<number, string>): boolean {
    return spans.some(({ fileIndex }) => !paths.has(fileIndex) && !this.#isPadding(fileIndex))
  }

  async #withFile<T> (fileIndex: number, work: (handle: FileHandle) => Promise<T>): Promise<T> {
    for (;;) {
      const path = this.#paths.get(fileIndex)
      if (path === undefined) throw new CodedError('STORE_FAILED', `file ${fileIndex} is not one of the wanted files`)
      try {
        return await this.#pool.use(path, work)
      } catch (error) {
        // The file moved while the call waited for a handle.
        if (isMissing(error) && this.#paths.get(fileIndex) !== path) continue
        throw error
      }
    }
  }

  /** Fills the buffer from the piece's edge file; false when it needs none, for its files have all of it. */
  async #readEdge (piece: PieceIndex, offset: number, spans: readonly FileSpan[], buffer: Buffer): Promise<boolean> {
    for (;;) {
      const layout = this.#layout
      if (!this.#touchesUnwanted(spans, this.#paths)) return false
      try {
        await this.#pool.once(edgePath(layout, piece), 'r', handle => readFully(handle, buffer, offset))
        return true
      } catch (error) {
        // The unwanted file became a wanted one meanwhile, and took its bytes from the edge file.
        if (isMissing(error) && this.#layout !== layout) continue
        throw error
      }
    }
  }

  /**
   * An edge file is there whole or not at all, also after a crash: it is read without looking at the bitmap's age. That
   * of a loose piece outlives no crash, so nothing waits for the disk.
   */
  async #writeEdge (path: string, bytes: Uint8Array, { isLoose }: { isLoose: boolean }): Promise<void> {
    const temporary = `${path}.${randomUUID()}.tmp`
    try {
      await this.#pool.once(temporary, 'wx', async handle => {
        await writeFully(handle, bytes, 0)
        if (!isLoose) await handle.datasync()
      })
      await rename(temporary, path)
    } catch (error) {
      await rm(temporary, { force: true })
      throw error
    }
    if (!isLoose) this.#hasDirtyEdges = true
  }
}

async function sealOf (handle: FileHandle): Promise<string> {
  const { ino, size, mtimeNs } = await handle.stat({ bigint: true })
  return `${ino} ${size} ${mtimeNs}`
}

function fileChanged (cause?: unknown): CodedError {
  return cause instanceof CodedError && cause.code !== 'STORE_FAILED' ? cause : new CodedError('FILE_CHANGED', 'a stored file is gone, or was written to', { cause })
}

function touchesWanted (spans: readonly FileSpan[], paths: ReadonlyMap<number, string>): boolean {
  return spans.some(({ fileIndex }) => paths.has(fileIndex))
}

/** Is this the system's ENOENT? */
export function isMissing (error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}

/** Is it for lack of space (ENOSPC, EDQUOT) that this failed, whatever the error was wrapped in? */
export function isNoSpace (error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return ('code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')) || isNoSpace(error.cause)
}

/** Brings the names in a directory to the disk: a rename is only safe from a crash after this. */
export async function syncDirectory (path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function checkInside (offset: number, length: number, available: number, what: string): void {
  if (offset < 0 || length < 0 || offset + length > available) {
    throw new CodedError('STORE_FAILED', `${length} bytes from ${offset} are not inside ${what} of ${available}`)
  }
}

async function readFully (handle: FileHandle, buffer: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < buffer.length;) {
    const { bytesRead } = await handle.read(buffer, done, buffer.length - done, position + done)
    if (bytesRead === 0) throw new CodedError('STORE_FAILED', `the file ends ${buffer.length - done} bytes early`)
    done += bytesRead
  }
}

/** Writes all the bytes at this position, in as many steps as the system takes. */
export async function writeFully (handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done)
    if (bytesWritten === 0) throw new CodedError('STORE_FAILED', 'the disk took no more bytes')
    done += bytesWritten
  }
}
