import { overlaps, uncovered } from './spans.ts'
import type { Span } from './spans.ts'

/** Bytes that one sender brought. */
export interface Part<Sender> extends Span {
  readonly sender: Sender
}

/**
 * A piece on its way: its bytes, as they come in any order and from several senders at a time, and who brought which.
 * What has come once is never overwritten, so the bytes of a whole piece do not change any more. All offsets are those of
 * the torrent.
 */
export class PieceAssembly<Sender> {
  readonly span: Span
  /** It is whole, and somebody sees to it. */
  isTaken = false
  #bytes: Buffer | null = null
  /** In order, none overlapping another. */
  #parts: Array<Part<Sender>> = []

  /** `spare`: memory that nobody needs any more, for its bytes if it is of their length. */
  constructor (span: Span, spare: Buffer | null = null) {
    this.span = span
    if (spare?.length === span.end - span.start) this.#bytes = spare
  }

  get parts (): ReadonlyArray<Part<Sender>> { return this.#parts }
  get senders (): ReadonlySet<Sender> { return new Set(this.#parts.map(({ sender }) => sender)) }
  get isEmpty (): boolean { return this.#parts.length === 0 }
  /** What was taken for its bytes; null: nothing yet. */
  get memory (): Buffer | null { return this.#bytes }
  get isWhole (): boolean { return uncovered(this.span, this.#parts).length === 0 }

  /** The bytes, as far as they have come; memory is taken when the first one does. */
  get bytes (): Buffer {
    this.#bytes ??= Buffer.allocUnsafeSlow(this.span.end - this.span.start)
    return this.#bytes
  }

  /** Takes those of the bytes from `position` on that are not there yet. They have to lie inside the piece. */
  put (position: number, chunk: Buffer, sender: Sender): void {
    for (const { start, end } of uncovered({ start: position, end: position + chunk.length }, this.#parts)) {
      chunk.copy(this.bytes, start - this.span.start, start - position, end - position)
      this.#add({ start, end, sender })
    }
  }

  /** Throws away what this sender brought, unless the piece is whole. */
  forget (sender: Sender): void {
    if (!this.isTaken) this.#parts = this.#parts.filter((part) => part.sender !== sender)
  }

  #add (part: Part<Sender>): void {
    const before = this.#parts.findLastIndex(({ end }) => end <= part.start)
    const neighbour = this.#parts[before]
    if (neighbour !== undefined && neighbour.end === part.start && neighbour.sender === part.sender) this.#parts[before] = { ...neighbour, end: part.end }
    else this.#parts.splice(before + 1, 0, part)
  }
}

/** Does the assembly, if there is one, have any byte of this span? */
export function hasAnyOf (assembly: PieceAssembly<unknown> | undefined, span: Span): boolean {
  return assembly?.parts.some((part) => overlaps(part, span)) === true
}
