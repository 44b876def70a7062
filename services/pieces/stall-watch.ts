import { deadlines } from '../deadlines.ts'

/** Progress is this much, or the whole of a smaller piece, within the stall timeout. */
const progressBytes = 64 * 1024

export interface StallWatchOptions {
  /** Length of the piece that is waited for. */
  readonly pieceBytes: number
  readonly stallTimeoutMs: number
  /** A piece may take this long at least, however fast it was expected. */
  readonly minimumPieceMs?: number
  /** Other pieces do as well: this one may be the last to come. */
  readonly isAnyPieceProgress?: boolean
}

/** What is known of a filler at one moment. `receivedBytes` and `verifiedCount` only grow. */
export interface FillerReading {
  /** Milliseconds of a steady clock. */
  readonly now: number
  readonly receivedBytes: number
  /** Pieces of the torrent that got verified; one that did twice counts twice. */
  readonly verifiedCount: number
}

/**
 * Tells whether a reader that waits for one piece waits in vain. Two limits: some bytes have to come within the stall
 * timeout; and the piece has to come within four times what it takes at the rate of all that comes. The second counts
 * anew while other pieces get verified, for they share the rate, up to four times itself: a piece that nobody has is
 * a stall however well the others come.
 */
export class StallWatch {
  readonly #pieceBytes: number
  readonly #stallTimeoutMs: number
  readonly #minimumPieceMs: number
  readonly #isAnyPieceProgress: boolean
  readonly #start: FillerReading
  #progress: FillerReading
  #verified: FillerReading

  /** `start`: when the waiting began. */
  constructor ({ pieceBytes, stallTimeoutMs, minimumPieceMs = deadlines.pieceMs, isAnyPieceProgress = false }: StallWatchOptions, start: FillerReading) {
    this.#pieceBytes = pieceBytes
    this.#stallTimeoutMs = stallTimeoutMs
    this.#minimumPieceMs = minimumPieceMs
    this.#isAnyPieceProgress = isAnyPieceProgress
    this.#start = this.#progress = this.#verified = start
  }

  /** What to say of the stall, for people; null while there is none. */
  check (reading: FillerReading): string | null {
    const received = reading.receivedBytes - this.#progress.receivedBytes
    if (received >= Math.min(progressBytes, this.#pieceBytes)) this.#progress = reading
    else if (reading.now - this.#progress.now >= this.#stallTimeoutMs) return `${received} bytes came within ${this.#stallTimeoutMs} ms`

    if (reading.verifiedCount > this.#verified.verifiedCount) this.#verified = reading
    const elapsedMs = reading.now - this.#start.now
    const bytesPerMs = (reading.receivedBytes - this.#start.receivedBytes) / elapsedMs
    // Without a byte there is no rate to expect anything by: the first limit is the one that counts.
    const limitMs = bytesPerMs > 0 ? Math.max(this.#minimumPieceMs, 4 * this.#pieceBytes / bytesPerMs) : Infinity
    if (reading.now - this.#verified.now > limitMs || (elapsedMs > 4 * limitMs && !this.#isAnyPieceProgress)) {
      return `it did not come within ${Math.round(elapsedMs)} ms, at ${Math.round(bytesPerMs)} KB/s`
    }
    return null
  }
}
