import { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'

/** A host that has refused one way has so long to answer another: it is there, and near enough to have said no. */
const refusedMs = 2_000

export interface DialPace {
  /** Each way is tried so long after the one before. */
  readonly delayMs: number
  /** It has failed after so long; default: when all ways have failed. */
  readonly limitMs?: number
}

/**
 * One attempt to reach a peer in several ways: the first at once, each further one beside it after `delayMs`. Without a
 * limit the next is also tried as soon as all that were tried have failed. The first that connects wins and is handed to
 * `onWin`; the others are dropped.
 *
 * To WebTorrent it looks like the connection it would have dialled, as far as it looks before 'connect': 'connect'
 * once, after `onWin`; 'error' once, when it has failed; 'close' once, at the end of the attempt or of the winner. One that has
 * a limit and no winner ends with 'error' alone: WebTorrent dials what was closed again.
 */
export class Dial extends EventEmitter<{ connect: [], error: [Error], close: [] }> {
  readonly #ways: Array<() => Duplex>
  readonly #pace: DialPace
  readonly #onWin: (winner: Duplex) => void
  readonly #attempts = new Set<Duplex>()
  #timer: NodeJS.Timeout | null = null
  readonly #limit: NodeJS.Timeout | null = null
  #hasWinner = false
  #isOver = false
  #lastError = new Error('not connected')

  constructor (ways: ReadonlyArray<() => Duplex>, pace: DialPace, onWin: (winner: Duplex) => void) {
    super()
    this.#ways = [...ways]
    this.#pace = pace
    this.#onWin = onWin
    if (pace.limitMs !== undefined) this.#limit = setTimeout(() => { this.#end(this.#lastError) }, pace.limitMs)
    this.#tryNext()
  }

  get destroyed (): boolean {
    return this.#isOver
  }

  /** Gives up. A winner that was handed over already is its owner's to end. */
  destroy (): void {
    this.#end()
  }

  #tryNext (): void {
    this.#stopTimer()
    const way = this.#ways.shift()
    if (way === undefined || this.#hasWinner || this.#isOver) return
    if (this.#ways.length > 0) this.#timer = setTimeout(() => { this.#tryNext() }, this.#pace.delayMs)
    this.#try(way)
  }

  #stopTimers (): void {
    this.#stopTimer()
    if (this.#limit !== null) clearTimeout(this.#limit)
  }

  #stopTimer (): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  #try (open: () => Duplex): void {
    const attempt = open()
    this.#attempts.add(attempt)
    // The listener stays after the end: a dropped attempt may still fail, and nobody else listens to it.
    attempt.on('error', (error: Error) => { this.#lastError = error })
    attempt.once('connect', () => { this.#win(attempt) })
    attempt.once('close', () => { this.#lose(attempt) })
  }

  #win (winner: Duplex): void {
    if (this.#hasWinner || this.#isOver) {
      winner.destroy()
      return
    }
    this.#hasWinner = true
    this.#stopTimers()
    this.#attempts.delete(winner)
    this.#dropAll()
    winner.once('close', () => { this.#end() })
    this.#onWin(winner)
    this.emit('connect')
  }

  #lose (attempt: Duplex): void {
    this.#attempts.delete(attempt)
    if (this.#hasWinner || this.#isOver) return
    if (this.#limit !== null) return
    if (this.#attempts.size > 0) {
      const isRefused = 'code' in this.#lastError && this.#lastError.code === 'ECONNREFUSED'
      if (isRefused && this.#ways.length === 0) this.#timer ??= setTimeout(() => { this.#end(this.#lastError) }, refusedMs)
      return
    }
    if (this.#ways.length > 0) this.#tryNext()
    else this.#end(this.#lastError)
  }

  #end (error: Error | null = null): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#stopTimers()
    this.#dropAll()
    if (error !== null && this.listenerCount('error') > 0) this.emit('error', error)
    // Not at once: who calls destroy() expects 'close' afterwards, as from a socket.
    if (this.#limit === null || this.#hasWinner) process.nextTick(() => { this.emit('close') })
    else if (error === null) process.nextTick(() => { if (this.listenerCount('error') > 0) this.emit('error', this.#lastError) })
  }

  #dropAll (): void {
    for (const attempt of this.#attempts) attempt.destroy()
    this.#attempts.clear()
  }
}
