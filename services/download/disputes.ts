import { createHash } from 'node:crypto'
import type { Part } from './piece-assembly.ts'
import type { Span } from './spans.ts'

/** A whole piece and who sent what of it. Offsets are those of the torrent; `span` is the piece. */
export interface Account<Sender> {
  readonly span: Span
  readonly bytes: Uint8Array
  readonly parts: ReadonlyArray<Part<Sender>>
}

interface Testimony<Sender> extends Span {
  readonly sender: Sender
  /** SHA-1 of what it sent: all that is needed to tell a lie later, in twenty bytes. */
  readonly digest: Buffer
}

interface Dispute<Sender> {
  rounds: number
  readonly testimonies: Array<Testimony<Sender>>
}

const LIMIT = 64
/** A piece that was put together wrongly so often, with nobody who could bring all of it, tells nothing more. */
const ROUNDS = 3

/**
 * Wrong pieces that came from several senders: what each of them had sent, until the right bytes are there and say which
 * of them lied. The oldest disputes are given up when there are too many.
 */
export class Disputes<Sender> {
  readonly #pieces = new Map<number, Dispute<Sender>>()

  /** Those who sent something of this piece when it was wrong. Empty: it is not in dispute. */
  suspectsOf (piece: number): ReadonlySet<Sender> {
    return new Set(this.#pieces.get(piece)?.testimonies.map(({ sender }) => sender))
  }

  has (piece: number): boolean {
    return this.#pieces.has(piece)
  }

  /** Takes down who sent what of a piece that is wrong. false: the piece was in dispute too often to wait for an answer. */
  open (piece: number, { span, bytes, parts }: Account<Sender>): boolean {
    const dispute = this.#pieces.get(piece) ?? { rounds: 0, testimonies: [] }
    dispute.rounds++
    this.#pieces.delete(piece)
    if (dispute.rounds > ROUNDS) return false
    for (const { start, end, sender } of parts) dispute.testimonies.push({ start, end, sender, digest: sha1(bytes.subarray(start - span.start, end - span.start)) })
    this.#pieces.set(piece, dispute)
    for (const oldest of this.#pieces.keys()) {
      if (this.#pieces.size <= LIMIT) break
      this.#pieces.delete(oldest)
    }
    return true
  }

  /** Ends a dispute with the right bytes of the piece, which begins at this byte of the torrent: how many wrong ones each liar had sent. */
  settle (piece: number, bytes: Uint8Array, pieceStart: number): Map<Sender, number> {
    const liars = new Map<Sender, number>()
    for (const { start, end, sender, digest } of this.#pieces.get(piece)?.testimonies ?? []) {
      if (!sha1(bytes.subarray(start - pieceStart, end - pieceStart)).equals(digest)) liars.set(sender, (liars.get(sender) ?? 0) + end - start)
    }
    this.#pieces.delete(piece)
    return liars
  }
}

function sha1 (bytes: Uint8Array): Buffer {
  return createHash('sha1').update(bytes).digest()
}
