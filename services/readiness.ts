import type { EventLoopDelay } from './event-loop.ts'
import type { StoreState } from './store-watch.ts'

/** Everything that readiness rests on. Problems are sentences that begin with the part that they are about. */
export interface Condition {
  readonly isStopping: boolean
  readonly store: StoreState
  readonly disk: readonly string[]
  readonly eventLoop: EventLoopDelay
  readonly swarm: { readonly state: string, readonly reason: string } | null
  readonly starts: string | null
}

/**
 * `degraded`: it serves, and something is wrong. `unavailable`: nothing should be sent here. That is only said when the
 * server stops, or nothing can be read from its store: whoever takes it out of service ends streams that are well.
 */
export interface Readiness {
  readonly status: 'ok' | 'degraded' | 'unavailable'
  readonly reasons: readonly string[]
}

/** Timers that come so late, seconds, are felt by every client. */
const LATE_SECONDS = 0.5
/** A probe's answer stays small, whatever is wrong. */
const REASONS_LIMIT = 4
const REASON_LENGTH = 110

export function readinessOf ({ isStopping, store, disk, eventLoop, swarm, starts }: Condition): Readiness {
  if (isStopping) return { status: 'unavailable', reasons: ['the server is shutting down'] }
  const reasons = [
    ...store.problem === null ? [] : [store.problem],
    ...disk,
    ...eventLoop.p99 > LATE_SECONDS ? [`event loop: one timer in a hundred is ${Math.round(eventLoop.p99 * 1000)} ms late`] : [],
    ...swarm?.state === 'unavailable' ? [`P2P: ${swarm.reason}`] : [],
    ...starts === null ? [] : [starts]
  ]
  return { status: store.isDead ? 'unavailable' : reasons.length === 0 ? 'ok' : 'degraded', reasons: shorten(reasons) }
}

function shorten (reasons: readonly string[]): string[] {
  const shown = reasons.slice(0, REASONS_LIMIT).map((reason) => cut(reason))
  return reasons.length > REASONS_LIMIT ? [...shown, `and ${reasons.length - REASONS_LIMIT} more`] : shown
}

/** A text of at most so many characters. */
export function cut (text: string): string {
  return text.length > REASON_LENGTH ? `${text.slice(0, REASON_LENGTH - 1)}…` : text
}
