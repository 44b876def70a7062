import { lookup } from 'node:dns/promises'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { isIPv4 } from 'node:net'
import { Client } from 'bittorrent-tracker'
import { checkTracker, guardedLookup, isForeignAddress, scopeOf } from '../download/address-guard.ts'
import { HttpTracker } from './http-tracker.ts'
import type { Fetcher } from '../download/fetcher.ts'
import type { Announcement } from './http-tracker.ts'
import { setTrackerPort } from './internals/discovery.ts'
import type { PeerSource } from './peer-policy.ts'
import type { TrackerMemory } from './tracker-memory.ts'

export interface TrackersOptions {
  /** Those that the operator configured; all others are asked at public addresses only. */
  readonly trusted: ReadonlySet<string>
  /** Is this `ip:port` on a blocklist? Asked where the address is known here: of UDP trackers that are not trusted. */
  readonly isRefused: (address: string) => boolean
  /** Lifts the guard for all. */
  readonly allowPrivateNetworks: boolean
  readonly fetcher: Pick<Fetcher, 'get'>
  /** ICE servers, or no WebRTC. */
  readonly rtc: { readonly rtcConfig: object, readonly wrtc?: false }
  readonly announcement: () => Announcement
  /** An address, or a WebRTC connection. */
  readonly onPeer: (peer: unknown, source: PeerSource) => void
  readonly onProblem: (tracker: string, message: string) => void
  /** What is known of trackers from all torrents. */
  readonly memory: TrackerMemory
}

interface Tracker {
  start (): void
  update (): void
  complete (): void
  stop (): Promise<void>
}

/** A tracker that may be asked, and for UDP the address that was checked. */
interface Opened {
  readonly tracker: Tracker
  readonly address: string | null
}

const INTERVAL_MS = 15 * 60_000
/** How often the name of a UDP tracker is looked up again. */
const RESOLVE_MS = 30 * 60_000
const wsAgents = { 'ws:': new HttpAgent({ lookup: guardedLookup }), 'wss:': new HttpsAgent({ lookup: guardedLookup }) }

/**
 * The trackers of one torrent, each with a client of its own: what was checked of a URL is what is connected to. HTTP goes
 * through the fetcher, WebSockets through an agent with its guarded lookup (they follow no redirect), UDP to an address
 * that was resolved and checked before.
 */
export class Trackers {
  readonly #options: TrackersOptions
  /** By URL; null while it is not open, because its name is being looked up, or cannot be, or it is refused. */
  readonly #trackers = new Map<string, Opened | null>()
  readonly #opening = new Set<string>()
  /** Of which nothing has been heard yet, neither an answer nor a failure. */
  readonly #silent = new Set<string>()
  readonly #timer: NodeJS.Timeout
  #isOver = false
  #isComplete = false

  constructor (options: TrackersOptions) {
    this.#options = options
    this.#timer = setInterval(() => { for (const url of this.#trackers.keys()) void this.#open(url) }, RESOLVE_MS)
    this.#timer.unref()
  }

