import { PieceAssembly } from './piece-assembly.ts'
import type { Geometry, PieceIndex } from '../pieces/geometry.ts'
import type { PieceMemory } from './piece-memory.ts'

/** The pieces of one download that are on their way, each with its share of the memory of all. */
export class Assemblies<Sender> {
  readonly #geometry: Geometry
  readonly #memory: PieceMemory
  readonly #onFree: () => void
  readonly #pieces = new Map<PieceIndex, PieceAssembly<Sender>>()

  /** `onFree`: called when there may be memory again for what could not be opened. */
  constructor (geometry: Geometry, memory: PieceMemory, onFree: () => void) {
    this.#geometry = geometry
    this.#memory = memory
    this.#onFree = onFree
  }

  get (piece: PieceIndex): PieceAssembly<Sender> | undefined { return this.#pieces.get(piece) }
  entries (): Array<[PieceIndex, PieceAssembly<Sender>]> { return [...this.#pieces] }

  /** The piece's assembly, a new one if need be. false: there is no memory for it now. */
  open (piece: PieceIndex): boolean {
    if (this.#pieces.has(piece)) return true
    if (!this.#memory.take(this.#geometry.pieceLength, this.#onFree)) return false
    this.#pieces.set(piece, this.#new(piece))
    return true
  }

  /** Throws away what there is of the piece. */
  close (piece: PieceIndex): void {
    if (this.#pieces.delete(piece)) this.#memory.release(this.#geometry.pieceLength)
  }

  /** Closes a piece that is delivered and opens another, whose memory nobody takes in between: it is the same. */
  replace (piece: PieceIndex, next: PieceIndex): void {
    const done = this.#pieces.get(piece)
    if (done === undefined) {
      this.open(next)
    } else if (this.#pieces.has(next)) {
      this.close(piece)
    } else {
      this.#pieces.delete(piece)
      this.#pieces.set(next, this.#new(next, done.bytes))
    }
  }

  /** What this sender brought of all of them. */
  forget (sender: Sender): void {
    for (const assembly of this.#pieces.values()) assembly.forget(sender)
  }

  /** Throws all away, and does not wait for memory any more. */
  clear (): void {
    for (const piece of [...this.#pieces.keys()]) this.close(piece)
    this.#memory.forget(this.#onFree)
  }

  #new (piece: PieceIndex, spare: Buffer | null = null): PieceAssembly<Sender> {
    const start = this.#geometry.offsetOf(piece)
    return new PieceAssembly({ start, end: start + this.#geometry.lengthOf(piece) }, spare)
  }
}
