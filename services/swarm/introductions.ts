import type WebTorrent from 'webtorrent'
import type { Torrent, Wire } from 'webtorrent'
import { steadyClock } from '../clock.ts'
import { Duplicates } from './duplicates.ts'
import { textOf } from './endpoint.ts'
import type { Endpoint } from './endpoint.ts'
import { HolePuncher, holepunchName } from './holepunch.ts'
import type { PunchLimits } from './holepunch.ts'
import { guardRedials, punch } from './internals/connections.ts'
import { neighbourOf, offerExtension, sayPort } from './internals/wires.ts'
import type { Network } from './network.ts'
import { ownAddressesNow } from './peer-policy.ts'
import { Pex, pexName } from './pex.ts'

export interface IntroductionsOptions {
  readonly network: Network
  readonly limits: PunchLimits
  readonly isPrivate: () => boolean
  readonly mayDial: (address: string, source: string | undefined) => boolean
  readonly allowPrivateNetworks: boolean
}

/** How the peers of one torrent get to know each other by us, and we by them: peer exchange and hole punching. */
export class Introductions {
  readonly #client: WebTorrent
  readonly #torrent: Torrent
  readonly #options: IntroductionsOptions
  readonly #duplicates: Duplicates
  readonly #pex: Pex
  readonly #puncher: HolePuncher

  constructor (client: WebTorrent, torrent: Torrent, options: IntroductionsOptions) {
    const { network, limits, isPrivate, mayDial, allowPrivateNetworks } = options
    this.#client = client
    this.#torrent = torrent
    this.#options = options
    this.#duplicates = new Duplicates(client.peerId, steadyClock)
    guardRedials(torrent, (address) => this.#duplicates.has(address))
    this.#puncher = new HolePuncher({
      clock: steadyClock,
      limits,
      isPrivate,
      allowPrivateNetworks,
      mayDial: (endpoint) => mayDial(textOf(endpoint), pexName),
      isOurs: (endpoint) => this.#isOurs(endpoint),
      isConnected: (endpoint) => this.#duplicates.has(textOf(endpoint)),
      punch: (endpoint) => punch(client, torrent, textOf(endpoint)),
      onPunch: (role, outcome) => { network.sawPunch(role, outcome) },
      onRelayed: () => { network.sawRelayed() }
    })
    this.#pex = new Pex(steadyClock, isPrivate, (endpoint, flags, teller) => {
      // libtorrent tells of everybody, the one it tells included.
      const isWe = endpoint.address === teller.ownAddress && endpoint.port === portOf(network)
      if (torrent.destroyed || isWe || this.#isOurs(endpoint)) return
      torrent.addPeer(textOf(endpoint), pexName)
      if (client.utp) this.#puncher.introduce(endpoint, flags, teller)
    })
  }

  /** Relays were asked to introduce us to so many peers, and have not answered yet. */
  get pendingCount (): number {
    return this.#puncher.pendingCount
  }

  /** To be called in the 'wire' event. */
  onWire (wire: Wire): void {
    sayPort(wire, portOf(this.#options.network))
    const neighbour = neighbourOf(this.#torrent, wire)
    if (neighbour === null) return
    if (!this.#options.isPrivate()) {
      offerExtension(wire, pexName, (message) => { this.#pex.receive(neighbour, message) })
      if (this.#client.utp) offerExtension(wire, holepunchName, (message) => { this.#puncher.receive(neighbour, message) })
    }
    this.#puncher.add(neighbour)
    this.#pex.add(neighbour)
    this.#duplicates.add(neighbour)
    wire.once('close', () => {
      this.#duplicates.remove(neighbour)
      this.#pex.remove(neighbour)
      this.#puncher.remove(neighbour)
    })
  }

  close (): void {
    this.#pex.close()
    this.#puncher.close()
  }

  #isOurs ({ address, port }: Endpoint): boolean {
    const { publicEndpoint, ports } = this.#options.network.report
    return (address === publicEndpoint?.address && port === portOf(this.#options.network)) ||
      ((port === ports.tcp || port === ports.utp) && ownAddressesNow().includes(address))
  }
}

/** The port at which others reach us, as far as it is known. */
function portOf ({ report: { mapping, publicEndpoint, ports, verdict } }: Network): number {
  const seen = verdict.mapping === 'endpoint-independent' ? publicEndpoint?.port : null
  return mapping?.externalTcpPort ?? seen ?? ports.tcp ?? 0
}
