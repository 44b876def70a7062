import { beginResponse, recycleChunk } from '../services/chunk-pool.ts'
import { abortable } from '../services/deadline.ts'
import { asCoded } from '../services/errors.ts'
import type { FastifyReply } from 'fastify'
import type { ServerResponse } from 'node:http'

/**
 * Sends a body chunk by chunk, each only when the socket has taken the one before: a slow client holds one buffer, and
 * the buffer is used again. What fails before the first chunk is thrown, for an error answer; after that the socket is
 * destroyed, so that a client never takes a part for the whole. Ends when the body has been sent, or the client is gone.
 * `onFirst` is called when the first chunk is there, before the headers leave.
 */
export async function sendBody (reply: FastifyReply, body: AsyncGenerator<Uint8Array>, signal: AbortSignal, onFirst = (): void => {}): Promise<void> {
  const end = beginResponse()
  try {
    await send(reply, body, signal, onFirst)
  } finally {
    end()
  }
}

async function send (reply: FastifyReply, body: AsyncGenerator<Uint8Array>, signal: AbortSignal, onFirst: () => void): Promise<void> {
  const { raw, log } = reply
  let next = await body.next()
  onFirst()
  reply.hijack()
  raw.writeHead(reply.statusCode, reply.getHeaders() as Record<string, string>)
  let isTaken = true
  try {
    while (next.done !== true) {
      isTaken = false
      await abortable(write(raw, next.value), signal)
      isTaken = true
      recycleChunk(next.value)
      next = await body.next()
    }
    raw.end()
  } catch (error) {
    raw.destroy()
    await body.return(undefined)
    const { code, message } = asCoded(error, 'SOURCE_FAILED')
    // What a socket does not take fails before anybody hears that it is closed.
    if (signal.aborted || !isTaken) log.debug('the client left')
    else log.warn({ code }, `response cut: ${message}`)
  }
}

async function write (response: ServerResponse, chunk: Uint8Array): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  response.write(chunk, (error) => {
    if (error == null) resolve()
    else reject(error)
  })
  await promise
}
