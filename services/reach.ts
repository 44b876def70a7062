import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { connect } from 'node:net'
import { abortable } from './deadline.ts'

/** BEP 15: what every connect request begins with. */
const protocolId = 0x41727101980n

/**
 * Does a UDP tracker answer a connect request (BEP 15)? Resolves with the address that answered. Rejects with what the
 * system says, or the signal's reason.
 */
export async function reachUdpTracker (host: string, port: number, signal: AbortSignal): Promise<string> {
  const socket = createSocket('udp4')
  const request = Buffer.alloc(16)
  request.writeBigUInt64BE(protocolId, 0)
  const transaction = randomBytes(4)
  transaction.copy(request, 12)
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  socket.on('error', reject)
  socket.on('message', (message, { address }) => {
    if (message.length >= 16 && message.readUInt32BE(0) === 0 && message.subarray(4, 8).equals(transaction)) resolve(address)
  })
  // Datagrams get lost.
  const send = (): void => { socket.send(request, port, host, (error) => { if (error !== null) reject(error) }) }
  const timer = setInterval(send, 1000)
  send()
  try {
    return await abortable(promise, signal)
  } finally {
    clearInterval(timer)
    socket.close()
  }
}

/** Does anybody take a TCP connection there? Resolves with the address. Rejects as `reachUdpTracker` does. */
export async function reachTcp (host: string, port: number, signal: AbortSignal): Promise<string> {
  const socket = connect({ host, port })
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  socket.on('error', reject)
  socket.on('connect', () => { resolve(socket.remoteAddress ?? host) })
  try {
    return await abortable(promise, signal)
  } finally {
    socket.destroy()
  }
}
