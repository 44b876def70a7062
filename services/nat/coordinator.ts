import { isForeignAddress } from '../download/address-guard.ts'
import { steadyClock } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { deadlines } from '../deadlines.ts'
import { noFacts } from './classify.ts'
import type { NatFacts } from './classify.ts'
import { closeSocket, endpointOf, filteringOf, mappingOf, openSocket, sound } from './discover.ts'
import type { Soundings } from './discover.ts'
import { isOwnAddress, ownAddresses, routeTo } from './own-addresses.ts'
import type { OwnAddress } from './own-addresses.ts'
import { StunClient } from './stun.ts'
import { resolveServers } from './stun-servers.ts'
import { Votes } from './votes.ts'
import type { Sighting } from './votes.ts'

export interface NatOptions {
  /** `host:port` each; an IPv4 address or a name. */
  readonly stunServers: readonly string[]
  /** Strangers count as such on private networks and loopback, too. */
  readonly allowPrivateNetworks: boolean
  /** Called whenever the facts have changed, or the addresses of this machine. */
  readonly onChange: () => void
  readonly clock?: Clock
  readonly interfaces?: () => OwnAddress[]
}

/** Without any answer so far, nobody is waited for longer than this before the port is bound. */
const silentMs = 400
/** The interfaces are looked at so often. */
const pollMs = 15_000
/** All tests from fresh sockets: two of three seconds, one after the other, and the names. */
const testsMs = 9_000
/** Tests that strangers' words gave rise to are so far apart at least; ones that nobody answered twice as far each time, … */
const retryMs = 60_000
/** … up to this. */
const longestRetryMs = 15 * 60_000
/** Nodes of the DHT that have to be silent before it counts as silence. */
const silentNodes = 2

const noSoundings: Soundings = { answers: [], asked: 0, answered: 0, failures: [], capable: [] }

/** What one socket has found out. */
interface Sounded extends Soundings {
  /** Of the socket. */
  readonly localPort: number
}

/**
 * Finds out how this machine is seen from the internet, at the start and again when the network changes. What was heard on
 * the torrent port itself counts most; STUN's replies do not come out of uTP's socket, so that is possible only before it
 * is bound, and later only nodes of the DHT and peers tell of that port.
 */
export class NatCoordinator {
  readonly #options: NatOptions
  readonly #clock: Clock
  readonly #closing = new AbortController()
  readonly #dht = new Votes()
  readonly #peers = new Votes()
  readonly #silentNodes = new Set<string>()
  #addresses: readonly OwnAddress[]
  /** Heard on the torrent port before it was bound, while the network is still the one of then. */
  #onPort: Sounded | null = null
  /** Heard on another socket. */
  #beside: Sounded | null = null
  #filtering: NatFacts['filtering'] = null
  #route: OwnAddress | null = null
  #hasDhtAnswer = false
  #hasUtpPeer = false
  #tests: AbortController | null = null
  #isPending: boolean
  #retryMs = retryMs
  #retryAt = Infinity
  #testedAt = -Infinity
  /** An address by strangers' words that tests were made for; they are not made again for it. */
  #rumour: string | null = null

  constructor (options: NatOptions) {
    this.#options = options
    this.#clock = options.clock ?? steadyClock
    this.#addresses = this.#look()
    this.#isPending = options.stunServers.length > 0
  }

  get localAddresses (): string[] {
    return this.#addresses.map(({ address }) => address)
  }