  /** Has each of them answered, or failed? */
  get isAnswered (): boolean { return this.#silent.size === 0 }

  /** Asks these, too. Those that are asked already are skipped. */
  add (urls: readonly string[]): void {
    for (const url of urls) {
      if (this.#isOver || this.#trackers.has(url)) continue
      this.#trackers.set(url, null)
      // One that rests is asked at a later update, if nobody else has brought peers by then.
      if (this.#options.memory.isResting(url)) continue
      this.#silent.add(url)
      void this.#open(url)
    }
  }

  /** Asks all once more, now, but for those that rest. */
  update (): void {
    for (const [url, opened] of this.#trackers) {
      if (this.#options.memory.isResting(url)) continue
      if (opened === null) void this.#open(url)
      else opened.tracker.update()
    }
  }

  /** Tells all, once, that the download is complete. */
  complete (): void {
    if (this.#isComplete) return
    this.#isComplete = true
    for (const opened of this.#trackers.values()) opened?.tracker.complete()
  }

  /** Says goodbye to all. A silent one has to be waited for, so bound it. */
  async leave (): Promise<void> {
    this.#isOver = true
    clearInterval(this.#timer)
    const open = [...this.#trackers.values()]
    this.#trackers.clear()
    await Promise.all(open.map(async (opened) => { await opened?.tracker.stop() }))
  }

  #answered (text: string): void {
    this.#silent.delete(text)
    this.#options.memory.answered(text)
  }

  #failed (text: string): void {
    this.#silent.delete(text)
    this.#options.memory.failed(text)
  }

  /** Opens it, or puts a new client in its place where its address has changed. */
  async #open (text: string): Promise<void> {
    if (this.#opening.has(text)) return
    this.#opening.add(text)
    try {
      const before = this.#trackers.get(text) ?? null
      const opened = await this.#opened(text, before)
      if (opened === before) return
      if (this.#isOver) return
      this.#trackers.set(text, opened)
      opened.tracker.start()
      before?.tracker.stop().catch(() => {})
    } catch (error) {
      this.#failed(text)
      if (!this.#isOver) this.#options.onProblem(text, error instanceof Error ? error.message : String(error))
    } finally {
      this.#opening.delete(text)
    }
  }

  async #opened (text: string, before: Opened | null): Promise<Opened> {
    const { trusted, allowPrivateNetworks } = this.#options
    const isTrusted = trusted.has(text) || allowPrivateNetworks
    const { protocol, url } = readTracker(text)
    if (!isTrusted) checkTracker(url, protocol)
    if (protocol === 'udp:' && !isTrusted) {
      const port = url.port === '' ? 80 : Number(url.port)
      const addresses = (await publicV4(url.hostname)).filter((address) => !this.#options.isRefused(`${address}:${port}`))
      if (before !== null && addresses.includes(before.address ?? '')) return before
      const [address] = addresses
      if (address === undefined) throw new Error(`${url.hostname} resolves to no public address of another machine`)
      return { tracker: this.#library(text, `udp://${address}:${port}`, 'tracker', null), address }
    }
    if (before !== null) return before
    const source = trusted.has(text) ? await sourceOf(url) : 'tracker'
    if (protocol === 'http:' || protocol === 'https:') return { tracker: this.#http(text, new URL(text), isTrusted, source), address: null }
    return { tracker: this.#library(text, text, source, isTrusted || protocol === 'udp:' ? null : protocol === 'wss:' ? wsAgents['wss:'] : wsAgents['ws:']), address: null }
  }

  #http (text: string, url: URL, isTrusted: boolean, source: PeerSource): Tracker {
    const { fetcher, announcement, onPeer, onProblem } = this.#options
    return new HttpTracker({
      url,
      isTrusted,
      fetcher,
      announcement,
      onPeer: (address) => { onPeer(address, source) },
      onAnswer: () => { this.#answered(text) },
      onProblem: (message) => {
        this.#failed(text)
        onProblem(url.host, message)
      }
    })
  }

  #library (text: string, url: string, source: PeerSource, agent: HttpAgent | null): Tracker {
    const { rtc, announcement, onPeer } = this.#options
    const { infohash, peerId, port, userAgent } = announcement()
    const client = new Client({
      ...rtc,
      infoHash: infohash,
      peerId,
      announce: [url],
      port,
      userAgent,
      // Without `socksProxy: null` it fails on a missing one.
      ...(agent === null ? {} : { proxyOpts: { httpAgent: agent, httpsAgent: agent, socksProxy: null } }),
      getAnnounceOpts: () => {
        const { uploaded, downloaded, left, port } = announcement()
        setTrackerPort(client, port)
        return { uploaded, downloaded, left }
      }
    })
    // A tracker that fails is no news: others are asked, and it is asked again.
    for (const event of ['error', 'warning']) client.on(event, () => { this.#failed(text) })
    client.on('update', () => { this.#answered(text) })
    client.on('peer', (peer: unknown) => { if (!this.#isOver) onPeer(peer, source) })
    client.setInterval(INTERVAL_MS)
    return {
      start: () => { client.start() },
      update: () => { client.update() },
      complete: () => { client.complete() },
      stop: async () => {
        client.stop()
        await new Promise<void>(resolve => { client.destroy(resolve) })
      }
    }
  }
}

/** A tracker's URL: its protocol, and the rest as that of an http URL. Throws for what is none. */
export function readTracker (text: string): { readonly protocol: string, readonly url: URL } {
  // The URL parser reads the hosts of `udp:` as they stand, 0x7f.1 included; those of `http:` it puts in order.
  const [, scheme = '', rest = ''] = /^(udp|https?|wss?)(:.*)$/is.exec(text) ?? []
  const url = URL.parse(`http${rest}`)
  if (scheme === '' || url === null) throw new Error('it is no tracker URL')
  return { protocol: `${scheme.toLowerCase()}:`, url }
}

/** The public IPv4 addresses of another machine that this name has. */
export async function publicV4 (hostname: string): Promise<string[]> {
  if (isIPv4(hostname)) return [hostname]
  const found = await lookup(hostname, { family: 4, all: true })
  return found.map(({ address }) => address).filter((address) => isForeignAddress(address))
}

/** How near a tracker of the operator is decides what peers it may know. */
async function sourceOf (url: URL): Promise<PeerSource> {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const found = await lookup(host, { all: true }).catch(() => [])
  const scopes = found.map(({ address }) => scopeOf(address))
  if (scopes.includes('loopback')) return 'loopback-tracker'
  return scopes.includes('private') ? 'private-tracker' : 'tracker'
}
