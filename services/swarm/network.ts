import { steadyClock } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { adviceOf, classify, noFacts, publicEndpointOf } from '../nat/classify.ts'
import type { NatFacts } from '../nat/classify.ts'
import { emptyReport } from '../nat/network-report.ts'
import type { HolePunches, NetworkReport, Seen } from '../nat/network-report.ts'

/** A report that changes all the time is told so often at most. */
const tellMs = 500

/** What other parts of the swarm's process know; the rest is concluded from it. */
export type NetworkFacts = Omit<NetworkReport, 'verdict' | 'publicEndpoint' | 'advice' | 'hasUtp'>

/**
 * Gathers the report of the network in the swarm's process and passes it on when it has changed: at once, then after
 * `tellMs`.
 */
export class Network {
  readonly #tell: (report: NetworkReport) => void
  readonly #clock: Clock
  #facts: NetworkFacts = emptyReport('', '')
  #nat: NatFacts = { ...noFacts, isPending: true }
  #isPanel = false
  #report: NetworkReport | null = null
  #isResting = false
  #told = ''

  constructor (tell: (report: NetworkReport) => void, clock: Clock = steadyClock) {
    this.#tell = tell
    this.#clock = clock
  }

  get report (): NetworkReport {
    this.#report ??= this.#conclude()
    return this.#report
  }

  #conclude (): NetworkReport {
    const [facts, nat] = [this.#facts, this.#nat]
    const verdict = classify(nat, facts)
    return {
      ...facts,
      verdict,
      publicEndpoint: publicEndpointOf(nat, facts),
      hasUtp: facts.ports.utp !== null,
      advice: adviceOf(verdict, nat, { ...facts, isPanel: this.#isPanel })
    }
  }

  /** What is known of the NAT now. `isPanel`: for the advice. */
  setNat (nat: NatFacts, localAddresses: readonly string[], isPanel = false): void {
    this.#nat = nat
    this.#isPanel = isPanel
    this.set({ localAddresses })
  }

  set (facts: Partial<NetworkFacts>): void {
    this.#facts = { ...this.#facts, ...facts }
    this.#report = null
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
