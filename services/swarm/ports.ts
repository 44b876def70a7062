import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** Which sides of a port are needed. */
export interface Sides {
  readonly tcp: boolean
  readonly udp: boolean
}

/** Tried in place of a port that is taken: a router that forwards a few in a row (6881-6889) still finds us. */
const neighbours = 8

/**
 * The first of these ports of which all sides that are needed are free on every address, else one of the eight after
 * the first, else any. WebTorrent must not find it taken: over TCP that ends its client.
 *
 * @param wanted in the order of preference; 0 stands for any.
 * @throws Error when there is none at all.
 */
export async function choosePort (wanted: readonly number[], sides: Sides): Promise<number> {
  const fixed = wanted.filter((port) => port > 0)
  const [first] = wanted
  if (first !== undefined && first > 0) for (let i = 1; i <= neighbours; i++) if (first + i <= 65535) fixed.push(first + i)
  for (const port of fixed) if (await isFree(port, sides)) return port
  for (let tries = 0; tries < 20; tries++) {
    const port = await anyPort()
    if (await isFree(port, sides)) return port
  }
  throw new Error('no port is free')
}

/** Can all these sides of the port be listened on, on every address? */
export async function isFree (port: number, { tcp, udp }: Sides): Promise<boolean> {
  const server = createServer()
  const socket = createSocket('udp4')
  try {
    if (tcp) {
      server.listen(port)
      await once(server, 'listening')
    }
    if (udp) {
      socket.bind(port)
      await once(socket, 'listening')
    }
    return true
  } catch {
    return false
  } finally {
    const closing = [new Promise<void>(resolve => { socket.close(resolve) })]
    if (server.listening) closing.push(new Promise<void>(resolve => { server.close(() => { resolve() }) }))
    await Promise.all(closing)
  }
}

async function anyPort (): Promise<number> {
  const server = createServer()
  server.listen(0)
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address !== 'object') throw new Error('no port is free')
  return address.port
}
