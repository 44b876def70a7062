import { once } from 'node:events'
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'

export interface LoadChoices {
  /** Of the stream. */
  readonly url: string
  readonly content: Buffer
  /** Players that began and are paused. */
  readonly idle: number
  /** Players that play. */
  readonly active: number
  readonly bytesPerSecond: number
}

export interface Load {
  /** What went wrong until now, each with its player. */
  readonly errors: readonly string[]
  /** What active players have had, of what they wanted; 1: no one waited. The one who had least. */
  worstShare (): number
  receivedBytes (): number
  /** Ends all of them; an idle one has still been connected. */
  stop (): void
}

const turnMs = 100

/**
 * Players of one stream, each over a connection of its own from a place of its own: active ones take their rate and check
 * each byte, idle ones take the beginning and nothing more. Resolves when all have had their first byte; rejects when one
 * is refused.
 */
export async function startLoad ({ url, content, idle, active, bytesPerSecond }: LoadChoices): Promise<Load> {
  const errors: string[] = []
  const ends: Array<() => void> = []
  const shares: Array<() => number> = []
  let received = 0
  let isOver = false

  const open = async (name: string, start: number): Promise<IncomingMessage> => {
    const asked = request(url, { agent: false, headers: { Range: `bytes=${start}-` } })
    asked.end()
    const [response]: IncomingMessage[] = await once(asked, 'response')
    if (response?.statusCode !== 206) throw new Error(`${name} was answered ${response?.statusCode}`)
    asked.on('error', () => {})
    const fail = (what: string): void => { if (!isOver) errors.push(`${name}: ${what}`) }
    response.on('error', (error) => { fail(error.message) })
    response.on('close', () => { fail('it was cut') })
    ends.push(() => { asked.destroy() })
    return response
  }

  const play = async (i: number): Promise<void> => {
    const startedAt = performance.now()
    const start = Math.floor(content.length / 2 * i / active)
    let response = await open(`active ${i}`, start)
    let position = start
    let taken = 0
    const wanted = (): number => bytesPerSecond * (performance.now() - startedAt) / 1000
    let isOpening = false
    const timer = setInterval(() => {
      while (taken < wanted()) {
        const chunk: unknown = response.read()
        if (!Buffer.isBuffer(chunk)) break
        if (!chunk.equals(content.subarray(position, position + chunk.length))) errors.push(`active ${i}: wrong bytes at ${position}`)
        position += chunk.length
        taken += chunk.length
        received += chunk.length
      }
      if (position < content.length || isOpening) return
      // The film is over, and begins anew.
      isOpening = true
      response.removeAllListeners('close')
      open(`active ${i}`, 0).then((next) => {
        response = next
        position = 0
        isOpening = false
      }, (error: unknown) => { errors.push(String(error)) })
    }, turnMs)
    ends.push(() => { clearInterval(timer) })
    // What a turn has not brought yet is not missing.
    shares.push(() => Math.min(1, taken / Math.max(1, wanted() - 10 * turnMs / 1000 * bytesPerSecond)))
  }

  const pause = async (i: number): Promise<void> => {
    const response = await open(`idle ${i}`, Math.floor(content.length * i / idle / 2))
    if (!response.readable) return
    await once(response, 'readable')
    response.read(1)
  }

  // Not all in the same moment: nobody has so many friends.
  for (let i = 0; i < Math.max(active, idle); i += 50) {
    await Promise.all(Array.from({ length: 50 }, async (_, k) => {
      if (i + k < idle) await pause(i + k)
      if (i + k < active) await play(i + k)
    }))
  }
  return {
    errors,
    worstShare: () => Math.min(...shares.map((share) => share())),
    receivedBytes: () => received,
    stop () {
      isOver = true
      for (const end of ends) end()
    }
  }
}
