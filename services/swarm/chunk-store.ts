import { pause } from '../deadline.ts'
import type { Geometry } from '../pieces/geometry.ts'
import { isMissing, isNoSpace } from '../pieces/piece-files.ts'
import type { PieceFiles } from '../pieces/piece-files.ts'

/** Where a torrent's pieces go, and who is told of it. */
export interface Shelf {
  readonly geometry: Geometry
  readonly files: PieceFiles
  /** The piece is in its files, written under this version of the layout. */
  onWritten (piece: number, layoutVersion: number): void
  /** The piece could not be written; it is tried again. */
  onBlocked (piece: number, error: unknown): void
  /**
   * The disk has no room for the piece, or its place is not there: offers its bytes to the server. `onTaken` is called in the very turn in which the
   * server's answer comes, for its next word may be about the same piece. Resolves when it has answered, or the signal
   * aborts.
   */
  offer (piece: number, bytes: Uint8Array, onTaken: () => void, signal: AbortSignal): Promise<void>
}

const firstRetryMs = 250
const lastRetryMs = 5_000

/**
 * The store that WebTorrent is given (abstract-chunk-store). What it puts here has passed the hash check.
 *
 * An error from `put` destroys the whole torrent, so `put` never answers one: a piece that cannot be written (a full
 * disk, a file that has just moved) waits in memory and is tried again until it can be, the server has taken its bytes,
 * or the store is closed.
 */
export class ChunkStore {
  readonly chunkLength: number
  readonly #shelf: Shelf
  readonly #closing = new AbortController()
  /** Aborts to wake the pieces that wait for their next try. */
  #nudge = new AbortController()

  /** Pieces that were put and are not done. */
  readonly #waiting = new Set<number>()

  /** WebTorrent calls this with the length of a piece and its `storeOpts`. */
  constructor (chunkLength: number, options: { readonly openShelf: (store: ChunkStore) => Shelf }) {
    this.chunkLength = chunkLength
    this.#shelf = options.openShelf(this)
  }

  /** Calls `done(null)` once the piece is written, and never when the store is closed before. */
  put (index: number, bytes: Uint8Array, done: (error: null) => void): void {
    this.#waiting.add(index)
    // Never rejects; what `done` throws is nobody's to catch.
    this.#write(index, bytes, () => {
      this.#waiting.delete(index)
      done(null)
    }).catch(() => {})
  }

  /** Pieces that are in memory because they were put and could not be written yet. */
  get waiting (): ReadonlySet<number> {
    return this.#waiting
  }

  /** Reads a verified piece, or a part of it, for a peer. */
  get (index: number, options: { readonly offset?: number, readonly length?: number } | null, done: (error: Error | null, bytes?: Uint8Array) => void): void {
    this.#read(index, options?.offset ?? 0, options?.length).then(
      bytes => { done(null, bytes) },
      (error: unknown) => { done(error instanceof Error ? error : new Error(String(error))) }
    )
  }

  /** Tries what waits again now, because there is reason to think that it will succeed. */
  retry (): void {
    this.#nudge.abort()
    this.#nudge = new AbortController()
  }

  /** Gives up what waits, and closes the files. */
  close (done: (error: null) => void): void {
    this.#closing.abort()
    const end = (): void => { done(null) }
    // A file that does not close loses nothing here: the server syncs what was written.
    this.#shelf.files.close().then(end, end)
  }

  /** The files belong to the server: nothing is deleted here. */
  destroy (done: (error: null) => void): void {
    this.close(done)
  }

  async #write (index: number, bytes: Uint8Array, done: () => void): Promise<void> {
    const { geometry, files } = this.#shelf
    for (let delayMs = firstRetryMs; !this.#closing.signal.aborted; delayMs = Math.min(delayMs * 2, lastRetryMs)) {
      try {
        const version = await files.writePiece(geometry.piece(index), bytes)
        if (this.#closing.signal.aborted) return
        done()
        this.#shelf.onWritten(index, version)
        return
      } catch (error) {
        if (this.#closing.signal.aborted) return
        this.#shelf.onBlocked(index, error)
        // On a full disk even the folder may be missing, and of a stale layout a file: the server knows where to put it.
        if ((isNoSpace(error) || isMissingFile(error)) && await this.#isOffered(index, bytes, done)) return
      }
      await this.#wait(delayMs)
    }
  }

  async #isOffered (index: number, bytes: Uint8Array, done: () => void): Promise<boolean> {
    let isTaken = false
    await this.#shelf.offer(index, bytes, () => {
      isTaken = true
      done()
    }, this.#closing.signal)
    return isTaken
  }

  async #wait (ms: number): Promise<void> {
    try {
      await pause(ms, AbortSignal.any([this.#closing.signal, this.#nudge.signal]))
    } catch {
      // Woken early: the loop looks why.
    }
  }

  async #read (index: number, offset: number, length: number | undefined): Promise<Uint8Array> {
    const { geometry, files } = this.#shelf
    // A peer asks for what it likes: piece() and readPiece() refuse what is outside.
    const piece = geometry.piece(index)
    return await files.readPiece(piece, offset, length ?? geometry.lengthOf(piece) - offset)
  }
}

function isMissingFile (error: unknown): boolean {
  return error instanceof Error && isMissing(error.cause)
}
