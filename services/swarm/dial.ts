import { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'

/**
 * One attempt to reach a peer in two ways: `first` at once, `second` beside it after `delayMs`, or as soon as `first`
 * has failed. The first that connects wins and is handed to `onWin`; the other is dropped.
 *
 * To WebTorrent it looks like the connection it would have dialled, as far as it looks before 'connect': 'connect'
 * once, after `onWin`; 'error' once, when both have failed; 'close' once, at the end of the attempt or of the winner.
 */
export class Dial extends EventEmitter<{ connect: [], error: [Error], close: [] }> {
  readonly #second: () => Duplex
  readonly #onWin: (winner: Duplex) => void
  readonly #attempts = new Set<Duplex>()
  readonly #timer: NodeJS.Timeout
  #isSecondTried = false
  #hasWinner = false
  #isOver = false
  #lastError = new Error('not connected')

  constructor (first: () => Duplex, second: () => Duplex, delayMs: number, onWin: (winner: Duplex) => void) {
    super()
    this.#second = second
    this.#onWin = onWin
    this.#timer = setTimeout(() => { this.#trySecond() }, delayMs)
    this.#try(first)
  }

  get destroyed (): boolean {
    return this.#isOver
  }

  /** Gives up. A winner that was handed over already is its owner's to end. */
  destroy (): void {
    this.#end()
  }

  #trySecond (): void {
    if (this.#isSecondTried || this.#hasWinner || this.#isOver) return
    this.#isSecondTried = true
    clearTimeout(this.#timer)
    this.#try(this.#second)
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
    clearTimeout(this.#timer)
    this.#attempts.delete(winner)
    this.#dropAll()
    winner.once('close', () => { this.#end() })
    this.#onWin(winner)
    this.emit('connect')
  }

  #lose (attempt: Duplex): void {
    this.#attempts.delete(attempt)
    if (this.#hasWinner || this.#isOver) return
    if (!this.#isSecondTried) this.#trySecond()
    else if (this.#attempts.size === 0) this.#end(this.#lastError)
  }

  #end (error: Error | null = null): void {
    if (this.#isOver) return
    this.#isOver = true
    clearTimeout(this.#timer)
    this.#dropAll()
    if (error !== null && this.listenerCount('error') > 0) this.emit('error', error)
    // Not at once: who calls destroy() expects 'close' afterwards, as from a socket.
    process.nextTick(() => { this.emit('close') })
  }

  #dropAll (): void {
    for (const attempt of this.#attempts) attempt.destroy()
    this.#attempts.clear()
  }
}
