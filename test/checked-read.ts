import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { once } from 'node:events'

/** What the server answered is not what the torrent holds: never to be excused. */
export class WrongBytes extends Error {}

/** The server refused: the status, and what it said. */
export class Refused extends Error {
  readonly status: number

  constructor (status: number, body: string) {
    super(`${status} ${body}`)
    this.status = status
  }
}

export interface CheckedRead {
  /** Inclusive. */
  readonly start: number
  readonly end: number
  readonly signal: AbortSignal
  /** Called after each chunk that was compared. */
  readonly onBytes?: (count: number) => void
}

/**
 * Asks for a range and compares each byte as it comes with the original file's, so that what a cut response has
 * delivered is checked too. Resolves when the range is whole.
 * Throws WrongBytes, Refused, the signal's reason, or what the connection died of.
 */
export async function readChecked (url: string, original: Buffer, { start, end, signal, onBytes }: CheckedRead): Promise<void> {
  const response = await get(url, { Range: `bytes=${start}-${end}` }, signal)
  if (response.statusCode !== 206) {
    throw new Refused(response.statusCode ?? 0, Buffer.concat(await response.toArray()).toString())
  }
  const range = response.headers['content-range']
  if (range !== `bytes ${start}-${end}/${original.length}`) throw new WrongBytes(`asked for ${start}-${end}, got ${range}`)
  let position = start
  for await (const chunk of response) {
    if (!Buffer.isBuffer(chunk)) throw new Error('not bytes')
    const expected = original.subarray(position, Math.min(position + chunk.length, end + 1))
    if (!expected.equals(chunk)) throw new WrongBytes(`${url} bytes=${start}-${end}: other bytes between ${position} and ${position + chunk.length - 1}${describe(chunk)}`)
    position += chunk.length
    onBytes?.(chunk.length)
  }
  if (position !== end + 1) throw new Error(`the response ended at ${position} of ${end + 1}`)
}

/** A connection of its own for each request: nothing is left when it is over. */
async function get (url: string, headers: Record<string, string>, signal: AbortSignal): Promise<IncomingMessage> {
  const asked = request(url, { headers, agent: false, signal })
  asked.end()
  const [response]: IncomingMessage[] = await once(asked, 'response')
  if (response === undefined) throw new Error('no response')
  // Once the response has begun, the request's own errors come as the response's.
  asked.on('error', () => {})
  return response
}

function describe (chunk: Buffer): string {
  return chunk.every((byte) => byte === 0) ? ' (zeros)' : ''
}
