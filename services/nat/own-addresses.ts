import { createSocket } from 'node:dgram'
import { networkInterfaces } from 'node:os'
import { scopeOf } from '../download/address-guard.ts'
import { closeSocket } from './discover.ts'
import type { Endpoint } from './stun.ts'

export interface OwnAddress {
  readonly name: string
  readonly address: string
}

/** The addresses of this machine that others may know, by interface: no loopback and no link-local ones. */
export function ownAddresses (): OwnAddress[] {
  return everyAddress().filter(({ address }) => !['loopback', 'other'].includes(scopeOf(address)))
}

function everyAddress (): OwnAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([name, addresses]) => addresses?.map(({ address }) => ({ name, address })) ?? [])
}

/** Is it what this machine calls itself, on whatever interface? */
export function isOwnAddress (address: string): boolean {
  return everyAddress().some((own) => own.address === address)
}

/** By which interface packets to this endpoint would leave; sends none. Null where there is no way. */
export async function routeTo (endpoint: Endpoint): Promise<OwnAddress | null> {
  const socket = createSocket('udp4')
  socket.on('error', () => {})
  const { promise, resolve } = Promise.withResolvers<OwnAddress | null>()
  try {
    // An IPv4 address, so nothing is waited for.
    socket.connect(endpoint.port, endpoint.address, (error?: Error) => {
      const address = error === undefined ? socket.address().address : null
      resolve(everyAddress().find((own) => own.address === address) ?? null)
    })
    return await promise
  } catch {
    return null
  } finally {
    await closeSocket(socket)
  }
}
