import type { Clock } from '../../clock.ts'
import { steadyClock } from '../../clock.ts'
import { abortable } from '../../deadline.ts'
import { deadlines } from '../../deadlines.ts'
import type { MappingStatus } from '../network-report.ts'
import { findPcp } from './pcp.ts'
import { findPlace } from './place.ts'
import { RouterError } from './router.ts'
import type { Mapped, Place, Router, Wish } from './router.ts'
import { findUpnp } from './upnp.ts'

export interface PortMapperOptions {
  /** What others are to reach; null: not wanted. */
  readonly ports: { readonly tcp: number | null, readonly udp: number | null }
  /** Called whenever the status has changed. */
  readonly onChange: (status: MappingStatus) => void
  readonly clock?: Clock
  readonly findPlace?: () => Promise<Place | null>
  /** All ways to find a router; the first that succeeds is taken, the first named where several do. */
  readonly ways?: ReadonlyArray<(place: Place, signal: AbortSignal) => Promise<Router>>
  /** How long the router is asked to keep the ports. */
  readonly lifetimeSeconds?: number
}

const defaultLifetimeSeconds = 3_600
/** The gateway and our address are looked at so often. */
const pollMs = 15_000
/** After a failure it is tried again, at first after this, … */
const firstRetryMs = 60_000
/** … then twice as late each time, up to this. */
const lastRetryMs = 30 * 60_000
/** A renewal that failed is tried again after this, for as long as the router keeps the ports. */
const renewalRetryMs = 15_000
/** What the router keeps for ever is looked at as often, for it may have been restarted. */
const permanentSeconds = 1_800

const nothing: MappingStatus = { state: 'asking', protocol: null, externalAddress: null, externalTcpPort: null, externalUdpPort: null, expiresAt: null, reason: '' }

interface Held {
  readonly router: Router
  readonly wish: Wish
}

/**
 * Keeps the ports forwarded: asks the router, asks again before its lease ends and when the network has changed, and
 * takes everything back at the end. Nobody waits for it.
 */
export class PortMapper {
  readonly #options: PortMapperOptions
  readonly #clock: Clock
  readonly #closing = new AbortController()
  /** What the router may have forwarded, by transport: also what it was asked for and has not answered yet. */
  readonly #held = new Map<Wish['transport'], Held>()
  #status = nothing
  #running: Promise<void> = Promise.resolve()

  constructor (options: PortMapperOptions) {
    this.#options = options
    this.#clock = options.clock ?? steadyClock
  }

  get status (): MappingStatus {
    return this.#status
  }

  start (): void {
    this.#set({})
    this.#running = this.#run().catch(() => { /* closed */ })
  }

