import { EventEmitter } from 'node:events'
import { isIP } from 'node:net'

/** What uTP's socket and node:dgram have in common. */
export interface Datagrams {
  address (): { readonly port: number, readonly address: string, readonly family: string }
  send (bytes: Uint8Array, offset: number, length: number, port: number, host: string, done: (error: Error | null) => void): void
  on (event: 'message', listener: (bytes: Buffer, from: { readonly address: string, readonly port: number }) => void): unknown
  off (event: 'message', listener: (bytes: Buffer, from: { readonly address: string, readonly port: number }) => void): unknown
}

/**
 * The DHT's socket on a UDP port that belongs to somebody else. Peers reach our node where they reach us, one port is
 * all that a router has to forward, and the address that nodes tell us (BEP 42) is the one that peers see. uTP hands
 * out what is none of its own, and a message of the DHT (BEP 5) begins with `d`, which no packet of uTP does (BEP 29).
 *
 * It looks like a dgram socket, as far as k-rpc-socket looks: it neither binds nor closes the port.
 */
export class DhtSocket extends EventEmitter<{ listening: [], message: [Buffer, object], close: [], error: [Error] }> {
  readonly #udp: Datagrams
  readonly #address: ReturnType<Datagrams['address']>
  #isClosed = false

  /** @param udp bound already. */
  constructor (udp: Datagrams) {
    super()
    this.#udp = udp
    this.#address = udp.address()
    udp.on('message', this.#onMessage)
  }

  bind (): void {
    process.nextTick(() => { this.emit('listening') })
  }

  address (): ReturnType<Datagrams['address']> {
    return this.#address
  }

  send (bytes: Uint8Array, offset: number, length: number, port: number, host: string, done: (error: Error | null) => void): void {
    // Of an IPv6 address utp-native asks the resolver for ever, and dgram throws at port 0; both come from strangers.
    if (this.#isClosed || isIP(host) !== 4 || !(port >= 1 && port <= 65535)) {
      process.nextTick(done, new Error(`nothing can be sent to ${host}:${port}`))
      return
    }
    this.#udp.send(bytes, offset, length, port, host, done)
  }

  close (): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#udp.off('message', this.#onMessage)
    process.nextTick(() => { this.emit('close') })
  }

  readonly #onMessage = (bytes: Buffer, from: object): void => {
    // Copied: the routing table keeps node ids, as slices, and utp-native's buffers are of 128 KiB.
    const own = Buffer.allocUnsafeSlow(bytes.length)
    bytes.copy(own)
    this.emit('message', own, from)
  }
}
