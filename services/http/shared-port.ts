import type { Server, Socket } from 'node:net'
import { deadlines } from '../deadlines.ts'
import { protocolOf } from './first-bytes.ts'
import type { Protocol } from './first-bytes.ts'

/** Takes a connection, of which these bytes have been read; nothing listens to it any more. */
export type Taker = (socket: Socket, bytes: Buffer) => void

/**
 * An HTTP server's port on which clients may speak other protocols, too, told apart by their first bytes. HTTP gets
 * its connections as if nothing had looked at them: what was read is put back, and the socket is the server's own, so
 * that a stream costs what it did before.
 *
 * A client that says nothing, or not enough, is the HTTP server's after `firstBytesMs`, with the time limits it has.
 */
export class SharedPort {
  readonly #server: Server
  readonly #takers = new Map<Protocol, Taker>()
  /** Connections that have not said enough. */
  readonly #waiting = new Set<Socket>()
  /** What the HTTP server does with a new connection; empty until somebody else wants some. */
  #toHttp: ReadonlyArray<(socket: Socket) => void> = []

  constructor (server: Server) {
    this.#server = server
  }

  /** From now on gives the connections of this protocol to `taker`. What nobody takes is HTTP's. */
  take (protocol: Exclude<Protocol, 'http'>, taker: Taker): void {
    this.#takers.set(protocol, taker)
    if (this.#takers.size > 1) return
    const listeners = this.#server.listeners('connection')
    this.#server.removeAllListeners('connection')
    this.#toHttp = listeners.map((listener) => (socket) => { listener.call(this.#server, socket) })
    this.#server.on('connection', (socket: Socket) => { this.#look(socket) })
  }

  /** Ends the connections that have not said what they are. */
  close (): void {
    for (const socket of this.#waiting) socket.destroy()
  }

  #look (socket: Socket): void {
    let bytes = Buffer.alloc(0)
    const toHttp = (): void => {
      release()
      if (bytes.length > 0) socket.unshift(bytes)
      for (const give of this.#toHttp) give(socket)
    }
    const onReadable = (): void => {
      const chunk: unknown = socket.read()
      if (!(chunk instanceof Buffer)) return
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
      const protocol = protocolOf(bytes)
      if (protocol === null) return
      const taker = this.#takers.get(protocol)
      if (taker === undefined) return toHttp()
      release()
      taker(socket, bytes)
    }
    // It ends without having said what it wants.
    const onEnd = (): void => { socket.end() }
    const onError = (): void => {}
    const timer = setTimeout(toHttp, deadlines.firstBytesMs)
    const release = (): void => {
      clearTimeout(timer)
      this.#waiting.delete(socket)
      socket.off('readable', onReadable)
      socket.off('end', onEnd)
      socket.off('error', onError)
      socket.off('close', release)
    }
    this.#waiting.add(socket)
    socket.on('readable', onReadable)
    socket.on('end', onEnd)
    socket.on('error', onError)
    socket.on('close', release)
  }
}
