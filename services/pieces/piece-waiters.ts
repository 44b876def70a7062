import type { PieceIndex } from './geometry.ts'

interface Waiter {
  readonly signal: AbortSignal
  readonly resolve: () => void
  readonly reject: (reason: unknown) => void
  readonly onAbort: () => void
}

/** Who waits for which piece. A waiter that was answered or has given up leaves nothing behind, no listener either. */
export class PieceWaiters {
  readonly #waiters = new Map<PieceIndex, Set<Waiter>>()
  #size = 0

  /** How many wait. */
  get size (): number {
    return this.#size
  }

  /** Resolves at the next wake() of the piece; rejects with the signal's reason at once when it aborts. */
  wait (piece: PieceIndex, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted()
      const waiter: Waiter = {
        signal,
        resolve,
        reject,
        onAbort: () => {
          this.#forget(piece, waiter)
          reject(signal.reason)
        }
      }
      const waiters = this.#waiters.get(piece)
      if (waiters === undefined) this.#waiters.set(piece, new Set([waiter]))
      else waiters.add(waiter)
      this.#size++
      signal.addEventListener('abort', waiter.onAbort, { once: true })
    })
  }

  /** The pieces that are waited for. */
  get pieces (): PieceIndex[] {
    return [...this.#waiters.keys()]
  }

  /** Answers everybody who waits for the piece. */
  wake (piece: PieceIndex): void {
    for (const waiter of this.#waiters.get(piece) ?? []) {
      this.#forget(piece, waiter)
      waiter.resolve()
    }
  }

  /** Sends everybody away. */
  rejectAll (reason: unknown): void {
    for (const [piece, waiters] of this.#waiters) {
      for (const waiter of waiters) {
        this.#forget(piece, waiter)
        waiter.reject(reason)
      }
    }
  }

  #forget (piece: PieceIndex, waiter: Waiter): void {
    const waiters = this.#waiters.get(piece)
    if (waiters?.delete(waiter) !== true) return
    waiter.signal.removeEventListener('abort', waiter.onAbort)
    this.#size--
    if (waiters.size === 0) this.#waiters.delete(piece)
  }
}
