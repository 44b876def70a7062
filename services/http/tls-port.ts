import { readFile, stat } from 'node:fs/promises'
import { createSecureContext, createServer } from 'node:tls'
import { once } from 'node:events'
import { deadlines } from '../deadlines.ts'
import type { Server, Socket } from 'node:net'
import type { Log } from '../log.ts'

export interface TlsPortOptions {
  readonly certFile: string
  readonly keyFile: string
  /** Gets connections as if they had come to it without TLS. */
  readonly server: Server
  readonly log: Log
  /** The files are looked at so often. */
  readonly checkMs?: number
}

interface Pair {
  readonly cert: Buffer
  readonly key: Buffer
  /** Changes with the files. */
  readonly stamp: string
}

/**
 * HTTPS for an HTTP server: what comes in by TLS (1.2 and later) is handed to it decrypted. A certificate that is renewed
 * counts from the next look at it on; one that makes no sense leaves the old one in use.
 */
export class TlsPort {
  readonly #options: TlsPortOptions
  readonly #tls: ReturnType<typeof createServer>
  readonly #sockets = new Set<Socket>()
  readonly #timer: NodeJS.Timeout
  #stamp: string
  #complaint = ''

  private constructor (options: TlsPortOptions, { cert, key, stamp }: Pair) {
    this.#options = options
    this.#stamp = stamp
    this.#tls = createServer({ cert, key, minVersion: 'TLSv1.2', ALPNProtocols: ['http/1.1'], handshakeTimeout: deadlines.requestHeadersMs })
    this.#tls.on('secureConnection', (socket) => { options.server.emit('connection', socket) })
    // Scanners, and browsers that do not trust the certificate.
    this.#tls.on('tlsClientError', (error) => { options.log.debug({ err: error }, 'a TLS handshake failed') })
    this.#tls.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => { this.#sockets.delete(socket) })
    })
    this.#timer = setInterval(() => { void this.#look() }, options.checkMs ?? deadlines.certificateMs)
    this.#timer.unref()
  }

  /** Throws with what is wrong with the certificate or the key. */
  static async open (options: TlsPortOptions): Promise<TlsPort> {
    return new TlsPort(options, await read(options).catch((cause: unknown) => {
      throw new Error(`TLS_CERT_FILE and TLS_KEY_FILE: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
    }))
  }

  /** Takes a connection that began with these bytes, which were read from it. */
  take (socket: Socket, bytes: Buffer): void {
    socket.unshift(bytes)
    this.#tls.emit('connection', socket)
  }

  /** A port of its own; returns which. Throws what the system says. */
  async listen (port: number, host: string): Promise<number> {
    this.#tls.listen(port, host)
    await once(this.#tls, 'listening')
    const address = this.#tls.address()
    return typeof address === 'object' && address !== null ? address.port : port
  }

  /** No connection comes in any more. */
  stop (): void {
    clearInterval(this.#timer)
    if (this.#tls.listening) this.#tls.close()
  }

  /** Ends all connections. */
  close (): void {
    this.stop()
    for (const socket of this.#sockets) socket.destroy()
  }

  async #look (): Promise<void> {
    const { certFile, keyFile, log } = this.#options
    try {
      if (await stampOf(certFile, keyFile) === this.#stamp) return
      const { cert, key, stamp } = await read(this.#options)
      this.#tls.setSecureContext({ cert, key, minVersion: 'TLSv1.2' })
      this.#stamp = stamp
      this.#complaint = ''
      log.info({}, 'the TLS certificate was read again')
    } catch (error) {
      // Perhaps only one of the two files is there yet: it is looked again, and told once.
      const complaint = error instanceof Error ? error.message : String(error)
      if (complaint !== this.#complaint) log.warn({ reason: complaint }, 'the new TLS certificate cannot be used; the one before stays')
      this.#complaint = complaint
    }
  }
}

/** Both files, which belong together. */
async function read ({ certFile, keyFile }: Pick<TlsPortOptions, 'certFile' | 'keyFile'>): Promise<Pair> {
  const stamp = await stampOf(certFile, keyFile)
  const [cert, key] = await Promise.all([readFile(certFile), readFile(keyFile)])
  createSecureContext({ cert, key })
  return { cert, key, stamp }
}

async function stampOf (...paths: readonly string[]): Promise<string> {
  const stats = await Promise.all(paths.map(async (path) => await stat(path)))
  return stats.map(({ ino, size, mtimeMs }) => `${ino}:${size}:${mtimeMs}`).join()
}
