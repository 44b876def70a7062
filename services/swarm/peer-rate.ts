/** What a peer is expected to give before it has given anything, in bytes a second. */
const unknownRate = 65_536
/** The rate is that of the last moments in which it had something to answer: what is older counts half, each so often. */
const halfLifeMs = 2_000
/** A peer may be silent so long, and three times as long as it takes for a block, before its rate is doubted. */
const silenceMs = 250
/** What comes at once in the beginning may be all that a peer with a limit gives in a second. */
const leastMs = 250
const blockBytes = 16_384
/** It is doubted for so long after what it did not answer was taken back. */
const doubtMs = 30_000
/** This much of what a peer gives is to be under way, beside what keeps it busy from one burst to the next, … */
const queueMs = 600
/** … which may be so long. */
const mostGapMs = 2_000
/** A peer may always have so many blocks to answer. */
const leastBlocks = 4

/**
 * How fast a peer answers, measured only while it has requests to answer: one that is asked for little is not slow. While
 * it owes an answer and says nothing, it is no faster than one block in that time, whatever it was before.
 */
export class PeerRate {
  #bytes = 0
  #busyMs = 0
  /** The longest time between two answers, of the last moments: it is far away, or answers in bursts. */
  #gapMs = 0
  /** Its last answer, or when it began to have something to answer; null: it has nothing to. */
  #since: number | null = null
  /** How long it was silent when all was taken back, and when that was. */
  #doubt = { silentMs: 0, at: 0 }

  /** It was asked for a block. */
  asked (nowMs: number): void {
    this.#since ??= nowMs
  }

  /** A block came. `isDone`: it has nothing to answer any more. */
  answered (bytes: number, isDone: boolean, nowMs: number): void {
    const elapsedMs = nowMs - (this.#since ?? nowMs)
    const kept = 0.5 ** (elapsedMs / halfLifeMs)
    this.#bytes = this.#bytes * kept + bytes
    this.#busyMs = this.#busyMs * kept + elapsedMs
    this.#gapMs = Math.max(elapsedMs, this.#gapMs * kept)
    this.#since = isDone ? null : nowMs
    this.#doubt.silentMs = 0
  }

  /** It has nothing to answer any more: what it was asked for was taken back. */
  idle (nowMs: number): void {
    if (this.#since === null) return
    this.#doubt = { silentMs: Math.max(this.#silentMs(nowMs), nowMs - this.#since), at: nowMs }
    this.#since = null
  }

  /** Has it never answered? */
  get isUnknown (): boolean {
    return this.#bytes === 0
  }

  /** Has it never answered, though it had time to? */
  isSilent (nowMs: number): boolean {
    return this.#bytes === 0 && this.#silentMs(nowMs) > 2 * silenceMs
  }

  /**
   * How many blocks may be under way. More would keep what becomes urgent waiting, fewer would leave the peer without work
   * between two bursts, and it would count as slower than it is.
   */
  queueBlocks (nowMs: number): number {
    return leastBlocks + Math.ceil(this.bytesPerSecond(nowMs) * (queueMs + Math.min(this.#gapMs, mostGapMs)) / 1000 / blockBytes)
  }

  bytesPerSecond (nowMs: number): number {
    const usual = this.#bytes === 0 ? unknownRate : this.#bytes * 1000 / Math.max(this.#busyMs, leastMs)
    const silentMs = this.#silentMs(nowMs)
    if (silentMs <= Math.max(silenceMs, 3 * blockBytes * 1000 / usual)) return usual
    return Math.min(usual, blockBytes * 1000 / silentMs)
  }

  #silentMs (nowMs: number): number {
    const remembered = nowMs - this.#doubt.at < doubtMs ? this.#doubt.silentMs : 0
    return Math.max(remembered, this.#since === null ? 0 : nowMs - this.#since)
  }
}