  get facts (): NatFacts {
    const [onPort, beside] = [this.#onPort, this.#beside]
    const mapping = mergedMapping(onPort, beside)
    const seenOnPort = endpointOf(onPort?.answers ?? [])
    const seenBeside = endpointOf(beside?.answers ?? [])
    return {
      ...noFacts,
      isPending: this.#isPending,
      stun: {
        configured: this.#options.stunServers.length,
        asked: Math.max(onPort?.asked ?? 0, beside?.asked ?? 0),
        answered: Math.max(onPort?.answered ?? 0, beside?.answered ?? 0),
        failures: [...new Set([...beside?.failures ?? [], ...onPort?.failures ?? []])]
      },
      seen: seenOnPort ?? (seenBeside === null ? null : { ...seenBeside, port: null }),
      isTranslated: isTranslated(onPort) ?? isTranslated(beside),
      mapping,
      isByRfc5780: mapping !== null && (onPort?.capable.length ?? 0) + (beside?.capable.length ?? 0) > 0,
      filtering: this.#filtering,
      route: this.#route,
      dht: this.#dht.winner,
      hasDhtAnswer: this.#hasDhtAnswer,
      isDhtSilent: !this.#hasDhtAnswer && this.#silentNodes.size >= silentNodes,
      peers: this.#peers.winner,
      hasUtpPeer: this.#hasUtpPeer
    }
  }

  /**
   * Asks from the port that uTP will have, for 0.7 s at most, and less when nobody answers or all is said. The port is free
   * again when this resolves. Never rejects.
   */
  async beforeBind (port: number): Promise<void> {
    if (this.#options.stunServers.length === 0) return
    const socket = await openSocket(port)
    if (socket === null) return
    const enough = new AbortController()
    // What arrived while this process was busy is read before the time counts as over.
    const end = (): void => { setImmediate(() => { enough.abort() }) }
    const limit = setTimeout(end, deadlines.natBindMs)
    const impatience = setTimeout(end, silentMs)
    socket.once('message', () => { clearTimeout(impatience) })
    try {
      const signal = AbortSignal.any([enough.signal, this.#closing.signal])
      const servers = resolveServers(this.#options.stunServers, deadlines.natBindMs, signal)
      this.#onPort = { ...await sound(new StunClient(socket), servers, { signal, isHasty: true }), localPort: port }
    } finally {
      clearTimeout(limit)
      clearTimeout(impatience)
      await closeSocket(socket)
    }
    this.#options.onChange()
  }

  /** Tests from fresh sockets, now and whenever the network changes. */
  start (): void {
    this.#test()
    this.#poll()
  }

  /** A node of the DHT was asked. `sighting`: where it saw us, if it said so (BEP 42). */
  sawDht (node: string, isAnswer: boolean, sighting: Sighting | null): void {
    if (!this.isStranger(node)) return
    let isNews = false
    if (isAnswer) {
      isNews = !this.#hasDhtAnswer
      this.#hasDhtAnswer = true
      this.#silentNodes.clear()
    } else if (!this.#hasDhtAnswer && this.#silentNodes.size < silentNodes) {
      this.#silentNodes.add(node)
      isNews = true
    }
    if (sighting !== null && this.isStranger(sighting.address) && this.#dht.add(node, sighting)) isNews = true
    if (isNews) this.#onWord()
  }

  /** A peer said where it sees us (`yourip`, BEP 10). */
  sawPeer (peer: string, address: string): void {
    if (this.isStranger(peer) && this.isStranger(address) && this.#peers.add(peer, { address, port: null })) this.#onWord()
  }

  /** A peer was met by uTP: so UDP works. */
  sawUtpPeer (peer: string): void {
    if (this.#hasUtpPeer || !this.isStranger(peer)) return
    this.#hasUtpPeer = true
    this.#onWord()
  }

  close (): void {
    this.#closing.abort()
  }

  /** Is it an address on the internet? What others on our own network see says nothing. */
  isStranger (address: string): boolean {
    return this.#options.allowPrivateNetworks || isForeignAddress(address, [])
  }

  #onWord (): void {
    this.#options.onChange()
    this.#testRumour()
  }

  /** Strangers see another address than the tests did: the router has got a new one. */
  #testRumour (): void {
    const known = this.facts.seen?.address
    const heard = this.#dht.winner?.address ?? this.#peers.winner?.address
    if (known === undefined || heard === undefined || heard === known || heard === this.#rumour || this.#isPending) return
    if (this.#clock.now() - this.#testedAt < retryMs) return
    this.#rumour = heard
    this.#onPort = null
    this.#test()
  }

  #look (): OwnAddress[] {
    return (this.#options.interfaces ?? ownAddresses)()
  }

  #poll (): void {
    if (this.#closing.signal.aborted) return
    const before = networkOf(this.#addresses)
    this.#addresses = this.#look()
    if (networkOf(this.#addresses) !== before) this.#forget()
    else if (this.#clock.now() >= this.#retryAt) this.#test()
    else this.#testRumour()
    this.#clock.after(pollMs, () => { this.#poll() })
  }

  /** The network is another one now. */
  #forget (): void {
    this.#onPort = null
    this.#beside = null
    this.#filtering = null
    this.#route = null
    this.#rumour = null
    this.#hasDhtAnswer = false
    this.#hasUtpPeer = false
    this.#silentNodes.clear()
    this.#dht.clear()
    this.#peers.clear()
    this.#retryMs = retryMs
    this.#test()
    this.#options.onChange()
  }

  #test (): void {
    this.#tests?.abort()
    this.#retryAt = Infinity
    if (this.#options.stunServers.length === 0 || this.#closing.signal.aborted) return
    const tests = new AbortController()
    this.#tests = tests
    this.#testedAt = this.#clock.now()
    this.#isPending = true
    const limit = setTimeout(() => { tests.abort() }, testsMs)
    limit.unref()
    const ours = AbortSignal.any([tests.signal, this.#closing.signal])
    this.#runTests(ours, (result) => {
      if (this.#tests !== tests) return
      result()
      this.#options.onChange()
    }).catch(() => { /* a system without sockets: nothing is known then */ }).finally(() => {
      clearTimeout(limit)
      if (this.#tests !== tests || this.#closing.signal.aborted) return
      this.#isPending = false
      if ((this.#beside?.answered ?? 0) === 0) {
        this.#retryAt = this.#clock.now() + this.#retryMs
        this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs)
      }
      this.#options.onChange()
    })
  }

  /** @param take is given what was found out, to be made known unless it is out of date by then. */
  async #runTests (signal: AbortSignal, take: (result: () => void) => void): Promise<void> {
    const servers = resolveServers(this.#options.stunServers, deadlines.natMs, signal)
    const reached = Promise.any(servers).then(routeTo, () => null)
    const sounding = withSocket(async (client, localPort) => ({ ...await sound(client, servers, { signal, limitMs: deadlines.natMs }), localPort }))
    // The one that was met before the port was bound saves the wait for those that are silent.
    const filtering = this.#onPort?.capable.length === undefined || this.#onPort.capable.length === 0
      ? sounding.then(async (sounded) => await testFiltering(sounded?.capable ?? [], signal))
      : testFiltering(this.#onPort.capable, signal)
    const route = await reached
    take(() => { this.#route = route })
    const beside = await sounding
    take(() => { this.#beside = beside ?? { ...noSoundings, localPort: 0 } })
    const behaviour = await filtering
    take(() => { this.#filtering = behaviour })
  }
}

async function testFiltering (capable: Soundings['capable'], signal: AbortSignal): Promise<NatFacts['filtering']> {
  for (const server of capable) {
    const behaviour = await withSocket(async (client) => await filteringOf(client, server, signal))
    if (behaviour !== null) return behaviour
  }
  return null
}

async function withSocket<T> (use: (client: StunClient, localPort: number) => Promise<T>): Promise<T | null> {
  const socket = await openSocket(0)
  if (socket === null) return null
  try {
    return await use(new StunClient(socket), socket.address().port)
  } finally {
    await closeSocket(socket)
  }
}

/** IPv6 addresses change by themselves, for privacy. */
function networkOf (addresses: readonly OwnAddress[]): string {
  return addresses.filter(({ address }) => !address.includes(':')).map(({ name, address }) => `${name} ${address}`).sort().join()
}

/** Null: nobody answered. A server that sees what only this machine knows is right, whatever others say. */
function isTranslated (sounded: Sounded | null): boolean | null {
  if (sounded === null || sounded.answers.length === 0) return null
  return !sounded.answers.some(({ mapped }) => mapped.port === sounded.localPort && isOwnAddress(mapped.address))
}

/** The torrent port's own mapping, in the words of whoever heard more. */
function mergedMapping (onPort: Sounded | null, beside: Sounded | null): NatFacts['mapping'] {
  const [own, other] = [mappingOf(onPort?.answers ?? []), mappingOf(beside?.answers ?? [])]
  if (own === null || own === 'endpoint-independent' || other === null || other === 'endpoint-independent') return own ?? other
  return other
}
