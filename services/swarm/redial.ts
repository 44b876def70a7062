import type { EventEmitter } from 'node:events'
import type { Clock } from '../clock.ts'
import type { PeerSource } from './peer-policy.ts'

/** From the end of a connection, or of a dial, to the next dial; doubled each time that nothing came of it, up to … */
const firstMs = 1_000
const mostMs = { waiting: 3_000, wanted: 30_000, idle: 300_000 } as const
/** Peers that a stranger has named are forgotten after so many dials in vain; they may be named again. */
const mostFailures = 8
/** Nobody is dialled again sooner than this because a reader waits, or because somebody names it once more. */
const restMs = { waiting: 2_000, named: 10_000 } as const
const mostKnown = 2_000

/** What is wanted of the peers: a reader waits and none is there, something is, or nothing. */
export type Need = keyof typeof mostMs

export interface RedialOptions {
  readonly clock: Clock
  /** False: it may not be dialled now, or need not. */
  readonly dial: (address: string, source: string | undefined) => boolean
}

interface Known {
  source: string | undefined
  /** Dials in a row of which nothing came. */
  failures: number
  wasUseful: boolean
  dialledAt: number
  /** Set while it waits for its next dial. */
  cancel: (() => void) | null
}

/**
 * When the peers of a torrent that were lost are dialled again: soon after a connection that was of use, later and later
 * where nothing comes of it, and at once when a reader waits and nobody is there. Those that the operator or the magnet names are
 * never given up.
 */
export class Redial {
  readonly #options: RedialOptions
  readonly #known = new Map<string, Known>()
  #need: Need = 'waiting'
  #isOver = false

  constructor (options: RedialOptions) {
    this.#options = options
  }

  /** Somebody names this peer. False: it was dialled a moment ago, and will be again in time. */
  named (address: string, source: string | undefined): boolean {
    const now = this.#options.clock.now()
    const known = this.#known.get(address)
    if (known === undefined) {
      if (this.#known.size < mostKnown || isChosen(source)) this.#known.set(address, { source, failures: 0, wasUseful: false, dialledAt: now, cancel: null })
      return true
    }
    if (isChosen(source)) known.source = source
    if (known.cancel === null) return true
    if (now - known.dialledAt < restMs.named) return false
    this.#stop(known)
    known.dialledAt = now
    return true
  }

  /** There is a connection to this address. It was of use once a block came or went. */
  onWire (address: unknown, wire: EventEmitter): void {
    const known = typeof address === 'string' ? this.#known.get(address) : undefined
    if (known === undefined) return
    for (const event of ['piece', 'upload']) wire.once(event, () => { known.wasUseful = true })
  }

  /** A connection to this address, or a dial, is over. */
  gone (address: string): void {
    const known = this.#known.get(address)
    if (known === undefined || known.cancel !== null || this.#isOver) return
    known.failures = known.wasUseful ? 0 : known.failures + 1
    known.wasUseful = false
    if (known.failures > mostFailures && !isChosen(known.source)) this.#known.delete(address)
    else this.#later(address, known)
  }

  /** What is wanted now. Where that is more than before, those who were lost are dialled at once. */
  setNeed (need: Need): void {
    const before = mostMs[this.#need]
    this.#need = need
    if (mostMs[need] >= before) return
    const now = this.#options.clock.now()
    for (const [address, known] of this.#known) {
      if (known.cancel !== null && now - known.dialledAt >= restMs.waiting) this.#dial(address, known)
    }
  }

  close (): void {
    this.#isOver = true
    for (const known of this.#known.values()) this.#stop(known)
    this.#known.clear()
  }

  #later (address: string, known: Known): void {
    const ms = Math.min(firstMs * 2 ** Math.max(0, known.failures - 1), mostMs[isChosen(known.source) || this.#need !== 'waiting' ? this.#need : 'wanted'])
    known.cancel = this.#options.clock.after(ms, () => { this.#dial(address, known) })
  }

  #dial (address: string, known: Known): void {
    this.#stop(known)
    known.dialledAt = this.#options.clock.now()
    if (!this.#options.dial(address, known.source)) this.gone(address)
  }

  #stop (known: Known): void {
    known.cancel?.()
    known.cancel = null
  }
}

/** Is it one that somebody here has chosen? */
function isChosen (source: string | undefined): boolean {
  return source === ('operator' satisfies PeerSource) || source === ('magnet' satisfies PeerSource)
}
