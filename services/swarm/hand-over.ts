import type { Socket } from 'node:net'

/**
 * Prepares a connection for another process, which goes on with it: from here on nothing is read from it.
 *
 * @param bytes what was read already.
 * @returns what was read altogether, for the other process to begin with.
 */
export function stopReading (socket: Socket, bytes: Buffer): Buffer {
  const rest: unknown = socket.read()
  // Node has no public way: pause() stops the stream, and what arrives meanwhile is read all the same, and lost.
  const handle: unknown = Reflect.get(socket, '_handle')
  if (typeof handle === 'object' && handle !== null && 'readStop' in handle && typeof handle.readStop === 'function') handle.readStop()
  // Else the server waits at its end until the other process has closed the connection.
  Reflect.set(socket, 'server', null)
  return rest instanceof Buffer ? Buffer.concat([bytes, rest]) : bytes
}