  /** Takes back what was forwarded, within the time that the signal gives, and never rejects. */
  async stop (signal: AbortSignal): Promise<void> {
    this.#closing.abort()
    await Promise.race([this.#running, new Promise((resolve) => { signal.addEventListener('abort', resolve, { once: true }) })])
    await this.#release(signal)
  }

  async #run (): Promise<void> {
    const { signal } = this.#closing
    let retryMs = firstRetryMs
    while (!signal.aborted) {
      const place = await (this.#options.findPlace ?? findPlace)()
      const reason = await this.#use(place, () => { retryMs = firstRetryMs })
      signal.throwIfAborted()
      if (reason === null) {
        this.#set(nothing)
        continue
      }
      this.#set({ ...nothing, state: 'failed', reason })
      await this.#pause(retryMs, place)
      retryMs = Math.min(retryMs * 2, lastRetryMs)
    }
  }

  /** Has the ports forwarded by the first way that does it, for as long as it does. Resolves with why not any more, or null when the network is another one. */
  async #use (place: Place | null, onMapped: () => void): Promise<string | null> {
    if (place === null) return 'there is no router: this machine has no default route'
    const { ways = [findPcp, findUpnp] } = this.#options
    const found = ways.map(async (way) => await this.#timed(async (signal) => await way(place, signal)))
    for (const promise of found) promise.catch(() => {})
    const reasons: string[] = []
    for (const promise of found) {
      try {
        await this.#keep(await promise, place, onMapped)
        return null
      } catch (error) {
        this.#closing.signal.throwIfAborted()
        reasons.push(error instanceof RouterError ? error.message : `it did not work: ${error instanceof Error ? error.message : String(error)}`)
        if (this.#status.state === 'mapped') break
      }
    }
    return reasons.join('; ')
  }

  /** Maps and renews for as long as the network is the same and the router does it. Rejects when it does not any more. */
  async #keep (router: Router, place: Place, onMapped: () => void): Promise<void> {
    let expiresAt = 0
    for (;;) {
      let pauseMs = renewalRetryMs
      try {
        const { lifetimeSeconds, status } = await this.#map(router)
        onMapped()
        expiresAt = this.#clock.now() + lifetimeSeconds * 1_000
        this.#set(status)
        pauseMs = Math.max(500, lifetimeSeconds * 500)
      } catch (error) {
        if (this.#closing.signal.aborted || this.#clock.now() + pauseMs >= expiresAt) throw error
      }
      if (!await this.#pause(pauseMs, place)) continue
      // The old router may still be there.
      await this.#release(AbortSignal.timeout(deadlines.routerMs))
      return
    }
  }

  async #map (router: Router): Promise<{ lifetimeSeconds: number, status: MappingStatus }> {
    const { tcp, udp } = this.#options.ports
    const wanted = this.#status.externalTcpPort ?? this.#status.externalUdpPort
    let first = tcp === null ? null : await this.#mapOne(router, 'tcp', tcp, wanted ?? tcp)
    const second = udp === null ? null : await this.#mapOne(router, 'udp', udp, first?.externalPort ?? wanted ?? udp)
    // Peers know one number.
    if (tcp !== null && first !== null && second !== null && first.externalPort !== second.externalPort) {
      const wish = this.#held.get('tcp')?.wish
      if (wish !== undefined) await this.#timed(async (signal) => { await router.unmap(wish, signal) }).catch(() => {})
      first = await this.#mapOne(router, 'tcp', tcp, second.externalPort)
    }
    const leases = [first, second].flatMap((mapped) => mapped === null ? [] : [mapped.lifetimeSeconds])
    const isPermanent = leases.every((seconds) => seconds === 0)
    const lifetimeSeconds = isPermanent ? permanentSeconds : Math.min(...leases.filter((seconds) => seconds > 0))
    return {
      lifetimeSeconds,
      status: {
        state: 'mapped',
        protocol: router.protocol,
        externalAddress: first?.externalAddress ?? second?.externalAddress ?? null,
        externalTcpPort: first?.externalPort ?? null,
        externalUdpPort: second?.externalPort ?? null,
        expiresAt: isPermanent ? null : new Date(Date.now() + lifetimeSeconds * 1_000).toISOString(),
        reason: ''
      }
    }
  }

  async #mapOne (router: Router, transport: Wish['transport'], port: number, externalPort: number): Promise<Mapped> {
    const wish = { transport, port, externalPort, lifetimeSeconds: this.#options.lifetimeSeconds ?? defaultLifetimeSeconds }
    // Before it is asked: an answer that is lost, or comes too late, has forwarded it all the same.
    if (!this.#held.has(transport)) this.#held.set(transport, { router, wish })
    const mapped = await this.#timed(async (signal) => await router.map(wish, signal))
    this.#held.set(transport, { router, wish: { ...wish, externalPort: mapped.externalPort } })
    return mapped
  }

  async #release (signal: AbortSignal): Promise<void> {
    const held = [...this.#held.values()]
    this.#held.clear()
    await Promise.allSettled(held.map(async ({ router, wish }) => { await abortable(router.unmap(wish, signal), signal) }))
  }

  async #timed<T> (ask: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const limit = new AbortController()
    const cancel = this.#clock.after(deadlines.routerMs, () => { limit.abort(new RouterError('the router does not answer')) })
    const signal = AbortSignal.any([limit.signal, this.#closing.signal])
    try {
      return await abortable(ask(signal), signal)
    } finally {
      cancel()
    }
  }

  /** Resolves after this time, or as soon as the network has changed: then with true. */
  async #pause (ms: number, place: Place | null): Promise<boolean> {
    const until = this.#clock.now() + ms
    for (;;) {
      const left = until - this.#clock.now()
      if (left <= 0) return false
      const { promise, resolve } = Promise.withResolvers<void>()
      const cancel = this.#clock.after(Math.min(left, pollMs), resolve)
      try {
        await abortable(promise, this.#closing.signal)
      } finally {
        cancel()
      }
      const now = await (this.#options.findPlace ?? findPlace)()
      if (now?.gateway !== place?.gateway || now?.local !== place?.local) return true
    }
  }

  #set (status: Partial<MappingStatus>): void {
    this.#status = { ...this.#status, ...status }
    this.#options.onChange(this.#status)
  }
}
