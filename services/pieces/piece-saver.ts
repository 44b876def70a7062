import { asCoded } from '../errors.ts'
import type { Completion } from './completion.ts'
import type { PieceIndex } from './geometry.ts'

const saveIntervalMs = 1000
const retryIntervalMs = 5000

export interface PieceSaverOptions {
  /** Does the bitmap on disk have bits of pieces that are not verified? */
  readonly hasStaleBits: boolean
  /** A copy of the bits that may be on the disk: of verified pieces that are there to stay. */
  readonly bits: () => Completion
  /** Brings all that was written to the disk. */
  readonly sync: () => Promise<void>
  readonly save: (bits: Completion) => Promise<void>
  /** Writes a piece once more, or drops it, whose bytes may have got lost. */
  readonly rewrite: (piece: PieceIndex) => Promise<void>
  /** What was announced is on the disk. */
  readonly onSaved: (fileIndex: number) => void
  /** Saving failed, and is tried again. */
  readonly onFailure: (error: unknown) => Promise<void>
  /** So did a save that nobody has asked for. */
  readonly onLate: (error: unknown) => void
}

/**
 * Brings verified pieces to the disk: the bytes first, then the bits, which are a copy from before the bytes were synced
 * (STATE.md, 2). By itself about once a second, at once where a whole file waits for it, and again after a failure.
 */
export class PieceSaver {
  readonly #options: PieceSaverOptions
  /** Verified, and not yet in the bitmap on disk. */
  readonly #dirty = new Set<PieceIndex>()
  /** Dirty, and written anew before the next sync. */
  readonly #suspect = new Set<PieceIndex>()
  readonly #announced = new Set<number>()
  #hasStaleBits: boolean
  #saving: Promise<void> = Promise.resolve()
  #next: Promise<void> | null = null
  #timer: NodeJS.Timeout | null = null
  #isClosing = false

  constructor (options: PieceSaverOptions) {
    this.#options = options
    this.#hasStaleBits = options.hasStaleBits
  }

  /** How many pieces are verified and not saved. */
  get dirtyCount (): number {
    return this.#dirty.size
  }

  /** Does the bitmap on disk say what is true? */
  get isSaved (): boolean {
    return this.#dirty.size === 0 && !this.#hasStaleBits
  }

  /** The piece was verified, and is there to stay. */
  note (piece: PieceIndex): void {
    this.#dirty.add(piece)
    this.later(saveIntervalMs)
  }

  /** The piece is not there any more, or not to stay. `isStale`: its bit may be on the disk. */
  forget (piece: PieceIndex, { isStale }: { readonly isStale: boolean }): void {
    if (isStale) this.#hasStaleBits = true
    this.#dirty.delete(piece)
    this.#suspect.delete(piece)
  }

  /** The file is whole: `onSaved` says so once it is on the disk, unless it is withdrawn before. */
  announce (fileIndex: number): void {
    this.#announced.add(fileIndex)
    this.later(0)
  }

  isAnnounced (fileIndex: number): boolean {
    return this.#announced.has(fileIndex)
  }

  withdraw (fileIndex: number): void {
    this.#announced.delete(fileIndex)
  }

  /** Brings what is verified to the disk. Throws STORE_FAILED; it is tried again by itself. */
  flush (): Promise<void> {
    // One that has not begun yet covers everything that is verified now.
    this.#next ??= this.#saving.catch(() => { /* it was told to whoever asked for it */ }).then(() => {
      this.#next = null
      return this.#save()
    })
    this.#saving = this.#next
    return this.#saving
  }

  /** Sees to it that a save begins within this time, or that the one that waits already does. */
  later (delayMs = saveIntervalMs): void {
    if (this.#isClosing) return
    if (this.#timer !== null) {
      if (delayMs > 0) return
      clearTimeout(this.#timer)
    }
    this.#timer = setTimeout(() => { this.flush().catch((error: unknown) => { this.#options.onLate(error) }) }, delayMs)
  }

  /** Nothing is saved by itself any more, and nothing said. */
  close (): void {
    this.#isClosing = true
    if (this.#timer !== null) clearTimeout(this.#timer)
  }

  async #save (): Promise<void> {
    const { bits, sync, save, onSaved, onFailure } = this.#options
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    if (this.isSaved && this.#announced.size === 0) return
    const announced = [...this.#announced]
    let pieces: PieceIndex[] = []
    try {
      await this.#rewriteSuspects()
      // Bits of this moment, then the bytes, then these bits: what is verified meanwhile waits for the next time.
      pieces = [...this.#dirty]
      const saved = bits()
      this.#dirty.clear()
      this.#hasStaleBits = false
      await sync().catch((error: unknown) => {
        for (const piece of pieces) this.#suspect.add(piece)
        throw error
      })
      await save(saved)
    } catch (error) {
      for (const piece of pieces) this.#dirty.add(piece)
      this.#hasStaleBits = true
      this.later(retryIntervalMs)
      if (!this.#isClosing) await onFailure(error)
      throw asCoded(error, 'STORE_FAILED')
    }
    if (this.#isClosing) return
    for (const fileIndex of announced) if (this.#announced.delete(fileIndex)) onSaved(fileIndex)
  }

  /**
   * After a failed sync the system may have given up what it could not write, and the next sync would succeed without
   * it: such pieces are written once more before they are counted as saved.
   */
  async #rewriteSuspects (): Promise<void> {
    for (const piece of [...this.#suspect]) {
      // Its file may have been let go meanwhile.
      if (!this.#suspect.has(piece)) continue
      await this.#options.rewrite(piece)
      this.#suspect.delete(piece)
    }
  }
}
