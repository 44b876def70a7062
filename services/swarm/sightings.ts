import type { Torrent, Wire } from 'webtorrent'
import { NatCoordinator } from '../nat/coordinator.ts'
import { originOf } from './internals/connections.ts'
import type { HostOptions } from './messages.ts'
import type { Network } from './network.ts'

/** What nodes of the DHT and peers show of our own network, handed to those who draw conclusions, and these to the report. */
export class Sightings {
  readonly nat: NatCoordinator
  readonly #network: Network

  constructor (network: Network, { stunServers, allowPrivateNetworks, isPanel }: Pick<HostOptions, 'stunServers' | 'allowPrivateNetworks' | 'isPanel'>) {
    this.#network = network
    const onChange = (): void => { network.setNat(this.nat.facts, this.nat.localAddresses, isPanel) }
    this.nat = new NatCoordinator({ stunServers, allowPrivateNetworks, onChange })
    onChange()
  }

  /** A node of the DHT has answered, or was silent (null). */
  readonly onNode = (node: string, answer: { readonly ip?: unknown } | null): void => {
    const { ip } = answer ?? {}
    // BEP 42: our address and port as the node sees them.
    const sighting = ip instanceof Uint8Array && ip.length === 6
      ? { address: ip.subarray(0, 4).join('.'), port: ((ip[4] ?? 0) << 8) | (ip[5] ?? 0) }
      : null
    this.nat.sawDht(node, answer !== null, sighting)
  }

  /** A peer is connected. */
  readonly onWire = (torrent: Torrent, wire: Wire): void => {
    const origin = originOf(torrent, wire)
    // On a socket for both families IPv4 has the form of IPv6.
    const address = wire.remoteAddress?.replace(/^::ffff:/i, '')
    if (origin === null || address === undefined || !this.nat.isStranger(address)) return
    if (origin.transport === 'utp') this.nat.sawUtpPeer(address)
    if (origin.isUnasked) this.#network.sawInbound(origin.transport)
    const takeIp = (): void => {
      const { yourip } = wire.peerExtendedHandshake
      if (yourip instanceof Uint8Array && yourip.length === 4) this.nat.sawPeer(address, yourip.join('.'))
    }
    takeIp()
    wire.on('extended', (name: unknown) => { if (name === 'handshake') takeIp() })
  }
}
