import { once } from 'node:events'
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { Test } from 'tap'

/** One event, as a browser's EventSource would have it. */
export interface ReceivedEvent {
  readonly id: string
  readonly type: string
  // A test says what it expects of it.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly data: any
}

export interface EventReader {
  readonly response: IncomingMessage
  /** Everything that has come up to now. */
  readonly events: readonly ReceivedEvent[]
  /** Comments that have come: heartbeats. */
  readonly comments: number
  /** The first event, of those that came or come, that this says yes to. */
  next (isWanted: (event: ReceivedEvent) => boolean): Promise<ReceivedEvent>
  /** Resolves when the server has ended it. */
  readonly ended: Promise<void>
  close (): void
}

/** Follows a stream of events until the test ends. Parses as the HTML standard says (section 9.2.6), for what a server may write. */
export async function followEvents (t: Test, url: string, headers: Record<string, string> = {}): Promise<EventReader> {
  const asking = request(url, { headers, agent: false }).end()
  t.teardown(() => { asking.destroy() })
  const [response]: IncomingMessage[] = await once(asking, 'response')
  if (response === undefined) throw new Error('no response')
  response.setEncoding('utf8')
  const events: ReceivedEvent[] = []
  const waiting = new Set<() => void>()
  const ended = Promise.withResolvers<void>()
  let [rest, comments] = ['', 0]
  response.on('data', (text: string) => {
    rest += text
    for (let end = rest.indexOf('\n\n'); end !== -1; end = rest.indexOf('\n\n')) {
      const lines = rest.slice(0, end).split('\n')
      rest = rest.slice(end + 2)
      if (lines.every((line) => line.startsWith(':'))) comments++
      const field = (name: string): string | undefined => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2)
      const data = field('data')
      if (data !== undefined) events.push({ id: field('id') ?? '', type: field('event') ?? 'message', data: JSON.parse(data) })
    }
    for (const look of [...waiting]) look()
  })
  response.on('error', () => {})
  response.on('close', () => { ended.resolve() })
  return {
    response,
    events,
    get comments () { return comments },
    ended: ended.promise,
    async next (isWanted) {
      const found = Promise.withResolvers<ReceivedEvent>()
      const look = (): void => {
        const event = events.find(isWanted)
        if (event !== undefined) found.resolve(event)
      }
      waiting.add(look)
      look()
      try {
        return await Promise.race([found.promise, ended.promise.then(() => { throw new Error('the events ended') })])
      } finally {
        waiting.delete(look)
      }
    },
    close () { asking.destroy() }
  }
}
