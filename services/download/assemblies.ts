import { PieceAssembly } from './piece-assembly.ts'
import type { Geometry, PieceIndex } from '../pieces/geometry.ts'
import type { PieceMemory } from './piece-memory.ts'

/** The pieces of one download that are on their way, each with its share of the memory of all. */
export class Assemblies<Sender> {
  readonly #geometry: Geometry
  readonly #memory: PieceMemory
  readonly #onFree: () => void
  readonly #pieces = new Map<PieceIndex, PieceAssembly<Sender>>()
  /** Memory of a piece that was closed, for the next one: new memory costs time, and collections of garbage. */
  #spare: Buffer | null = null

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

  /** Throws away what there is of the piece. Nobody may use its bytes any more: another piece may get their memory. */
  close (piece: PieceIndex): void {
    if (!this.#remove(piece)) return
    // Kept for as long as others are under way only, so that a download that rests holds nothing.
    if (this.#pieces.size === 0) this.#spare = null
    this.#memory.release(this.#geometry.pieceLength)
  }

  /** Closes a piece that is delivered and opens another, whose memory nobody takes in between: it is the same. */
  replace (piece: PieceIndex, next: PieceIndex): void {
    if (this.#pieces.has(next)) this.close(piece)
    else if (this.#remove(piece)) this.#pieces.set(next, this.#new(next))
    else this.open(next)
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

  #remove (piece: PieceIndex): boolean {
    this.#spare = this.#pieces.get(piece)?.memory ?? this.#spare
    return this.#pieces.delete(piece)
  }

  #new (piece: PieceIndex): PieceAssembly<Sender> {
    const start = this.#geometry.offsetOf(piece)
    const spare = this.#spare
    this.#spare = null
    return new PieceAssembly({ start, end: start + this.#geometry.lengthOf(piece) }, spare)
  }
}
