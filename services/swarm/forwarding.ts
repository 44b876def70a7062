import type WebTorrent from 'webtorrent'
import { PortMapper } from '../nat/mapping/port-mapper.ts'
import type { ListeningPorts, MappingStatus } from '../nat/network-report.ts'
import { setTorrentPort } from './internals/ports.ts'
import type { Network } from './network.ts'

/**
 * Has the router forward the port, and the world told of the one that it forwards. Of a port that HTTP shares only the
 * UDP side: nobody has asked to have the server on the internet.
 */
export class Forwarding {
  readonly #mapper: PortMapper
  readonly #client: WebTorrent
  readonly #localPort: number
  readonly #onPort: (port: number) => void
  #told = ''

  /**
   * @param onPort is called when another port is to be announced from now on.
   * @param onNews is given what became of it, in words, whenever that has changed.
   */
  constructor (client: WebTorrent, { tcp, utp, dht, isOnePort }: ListeningPorts, network: Network, { onPort, onNews }: { readonly onPort: (port: number) => void, readonly onNews: (text: string) => void }) {
    this.#client = client
    this.#localPort = client.torrentPort
    this.#onPort = onPort
    this.#mapper = new PortMapper({
      ports: { tcp: isOnePort ? null : tcp, udp: utp ?? dht },
      onChange: (mapping) => {
        network.set({ mapping })
        this.#announce(mapping)
        const text = wordsOf(mapping)
        if (text !== null && text !== this.#told) onNews(text)
        this.#told = text ?? this.#told
      }
    })
  }

  start (): void {
    this.#mapper.start()
  }

  /** Takes it back, in this time. */
  async stop (limitMs: number): Promise<void> {
    await this.#mapper.stop(AbortSignal.timeout(limitMs))
  }

  /** Trackers and nodes of the DHT see our address, not our port. */
  #announce ({ externalTcpPort, externalUdpPort }: MappingStatus): void {
    const port = externalTcpPort ?? externalUdpPort ?? this.#localPort
    if (this.#client.destroyed || port === this.#client.torrentPort) return
    setTorrentPort(this.#client, port)
    this.#onPort(port)
  }
}

function wordsOf ({ state, protocol, externalAddress, externalTcpPort, externalUdpPort, reason }: MappingStatus): string | null {
  if (state === 'failed') return `no router forwards the port: ${reason}`
  return state === 'mapped' ? `the router forwards ${externalAddress ?? 'its'} port ${externalTcpPort ?? externalUdpPort} (${protocol})` : null
}
