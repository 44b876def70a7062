// A line to a server that is slower than the loopback interface: so many bytes a second in all, and a delay.
import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'

export interface LinkOptions {
  /** From the server to all its clients together; what they send is little, and not limited. */
  readonly bytesPerSecond: number
  /** In each direction. A new connection takes a round trip before it takes anything. */
  readonly delayMs: number
}

/** What is sent at a time: small enough for connections to share the line. */
const sliceBytes = 16 * 1024
/** How far the line may catch up when a timer was late. */
const catchUpMs = 20
/** Nothing waits for less: a timer cannot. */
const leastWaitMs = 2

/** A TCP proxy on a port of its own before the one at `port`, both on 127.0.0.1. Gives its port, and what ends it. */
export async function startLink (port: number, { bytesPerSecond, delayMs }: LinkOptions): Promise<{ port: number, close: () => void }> {
  let freeAt = 0
  const sockets = new Set<Socket>()

  /** Resolves when the line has sent so many bytes, after all that it was given before. */
  async function sent (bytes: number): Promise<void> {
    freeAt = Math.max(freeAt, performance.now() - catchUpMs) + bytes * 1000 / bytesPerSecond
    const waitMs = freeAt - performance.now()
    if (waitMs >= leastWaitMs) await sleep(waitMs)
  }

  async function download (from: Socket, to: Socket): Promise<void> {
    for await (const chunk of from) {
      for (let offset = 0; offset < chunk.length; offset += sliceBytes) {
        const slice = chunk.subarray(offset, offset + sliceBytes)
        if (to.writableNeedDrain) await Promise.race([once(to, 'drain'), once(to, 'close')])
        if (to.destroyed) return
        await sent(slice.length)
        after(delayMs, () => { to.write(slice) })
      }
    }
    after(delayMs, () => { to.end() })
  }

  async function upload (from: Socket, to: Socket): Promise<void> {
    await sleep(2 * delayMs)
    for await (const chunk of from) {
      after(delayMs, () => { to.write(chunk) })
    }
    after(delayMs, () => { to.end() })
  }

  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port, host: '127.0.0.1', noDelay: true })
    for (const [socket, other] of [[client, upstream], [upstream, client]] as const) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.once('close', () => {
        sockets.delete(socket)
        if (socket === client) other.destroy()
      })
    }
    download(upstream, client).catch(() => { client.destroy() })
    upload(client, upstream).catch(() => { upstream.destroy() })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the link has no port')
  return {
    port: address.port,
    close: () => {
      server.close()
      for (const socket of sockets) socket.destroy()
    }
  }
}

/** Timers of the same length fire in the order in which they were set. */
function after (ms: number, act: () => void): void {
  if (ms === 0) act()
  else setTimeout(act, ms)
}
