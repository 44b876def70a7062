/** The memory for pieces that are being received, shared by all downloads. Who finds none is called when there may be some. */
export class PieceMemory {
  readonly #limitBytes: number
  readonly #waiting = new Set<() => void>()
  #takenBytes = 0

  constructor (limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  /**
   * Takes memory for a piece, whatever it takes where nobody has any. false: there is not so much now; `onFree` is called
   * when some was given back, and has to ask again.
   */
  take (bytes: number, onFree: () => void): boolean {
    if (this.#takenBytes > 0 && this.#takenBytes + bytes > this.#limitBytes) {
      this.#waiting.add(onFree)
      return false
    }
    this.#takenBytes += bytes
    return true
  }

  /** Gives back what was taken. Those that wait are called in the order in which they came. */
  release (bytes: number): void {
    this.#takenBytes -= bytes
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const onFree of waiting) onFree()
  }

  /** Does not wait any more. */
  forget (onFree: () => void): void {
    this.#waiting.delete(onFree)
  }
}
