import { Socket } from 'node:net'

/** A process in the place of the swarm's: sends back what comes over the connections that it is given. */
process.on('message', (message: unknown, attached: unknown) => {
  if (typeof message !== 'object' || message === null || !('type' in message)) return
  if (message.type === 'stop') process.exit(0)
  if (message.type !== 'connection' || !('bytes' in message) || !(message.bytes instanceof Uint8Array) || !(attached instanceof Socket)) return
  process.send?.({ type: 'took' })
  attached.on('error', () => {})
  attached.unshift(message.bytes)
  attached.pipe(attached)
})
process.on('disconnect', () => { process.exit(0) })
