/** How often the peers are counted: for each piece they all have to be asked. */
const countMs = 2_000

interface Owner {
  readonly peerPieces: { get (piece: number): boolean }
}

/** How many peers have each piece, counted now and then. */
export class Availability {
  readonly #now: () => number
  #counts = new Uint16Array(0)
  #countedAt = -Infinity
  #peers = 0

  constructor (now: () => number = performance.now.bind(performance)) {
    this.#now = now
  }

  /** The counts by piece: anew where peers came or went, or some time has passed. */
  of (peers: readonly Owner[], pieceCount: number): Uint16Array {
    const now = this.#now()
    if (peers.length === this.#peers && this.#counts.length === pieceCount && now - this.#countedAt < countMs) return this.#counts
    const counts = new Uint16Array(pieceCount)
    for (const { peerPieces } of peers) {
      for (let piece = 0; piece < pieceCount; piece++) if (peerPieces.get(piece)) counts[piece] = (counts[piece] ?? 0) + 1
    }
    this.#counts = counts
    this.#countedAt = now
    this.#peers = peers.length
    return counts
  }
}
