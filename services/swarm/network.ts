import { steadyClock } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { emptyReport } from '../nat/network-report.ts'
import type { HolePunches, NetworkReport, Seen } from '../nat/network-report.ts'

/** A report that changes all the time is told so often at most. */
const tellMs = 500

/** What other parts of the swarm's process know; the rest is concluded from it. */
export type NetworkFacts = Omit<NetworkReport, 'advice' | 'hasUtp'>

/**
 * Gathers the report of the network in the swarm's process and passes it on when it has changed: at once, then after
 * `tellMs`.
 */
export class Network {
  readonly #tell: (report: NetworkReport) => void
  readonly #clock: Clock
  #facts: NetworkFacts = emptyReport('it is not known yet', '', true)
  #isResting = false
  #told = ''

  constructor (tell: (report: NetworkReport) => void, clock: Clock = steadyClock) {
    this.#tell = tell
    this.#clock = clock
  }

  get facts (): NetworkFacts {
    return this.#facts
  }

  get report (): NetworkReport {
    return { ...this.#facts, hasUtp: this.#facts.ports.utp !== null, advice: '' }
  }

  set (facts: Partial<NetworkFacts>): void {
    this.#facts = { ...this.#facts, ...facts }
    if (!this.#isResting) this.flush()
  }

  /** A stranger's connection has arrived. */
  sawInbound (transport: 'tcp' | 'utp'): void {
    const { inbound } = this.#facts
    const seen: Seen = { count: inbound[transport].count + 1, lastAt: new Date().toISOString() }
    this.set({ inbound: { ...inbound, [transport]: seen } })
  }

  /** A hole was tried, or won, as the one who asked a relay (initiator) or the one who was asked for (target). */
  sawPunch (role: 'initiator' | 'target', outcome: 'tried' | 'won'): void {
    const { holePunches } = this.#facts
    const attempts = { ...holePunches[role], [outcome]: holePunches[role][outcome] + 1 }
    const changed: HolePunches = { ...holePunches, [role]: attempts }
    this.set({ holePunches: changed })
  }

  /** Two peers were introduced by us. */
  sawRelayed (): void {
    const { holePunches } = this.#facts
    this.set({ holePunches: { ...holePunches, relayed: holePunches.relayed + 1 } })
  }

  /** Tells now what has changed. */
  flush (): void {
    const { report } = this
    const text = JSON.stringify(report)
    if (text === this.#told) return
    this.#told = text
    this.#isResting = true
    this.#clock.after(tellMs, () => {
      this.#isResting = false
      this.flush()
    })
    this.#tell(report)
  }
}
