/**
 * Who is asked for what: decisions only. Pieces come in the order in which they are wanted. A block goes to the peer that
 * will have answered it first, after what it was asked for before; so what a reader waits for is spread over the fast
 * peers, and slow ones get what is wanted by the time they have it.
 */

export const blockBytes = 16_384

/** A peer that may be asked. */
export interface AskedPeer {
  readonly bytesPerSecond: number
  /** What it was asked for and has not answered. */
  readonly outstandingBytes: number
  /** How many more blocks it may be asked for now. */
  readonly room: number
  /** What it has no room for now may be left to it. */
  readonly mayClaim: boolean
  has (piece: number): boolean
}

/** Blocks of a piece that nobody was asked for. */
export interface UnaskedPiece {
  readonly piece: number
  readonly blocks: number
}

interface Queue<P> {
  readonly peer: P
  readonly blockMs: number
  readonly isSlow: boolean
  /** When it will have answered all that it is given. */
  readyMs: number
  room: number
}

/**
 * What a peer is expected to take, where it is not one of the fast ones: who is slow is uneven, too, and a block that comes
 * too late holds a whole piece up.
 */
const caution = { slowerThan: 4, factor: 2, moreMs: 500 } as const

/** Beyond so many pieces that are left to those without room nobody slower gets anything this time. */
const mostSteps = 400

/**
 * Shares out the blocks that nobody was asked for. A peer that is fast but has no room now keeps the blocks that it will
 * answer before a slower one would: it is asked for them once it has room.
 *
 * @param ask asks this peer for one block more of this piece; false: it may not be asked for it.
 */
export function shareOut<P extends AskedPeer> (peers: readonly P[], pieces: Iterable<UnaskedPiece>, ask: (peer: P, piece: number) => boolean): void {
  const queues = queuesOf(peers)
  let room = queues.reduce((sum, queue) => sum + queue.room, 0)
  let steps = 0
  if (room === 0) return
  for (const { piece, blocks } of pieces) {
    const able = queues.filter(({ peer }) => peer.has(piece))
    for (let left = blocks; left > 0 && room > 0 && able.length > 0;) {
      const [best, second] = firstTwo(able)
      if (best === undefined) break
      if (best.room === 0 && !best.peer.mayClaim) {
        able.splice(able.indexOf(best), 1)
      } else if (best.room === 0) {
        // All that it answers before the next one would.
        const gained = second === undefined ? left : Math.ceil((answerMs(second) - answerMs(best)) / best.blockMs)
        const kept = Math.min(left, Math.max(1, gained))
        best.readyMs += kept * best.blockMs
        left -= kept
        steps++
      } else if (ask(best.peer, piece)) {
        best.readyMs += best.blockMs
        best.room--
        room--
        left--
      } else {
        able.splice(able.indexOf(best), 1)
      }
    }
    if (room === 0 || steps > mostSteps) return
  }
}

/** A block that somebody was asked for. */
export interface OwedBlock<P> {
  readonly piece: number
  readonly block: number
  readonly askedOf: readonly P[]
  /** When the first of them will have answered; Infinity: nobody knows. */
  readonly expectedMs: number
  /** A reader waits for it. */
  readonly isWaitedFor: boolean
}

/** One more is asked only where it answers so much sooner: in that part of the time, and by so many milliseconds. */
const gain = { usual: 2, waiting: 1.25, ms: 50 } as const
/** So many are asked for one block at most, where one of them is known to answer. */
const mostAsked = 3

/**
 * Asks again, of others, for blocks that are late: those that another peer would answer much sooner than those who were
 * asked for them.
 *
 * @param blocks the most urgent first.
 * @param ask asks this peer for this block too; false: it may not be asked for it.
 */
export function askAgain<P extends AskedPeer> (peers: readonly P[], blocks: readonly OwedBlock<P>[], ask: (peer: P, block: OwedBlock<P>) => boolean): void {
  const queues = queuesOf(peers.filter(({ room }) => room > 0))
  if (queues.length === 0) return
  for (const owed of blocks) {
    if (owed.askedOf.length >= mostAsked && owed.expectedMs !== Infinity) continue
    const able = queues.filter(({ peer, room }) => room > 0 && peer.has(owed.piece) && !owed.askedOf.includes(peer))
    // One that may not be asked for it leaves it to the next.
    for (;;) {
      const [best] = firstTwo(able)
      if (best === undefined) break
      const sooner = answerMs(best)
      if (owed.expectedMs < sooner * (owed.isWaitedFor ? gain.waiting : gain.usual) || owed.expectedMs < sooner + gain.ms) break
      if (ask(best.peer, owed)) {
        best.readyMs += best.blockMs
        best.room--
        break
      }
      able.splice(able.indexOf(best), 1)
    }
  }
}

function queuesOf<P extends AskedPeer> (peers: readonly P[]): Array<Queue<P>> {
  const known = peers.filter(({ bytesPerSecond }) => bytesPerSecond > 0)
  const fastest = Math.max(0, ...known.map(({ bytesPerSecond }) => bytesPerSecond))
  return known.map((peer) => ({
    peer,
    blockMs: blockBytes * 1000 / peer.bytesPerSecond,
    isSlow: peer.bytesPerSecond * caution.slowerThan < fastest,
    readyMs: peer.outstandingBytes * 1000 / peer.bytesPerSecond,
    room: peer.room
  }))
}

/** When it will have answered one block more, as far as that can be relied on. */
function answerMs ({ readyMs, blockMs, isSlow }: Queue<unknown>): number {
  return isSlow ? (readyMs + blockMs) * caution.factor + caution.moreMs : readyMs + blockMs
}

function firstTwo<P> (queues: ReadonlyArray<Queue<P>>): [Queue<P> | undefined, Queue<P> | undefined] {
  let best: Queue<P> | undefined
  let second: Queue<P> | undefined
  for (const queue of queues) {
    if (best === undefined || answerMs(queue) < answerMs(best)) [best, second] = [queue, best]
    else if (second === undefined || answerMs(queue) < answerMs(second)) second = queue
  }
  return [best, second]
}
